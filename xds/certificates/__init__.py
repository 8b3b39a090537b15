"""The edge's certificates: a folder of them, in whatever layout, checked before any is given to an Envoy."""
