"""The directory's wire: GDS's records, its snapshot and watch, and the mirror of both."""
