"""``python -m xds.cli`` is the command ``pointsman``."""

from xds.cli.app import app

if __name__ == "__main__":
    app(prog_name="pointsman")
