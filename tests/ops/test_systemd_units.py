"""The units of `ops/systemd`, run by a systemd of their own, installed by the words of `docs/install.md`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from systemd_machine import Machine, machine
from terminal import settings

from demo.certificates import write_all
from demo.system import ROOT, envoy_binary

pytestmark = pytest.mark.timeout(900)  # the first one installs all of it

HOW = "With pip and systemd"
INSTALL = (ROOT / "docs" / "install.md").read_text()
GDS = "http://127.0.0.1:6280/rest/private/gds"
HERE = {"https://gds.internal/rest/private/gds": GDS, "10.0.0.5": "127.0.0.1"}
"""What is in the README's smallest settings file, and stands for it in the machine."""
PARTS = {
    "gds": "-m gds_mock --db /var/lib/gds/gds.sqlite --heartbeat 1",
    "pod1": "-m demo.pod --name pod1 --port 8001",
    "pod2": "-m demo.pod --name pod2 --port 8002",
}
HOST = "acme.example.com"
ASK = f"curl -s --max-time 10 --cacert /etc/envoy/certs/ca.crt --resolve {HOST}:443:127.0.0.1 https://{HOST}/"


def block(heading: str, number: int = 0) -> str:
    """The commands that stand below a heading of docs/install.md."""
    _, _, rest = INSTALL.partition(f"\n## {heading}\n")
    blocks = re.findall(r"(?:^    .*\n)+", rest.partition("\n## ")[0], re.MULTILINE)
    return re.sub(r"^    ", "", blocks[number], flags=re.MULTILINE)


@dataclass(frozen=True)
class Installed:
    """The edge, its pods and GDS run in it."""

    machine: Machine

    def until(self, script: str, said: Callable[[str], bool], patience: float = 30) -> None:
        end = time.monotonic() + patience
        while not said(answer := self.machine.run(script, check=False)):
            assert time.monotonic() < end, f"not within {patience:.0f} s, {script}: {answer!r}"
            time.sleep(0.1)

    def ready(self) -> None:
        self.until("curl -s http://127.0.0.1:18080/readyz", lambda answer: '"ready":true' in answer)

    def override(self, unit: str, *lines: str) -> None:
        """Settings of the unit for one test; without lines, back to what they were."""
        folder = self.machine.folder / "run/systemd/system" / f"{unit}.service.d"
        shutil.rmtree(folder, ignore_errors=True)
        if lines:
            self.machine.write(f"/run/systemd/system/{unit}.service.d/test.conf", "\n".join(("[Service]", *lines, "")))
        self.machine.run("systemctl daemon-reload")


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    with machine() as made:
        _copy_checkout(made.folder / "src")
        _install(made)
        edge = Installed(made)
        edge.ready()
        edge.until(ASK, lambda answer: '"pod": "pod1"' in answer)
        yield edge


def test_it_is_started_when_it_listens(installed: Installed) -> None:
    run = installed.machine.run
    run("systemctl restart pointsman")
    assert run("curl -s http://127.0.0.1:18080/healthz") == '{"status":"ok"}'
    assert installed.machine.property("pointsman", "ActiveState") == "active"
    assert "127.0.0.1:18000" in installed.machine.property("pointsman", "StatusText")


def test_a_start_that_fails_is_told_to_who_starts_it(installed: Installed) -> None:
    installed.override("pointsman", "Environment=POINTSMAN_XDS__KEY=/etc/pointsman/none.key", "Restart=no")
    assert installed.machine.ended("systemctl restart pointsman").returncode != 0
    assert any("none.key" in line for line in installed.machine.journal("pointsman"))
    installed.override("pointsman")
    installed.machine.run("systemctl reset-failed pointsman && systemctl start pointsman")
    installed.ready()


