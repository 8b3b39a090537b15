"""``pointsman check``: whether a control plane could start with these settings, and serve."""
