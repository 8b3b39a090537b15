"""Where the control plane's time goes while a benchmark runs: py-spy, from outside.

``python -m bench.profile PART [the part's options]``, for example ``python -m bench.profile fleet --envoys 100``. Each
phase of the part is sampled on its own and kept as ``bench/results/profile-PHASE.txt``: collapsed stacks, which
speedscope.app and flamegraph.pl read. Its functions are printed by their share of the samples, once with what they
call and once without. py-spy is a package of PyPI: ``pip install py-spy``, or name the program in ``PY_SPY``.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.report import RESULTS
from demo.processes import Process

_WANTED = "BENCH_PROFILE"
_RATE = 250
_SHOWN = 25


@contextlib.contextmanager
def profiled(process: Process, phase: str) -> Iterator[None]:
    """Samples ``process`` while the block runs, when `bench.profile` runs the part; else it does nothing."""
    program = os.environ.get(_WANTED)
    if not program:
        yield
        return
    file = RESULTS / f"profile-{phase}.txt"
    file.parent.mkdir(exist_ok=True)
    command = [program, "record", "--pid", str(process.pid), "--rate", str(_RATE), "--nonblocking"]
    command += ["--format", "raw", "--duration", "unlimited", "--output", str(file)]
    sampling = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        sampling.send_signal(signal.SIGINT)
        sampling.wait(30)
        if file.exists():
            show(phase, file)


def show(phase: str, file: Path) -> None:
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in file.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if "(asyncio/" not in stack:
            continue  # a thread that only waits
        frames = [frame.rpartition(":")[0] + ")" if ":" in frame else frame for frame in stack.split(";")]
        start = next((n for n, frame in enumerate(frames) if frame.startswith("BaseEventLoop._run_once")), 0)
        frames = frames[start:]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    total = sum(own.values())
    print(f"\n{phase}: {total} samples, {total / _RATE:.1f} s busy")
    for title, counted in (("with what it calls", whole), ("itself", own)):
        print(f"  share, {title}")
        for frame, samples in counted.most_common(_SHOWN):
            print(f"  {samples / total:6.1%}  {frame}")
    sys.stdout.flush()


def main() -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    program = os.environ.get("PY_SPY") or shutil.which("py-spy", path=path)
    if len(sys.argv) < 2 or program is None:
        raise SystemExit(__doc__ if program else "py-spy isn't installed: pip install py-spy, or name it in PY_SPY")
    os.environ[_WANTED] = program
    part = sys.argv[1]
    sys.argv[:2] = [part]
    runpy.run_module(f"bench.{part}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
