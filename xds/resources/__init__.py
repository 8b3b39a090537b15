"""Envoy resources made from the directory. Pure: state in, encoded resources out."""
