"""The last known good directory on disk: the format of its files, their folder, and who writes them when."""