def test_it_runs_as_its_user_with_no_right_and_keeps_its_state_to_itself(installed: Installed) -> None:
    run = installed.machine.run
    main = installed.machine.property("pointsman", "MainPID")
    status = dict(line.split(":\t", 1) for line in run(f"cat /proc/{main}/status").splitlines() if ":\t" in line)
    assert status["Uid"].split()[0] == run("id -u pointsman").strip() != "0"
    assert (int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"]) == (0, 0, "1")
    assert (
        run("stat -c '%U %G %a' /var/lib/pointsman /var/lib/pointsman/state").split("\n")[:2]
        == ["pointsman pointsman 700"] * 2
    )
    readable = run("find /var/lib/pointsman -type f ! -perm 0600 -o ! -user pointsman ! -type d")
    assert readable == ""
    assert run("find /etc/pointsman -newer /var/lib/pointsman/state/token") == ""


def test_the_commands_of_an_operator_find_it_without_more_words(installed: Installed) -> None:
    command = "pointsman status --json -c /etc/pointsman/pointsman.toml"
    installed.until(command, lambda answer: json.loads(answer)["nodes"]["converged"] == 1)
    told = json.loads(installed.machine.run(command))
    assert told["ready"] is True
    assert installed.machine.ended("pointsman audit -c /etc/pointsman/pointsman.toml").returncode == 0


def test_a_warning_is_one_in_the_journal_too(installed: Installed) -> None:
    warnings = [
        json.loads(line) for line in installed.machine.journal("pointsman", "--priority=4..4") if line[0] == "{"
    ]
    assert {one["level"] for one in warnings} == {"warning"}
    assert "tickets" in {one["event"] for one in warnings}  # no secret of theirs is set


def test_customers_do_not_notice_that_it_is_restarted(installed: Installed) -> None:
    with _asking(installed) as answers:
        installed.machine.run("systemctl restart pointsman")
        installed.ready()
        move(installed.machine, "pod2")
        installed.until(ASK, lambda answer: "pod2" in answer and "pod2" in answers)
    assert set(answers) == {"pod1", "pod2"}
    assert answers == sorted(answers)
    assert installed.machine.property("pointsman", "Result") == "success"


def test_it_is_not_killed_while_it_announces_its_end(installed: Installed) -> None:
    installed.override("pointsman", "Environment=POINTSMAN_XDS__ANNOUNCE=6", "TimeoutStopSec=3")
    run = installed.machine.run
    run("systemctl restart pointsman")
    began = time.monotonic()
    run("systemctl stop pointsman")
    assert 6 <= time.monotonic() - began < 30
    assert installed.machine.property("pointsman", "Result") == "success"
    installed.override("pointsman")
    run("systemctl start pointsman")
    installed.ready()


def test_one_that_hangs_is_started_anew(installed: Installed) -> None:
    installed.override("pointsman", "WatchdogSec=2", "TimeoutAbortSec=1")
    run = installed.machine.run
    run("systemctl restart pointsman")
    installed.ready()
    before = installed.machine.property("pointsman", "MainPID")
    run(f"kill -STOP {before}")
    installed.until(
        "systemctl show --value --property=MainPID,NRestarts pointsman",
        lambda said: before not in said.split() and "0" not in said.split(),
    )
    installed.ready()
    installed.override("pointsman")
    run("systemctl restart pointsman")
    installed.ready()


def test_a_request_that_is_under_way_is_answered_when_envoy_is_stopped(installed: Installed) -> None:
    installed.override("envoy", "Environment=UNHEALTHY_SECONDS=1 DRAIN_SECONDS=6")
    run = installed.machine.run
    run("systemctl restart envoy")
    installed.until(ASK, lambda answer: '"pod"' in answer)
    slow: list[str] = []
    upload = threading.Thread(
        target=lambda: slow.append(run(f"(echo a; sleep 4; echo b) | {ASK} -T - -o /dev/null -w '%{{http_code}}'"))
    )
    upload.start()
    time.sleep(1)
    run("systemctl stop envoy")
    upload.join(60)
    assert slow == ["200"]
    assert installed.machine.property("envoy", "Result") == "success"
    installed.override("envoy")
    run("systemctl start envoy")
    installed.until(ASK, lambda answer: '"pod"' in answer)


def test_envoy_has_ports_below_1024_and_no_other_right(installed: Installed) -> None:
    run = installed.machine.run
    pid = run("pgrep -x envoy").split()[0]
    status = dict(line.split(":\t", 1) for line in run(f"cat /proc/{pid}/status").splitlines() if ":\t" in line)
    assert status["Uid"].split()[0] == run("id -u envoy").strip() != "0"
    assert int(status["CapBnd"], 16) == 1 << 10  # CAP_NET_BIND_SERVICE


def test_an_upgrade_is_a_link_and_so_is_the_way_back(installed: Installed) -> None:
    run = installed.machine.run
    there = run("readlink /opt/pointsman").strip()
    newer = f"{there}.next"
    commands = block("Upgrade").replace("0.2.0", Path(newer).name.removeprefix("pointsman-"))
    assert newer in commands
    with _asking(installed) as answers:
        run(f"cd /src && set -e\n{commands}", outside=True, timeout=400)
        installed.ready()
        main = installed.machine.property("pointsman", "MainPID")
        assert newer in run(f"tr '\\0' ' ' < /proc/{main}/cmdline")
        run(f"ln -sfn {there} /opt/pointsman && systemctl restart pointsman")
        installed.ready()
    assert len(set(answers)) == 1
    assert answers[0] in ("pod1", "pod2")


def test_the_state_folder_is_backed_up_and_restored(installed: Installed) -> None:
    run = installed.machine.run
    move(installed.machine, "pod2")
    installed.until(ASK, lambda answer: "pod2" in answer)
    token = run("cat /var/lib/pointsman/state/token")
    assert installed.machine.ended(block("Back up")).returncode in (0, 1)
    run("systemctl stop gds")
    run(f"set -e\n{block('Back up', 1)}")
    installed.ready()
    assert '"from_disk":true' in run("curl -s http://127.0.0.1:18080/readyz")
    assert '"pod":"pod2"' in run(f"curl -s http://127.0.0.1:18080/api/v1/domains/{HOST}")
    assert run("cat /var/lib/pointsman/state/token") == token
    assert run("stat -c '%U %G %a' /var/lib/pointsman/state").strip() == "pointsman pointsman 700"
    run("systemctl start gds")
    installed.until(
        "curl -s http://127.0.0.1:18080/readyz",
        lambda answer: '"from_disk":false' in answer and '"ready":true' in answer,
    )


class _asking:
    """While the block runs, a customer asks again and again; the value has who answered."""

    def __init__(self, installed: Installed) -> None:
        self._installed = installed
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.answers: list[str] = []

    def __enter__(self) -> list[str]:
        self._thread.start()
        return self.answers

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)

    def _ask(self) -> None:
        while not self._ended.wait(0.1):
            said = self._installed.machine.ended(ASK)
            self.answers.append(json.loads(said.stdout)["pod"] if said.stdout.startswith("{") else repr(said))


