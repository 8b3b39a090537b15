"""A throw-away PostgreSQL of the tests' own, run by a user without rights, in a folder that goes with it."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from demo.system import free_ports

USER, PASSWORD = "gds", "s3cret/of@gds"


def programs() -> Path | None:
    """The folder of initdb and postgres: Debian keeps it off the PATH. None where they are not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3].split(".")[0]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(on_path).resolve().parent


@dataclass
class Cluster:
    """A server that listens on loopback alone."""

    folder: Path
    port: int
    bin: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        command = [self.bin / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder]
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self._without_rights())
        for _ in range(400):
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
                break
        raise AssertionError((self.folder / "log").read_text())

    def end(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT cuts everybody off and writes what is to be written; SIGQUIT is a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def initdb(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        # Its collation is not bytewise, as most databases' is not.
        command = [self.bin / "initdb", "-D", self.folder / "data", "-U", USER, f"--pwfile={password}", "--no-sync"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        if int(self.bin.parts[-2].split(".")[0]) >= 15:
            command += ["--locale-provider=icu", "--icu-locale=en-US"]
        if os.geteuid() == 0:
            for path in (self.folder, password):
                shutil.chown(path, "nobody")
        done = subprocess.run(command, capture_output=True, cwd=self.folder, text=True, **self._without_rights())
        assert done.returncode == 0, done.stdout + done.stderr
        with (self.folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write("shared_buffers = 64MB\nlisten_addresses = '127.0.0.1'\nmax_connections = 200\n")

    def url(self, database: str, *, password: str | None = "s3cret%2Fof%40gds", port: int | None = None) -> str:
        secret = "" if password is None else f":{password}"
        return f"postgresql://{USER}{secret}@127.0.0.1:{port or self.port}/{database}"

    def run(self, statement: str, url: str | None = None) -> list[tuple[Any, ...]]:
        with psycopg.connect(url or self.url("postgres"), autocommit=True) as db:
            cursor = db.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def place(self) -> Iterator[str]:
        """The URL of an empty schema, which goes at the end: a database of its own would take a second."""
        name = f"gds_{secrets.token_hex(4)}"
        self.run(f"CREATE SCHEMA {name}")
        try:
            yield f"{self.url('postgres')}?options=-csearch_path%3D{name}"
        finally:
            self.run(f"DROP SCHEMA {name} CASCADE")

    def _without_rights(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """A running server, or AssertionError. Everything of it is gone at the end."""
    where = programs()
    assert where is not None
    folder = Path(tempfile.mkdtemp(prefix="gds-postgres-"))
    running = Cluster(folder, free_ports(1)[0], where)
    try:
        running.initdb()
        running.start()
        yield running
    finally:
        running.end()
        shutil.rmtree(folder)
