"""The command ``pointsman``: a table of commands (`xds.cli.app`), one module for each subject.

What a command needs is imported when it runs: ``pointsman --help`` and a question to a running control plane import
nothing of gRPC and of Envoy's messages.
"""

try:
    from xds.cli.app import app
except KeyboardInterrupt:  # Ctrl-C, before there is a command that could end by it
    raise SystemExit(130) from None

__all__ = ["app"]
