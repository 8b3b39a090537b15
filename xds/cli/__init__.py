"""The command ``pointsman``: a table of commands (`xds.cli.app`), one module for each subject.

What a command needs is imported when it runs: ``pointsman --help`` and a question to a running control plane import
nothing of gRPC and of Envoy's messages.
"""

from xds.cli.app import app

__all__ = ["app"]
