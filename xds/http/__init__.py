"""The control plane's own HTTP: health, metrics and what it knows, for people and scripts."""
