"""The command line: ``python -m gds_mock`` serves, ``python -m gds_mock import`` loads a HAProxy map."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from gds_mock.authorship import LONGEST, check_actor
from gds_mock.errors import BadLines, BadPod, GdsError
from gds_mock.importing import Imported, import_map
from gds_mock.opening import is_postgres, open_store, require_extra
from gds_mock.store import KEEP_CHANGES, Store
from gds_mock.values import decode_pods


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; the exit code is 0, or 1 after one clear line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        if arguments is None:
            _hide_password(options.db)
        with open_store(options.db, keep_changes=options.keep_changes) as store:
            if options.command == "import":
                _import(store, options)
            else:
                _serve(store, options)
    except BadLines as error:
        for bad in error.errors:
            print(f"{options.map}:{bad.line}: {bad.detail}", file=sys.stderr)
        print(f"gds_mock: {error}", file=sys.stderr)
        return 1
    except GdsError as error:
        print(f"gds_mock: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"gds_mock: can't read {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _hide_password(db: str) -> None:
    """Starts this process anew when its command line, which everybody can read, has a password in it."""
    if not is_postgres(db):
        return
    require_extra()
    from gds_mock.postgres.address import out_of_sight

    hidden = out_of_sight(sys.orig_argv[1:], db)
    if hidden is not None:
        command, password = hidden
        os.execve(sys.executable, [sys.executable, *command], os.environ | {"PGPASSWORD": password})


def _serve(store: Store, options: argparse.Namespace) -> None:
    from gds_mock.server import serve  # an import needs no web framework, and is done sooner without
    from gds_mock.service import Settings

    serve(store, options.host, options.port, Settings(heartbeat=options.heartbeat))


def _import(store: Store, options: argparse.Namespace) -> None:
    try:
        pods = decode_pods(Path(options.pods).read_bytes()) if options.pods else []
    except BadPod as error:
        raise BadPod(f"{options.pods}: {error}") from None
    with Path(options.map).open("rb") as lines:
        print(_report(import_map(store, lines, pods, _by(options)), options.map))


def _by(options: argparse.Namespace) -> str:
    """Who imports: as it was said, else the user of this process, who chose to run it."""
    if options.by is not None:
        return check_actor(options.by.strip(), "--by")
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # in a container a user may have a number alone
        user = f"user {os.getuid()}"
    said = f"{user}, import of {Path(options.map).name}"[:LONGEST]
    return "".join(each if each.isprintable() else "?" for each in said)


def _report(done: Imported, source: str) -> str:
    said = f"{source}: {done.domains} lines, {done.loaded.puts} domains put, revision {done.loaded.revision}"
    if done.empty_pods:
        said += f"\ncreated without endpoints: {', '.join(done.empty_pods)}"
    return said


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m gds_mock", description="A reference Global Directory Service.")
    _add_store_options(parser, "gds.sqlite", KEEP_CHANGES)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    parser.add_argument("--port", type=int, default=6280, help="port to listen on, 0 for a free one (default: 6280)")
    parser.add_argument(
        "--heartbeat", type=_seconds, default=5.0, help="seconds between a watch's heartbeats (default: 5)"
    )
    commands = parser.add_subparsers(dest="command", metavar="import")
    loading = commands.add_parser("import", help="load a HAProxy map file (host and pod a line) and leave")
    # Without defaults: they would override what stands before the word "import".
    _add_store_options(loading, argparse.SUPPRESS, argparse.SUPPRESS)
    loading.add_argument("map", help="the map file")
    loading.add_argument("--by", metavar="WHO", help="who makes this change (default: the user, and the file's name)")
    loading.add_argument("--pods", help="a JSON array of pods, to be written in the same transaction")
    return parser


def _add_store_options(parser: argparse.ArgumentParser, db: str, keep_changes: int | str) -> None:
    parser.add_argument(
        "--db",
        default=db,
        metavar="STORE",
        help="a SQLite file, or postgresql://user@host/database (default: gds.sqlite)",
    )
    parser.add_argument(
        "--keep-changes",
        type=_count,
        default=keep_changes,
        metavar="N",
        help=f"how many changes watchers can resume from, at least (default: {KEEP_CHANGES})",
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.01 and 3600")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