def _install(made: Machine) -> None:
    """By the words of the document; the certificates, the settings and the parts around are the test's."""
    place, service, edge = block(HOW), block(HOW, 2), block(HOW, 4)
    made.run(f"cd /src && set -e\n{place}", outside=True, timeout=400)
    least = settings(ROOT / "README.md")
    for theirs, ours in HERE.items():
        assert theirs in least
        least = least.replace(theirs, ours)
    made.write("/etc/pointsman/pointsman.toml", f"{least}\n{block(HOW, 1)}")
    write_all(made.folder / "etc/pointsman")
    for name, words in PARTS.items():
        unit = f"[Service]\nWorkingDirectory=/src\nStateDirectory={name}\nExecStart=/opt/pointsman/bin/python {words}\n"
        made.write(f"/etc/systemd/system/{name}.service", unit)
    made.run(f"systemctl daemon-reload && systemctl start {' '.join(PARTS)}")
    Installed(made).until(f"curl -s {GDS}/healthz", lambda said: "ok" in said)
    for number in (1, 2):
        home = {"datacenter": "dc1", "endpoints": [{"address": "127.0.0.1", "port": 8000 + number}]}
        made.run(f"curl -sf -X PUT {GDS}/pods/pod{number} -d '{json.dumps(home)}'")
    move(made, "pod1")
    made.run(f"cd /src && set -e\n{service}")
    shutil.copy(envoy_binary(), made.folder / "usr/local/bin/envoy")
    made.run(f"cd /src && set -e\n{block(HOW, 3)}")
    for name in ("ca.crt", "envoy.crt", "envoy.key"):
        shutil.copy(made.folder / "etc/pointsman" / name, made.folder / "etc/envoy/certs" / name)
    made.run(f"set -e\n{edge}")


def move(made: Machine, pod: str) -> None:
    made.run(f"""curl -sf -X PUT {GDS}/backend/{HOST} -d '{{"pod": "{pod}"}}'""")


def _copy_checkout(folder: Path) -> None:
    """Every file that git has or would take, as it is now."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
