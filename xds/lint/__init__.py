"""``pointsman edge-lint``: whether an Envoy's configuration holds the edge's checklist, row by row."""
