"""Which store --db means, where its password comes from, and that nobody gets to see it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from gds_harness import ROOT, run, serving
from postgres_cluster import PASSWORD, USER, Cluster

from gds_mock.errors import StoreUnavailable
from gds_mock.opening import open_store
from gds_mock.postgres.address import out_of_sight, parse


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg", "postgres"])
def test_every_usual_scheme_is_understood(pg: str, scheme: str) -> None:
    with open_store(pg.replace("postgresql", scheme, 1)) as store:
        assert store.revision() == 0


def test_another_databases_url_is_refused_not_taken_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreUnavailable, match="mysql://"):
        open_store("mysql://user:secret@host/db")
    assert list(tmp_path.iterdir()) == []


def test_the_password_is_not_on_the_command_line_nor_in_what_is_said(pg: str) -> None:
    with serving(pg) as gds:
        assert gds.process is not None
        assert b"s3cret" not in Path(f"/proc/{gds.process.pid}/cmdline").read_bytes()
        gds.pod("pod1")  # and it works


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://gds:wrong-s3cret@{at}/postgres",
        "postgresql://gds@{at}/postgres?password=wrong-s3cret",
        "postgresql://gds:s3cret/wrong@@{at}/postgres",
        "postgresql://gds:wr[s3cret@{at}/postgres",
        "postgresql://gds:s3cret@127.0.0.1:1/postgres",
        "postgresql://gds@{at}/postgres?sslpassword=s3cret",
        "mysql://gds:s3cret@{at}/postgres",
    ],
)
def test_no_error_quotes_the_password(postgres: Cluster, url: str) -> None:
    done = run("--db", url.format(at=f"127.0.0.1:{postgres.port}"), "--port", 0)
    assert done.returncode == 1
    assert done.stderr.startswith("gds_mock: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "s3cret" not in done.stderr + done.stdout


def test_a_password_of_the_query_or_the_user_part_is_moved_out_of_sight() -> None:
    for url in ("postgresql://u:pw@h/d?sslmode=require", "postgresql://u@h/d?password=pw&sslmode=require"):
        command, password = out_of_sight(["-m", "gds_mock", "--db", url], url) or ([], "")
        assert command[-1] == "postgresql://u@h/d?sslmode=require"
        assert password == "pw"
    assert out_of_sight(["--db=postgresql:///d"], "postgresql:///d") is None
    assert "pw" not in repr(parse("postgresql://u:pw@h/d"))


def test_pgpassword_and_pgpassfile_are_used(
    pg: str, postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = pg.replace("s3cret%2Fof%40gds@", "@").replace(":@", "@")
    with pytest.raises(StoreUnavailable, match="password"):
        open_store(url)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    open_store(url).close()
    monkeypatch.delenv("PGPASSWORD")
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"127.0.0.1:{postgres.port}:*:{USER}:{PASSWORD}\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    open_store(url).close()


def test_a_service_file_names_the_rest(
    pg: str, postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = tmp_path / "services"
    services.write_text(
        f"[gds]\nhost=127.0.0.1\nport={postgres.port}\nuser={USER}\npassword={PASSWORD}\ndbname=postgres\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    with open_store(f"postgresql:///?service=gds&{urlsplit(pg).query}") as store:
        assert store.revision() == 0
        assert "service=gds" in store.name


def test_without_the_extra_sqlite_serves_and_postgres_names_the_extra(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules.update(psycopg=None, sqlalchemy=None)\n"
        "from gds_mock.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    source = tmp_path / "backend.map"
    source.write_text("a.example.com pod1\n")

    def without(db: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, "import", str(source), "--db", db]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert without(str(tmp_path / "gds.sqlite")).returncode == 0
    refused = without("postgresql://user:s3cret@host/db")
    assert refused.returncode == 1
    assert "pointsman[postgres]" in refused.stderr
    assert "s3cret" not in refused.stderr
