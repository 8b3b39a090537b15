"""Pointsman: an external Envoy control plane that routes every customer domain to its pod."""

__version__ = "0.1.0"
