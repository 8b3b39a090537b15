"""A machine in which systemd is the first process, made of this one's programs: its own files, processes, network and
control groups. It is gone when the block ends, and what was installed in it with it.

Only `/usr` is shared, and that can't be written through; all else begins empty, so that nothing runs there but what the
test installs. The kernel's own settings and the devices are read-only, so that it changes nothing of this machine.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SYSTEMD = Path("/usr/lib/systemd/systemd")
NEEDED = ("setpriv", "unshare", "nsenter", "mount", "systemctl", "journalctl", "ip")
ETC = [
    "passwd",
    "group",
    "shadow",
    "gshadow",
    "ssl",
    "ca-certificates",
    "alternatives",
    "pip.conf",
    "resolv.conf",
    "nsswitch.conf",
    "pam.d",
    "security",
    "login.defs",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "debian_version",
    "os-release",
    "python3",
]
SPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup")
PYTHON = Path("/usr/bin/python3")
_BOOT = """
set -eu
root=$1
mount --bind "$root/machine" "$root/machine"
cd "$root/machine"
mount -t overlay overlay -o "lowerdir=/usr,upperdir=$root/upper/usr,workdir=$root/upper/work" usr
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs dev
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
ln -s /proc/self/fd dev/fd
mkdir dev/pts dev/shm dev/mqueue dev/hugepages
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
pivot_root . mnt
umount -l /mnt
exec env -i container=test PATH=/usr/sbin:/usr/bin /usr/lib/systemd/systemd --unit=multi-user.target --log-level=warning
"""


class Machine:
    def __init__(self, folder: Path, first: int) -> None:
        self.folder = folder
        """Its root, as it is seen from here."""
        self._first = first

    def run(self, script: str, *, outside: bool = False, check: bool = True, timeout: float = 120) -> str:
        """What a shell in it says. ``outside``: with this machine's network."""
        done = self.ended(script, outside=outside, timeout=timeout)
        assert not check or done.returncode == 0, f"{script}\n{(done.stdout + done.stderr)[-4000:]}"
        return done.stdout

    def ended(self, script: str, *, outside: bool = False, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        spaces = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", *([] if outside else ["--net"])]
        command = ["nsenter", "--target", str(self._first), *spaces, "--root", "bash", "-c", f"cd /\n{script}"]
        return subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=timeout)

    def property(self, unit: str, name: str) -> str:
        return self.run(f"systemctl show --value --property={name} {unit}").strip()

    def journal(self, unit: str, *options: str) -> list[str]:
        return self.run(f"journalctl --output=cat --unit={unit} {shlex.join(options)}").splitlines()

    def write(self, path: str, text: str) -> None:
        file = self.folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def _environment() -> dict[str, str]:
    """pip's own settings, and how it reaches its index; nothing else."""
    kept = ("PIP_", "SSL_CERT", "REQUESTS_CA", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    passed = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    return {**passed, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME": "/root", "LANG": "C.UTF-8"}


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """Booted. Skips the test where this machine can't make one."""
    groups = _why_not()
    folder = Path(tempfile.mkdtemp(prefix="pointsman-machine-"))
    group = groups / folder.name
    process: subprocess.Popen[bytes] | None = None
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"no machine for systemd: {mounted.stderr.strip()}")
        _furnish(folder)
        group.mkdir()
        enter = f"echo $$ > {group}/cgroup.procs; exec setpriv --pdeathsig KILL unshare {' '.join(SPACES)} --fork"
        command = f"{enter} --kill-child --propagation private bash -c {shlex.quote(_BOOT)} boot {folder}"
        with (folder / "console").open("wb") as console:
            process = subprocess.Popen(
                ["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        first = _first(process, folder)
        made = Machine(Path(f"/proc/{first}/root"), first)
        _wait(made, folder)
        yield made
    finally:
        if process is not None:
            process.send_signal(signal.SIGKILL)  # and with it all that is in there
            process.wait(30)
        with contextlib.suppress(FileNotFoundError):
            _removed(group)
        subprocess.run(["umount", "--lazy", folder], check=False, capture_output=True)
        folder.rmdir()


def _why_not() -> Path:
    """Where control groups are made; skips when there is something that a machine lacks."""
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    if os.geteuid() != 0:
        pytest.skip("only root can make a machine for systemd")
    if not SYSTEMD.exists() or not PYTHON.exists() or lacking:
        pytest.skip(f"no machine for systemd: {', '.join(lacking) or f'{SYSTEMD} or {PYTHON} is missing'}")
    if subprocess.run([PYTHON, "-m", "ensurepip", "--version"], capture_output=True).returncode:
        pytest.skip(f"{PYTHON} can make no virtual environment: Debian's python3-venv")
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    groups = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    if groups is None or not os.access(groups, os.W_OK):
        pytest.skip("no control groups of version 2 that can be written: no machine for systemd")
    return groups


def _furnish(folder: Path) -> None:
    for made in ("upper/usr", "upper/work", *(f"machine/{name}" for name in ("usr", "mnt", "opt", "root", "home"))):
        (folder / made).mkdir(parents=True)
    for made in (
        "proc",
        "sys",
        "dev",
        "run",
        "tmp",
        "var/log",
        "var/lib",
        "var/cache",
        "var/tmp",
        "etc/systemd/system",
    ):
        (folder / "machine" / made).mkdir(parents=True)
    root = folder / "machine"
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if Path(f"/{name}").is_symlink():
            (root / name).symlink_to(os.readlink(f"/{name}"))
    for name in ETC:
        there = Path("/etc") / name
        if there.is_dir():
            shutil.copytree(there, root / "etc" / name, symlinks=True)
        elif there.exists():
            shutil.copy(there, root / "etc" / name)
    (root / "etc" / "hostname").write_text("edge-1\n")
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (root / "etc" / "machine-id").write_text(f"{os.urandom(16).hex()}\n")  # else all that is installed here is enabled
    (root / "var" / "run").symlink_to("/run")


def _first(process: subprocess.Popen[bytes], folder: Path) -> int:
    """The process that is the first one in there, as it is numbered here."""
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n":
            return int(children[0])
        time.sleep(0.05)
    pytest.skip(
        f"no machine for systemd can be made here: {(folder / 'console').read_text().strip() or 'it is silent'}"
    )


def _wait(made: Machine, folder: Path) -> None:
    end = time.monotonic() + 60
    while (said := made.run("systemctl is-system-running", check=False).strip()) not in ("running", "degraded"):
        assert time.monotonic() < end, f"systemd is {said or 'silent'}: {(folder / 'console').read_text()}"
        time.sleep(0.2)


def _removed(group: Path) -> None:
    """Empty by now, or in a moment."""
    for attempt in range(50):
        try:
            for inner in sorted((one for one in group.rglob("*") if one.is_dir()), reverse=True):
                inner.rmdir()
            group.rmdir()
        except OSError:
            if attempt == 49:
                raise
            time.sleep(0.1)
        else:
            return
