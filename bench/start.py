"""How long ``make demo`` takes to its ready line, packages already installed.

``python -m bench.start [--runs 5]`` starts the demo as ``make demo`` does, on its own ports, and ends it each time.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import time
from pathlib import Path

from bench.report import Report
from demo.system import ROOT


def ready_after() -> float:
    """Seconds from the command to its line that begins with "ready"."""
    began = time.perf_counter()
    demo = subprocess.Popen(["make", "demo"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        for line in demo.stdout or ():
            if line.startswith("ready"):
                return time.perf_counter() - began
        raise SystemExit(f"make demo ended with {demo.wait()} before it was ready")
    finally:
        demo.send_signal(signal.SIGTERM)  # make hands on this one, and not SIGINT
        if demo.stdout:
            demo.stdout.read()
        demo.wait()


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.start", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    times = [ready_after() for _ in range(options.runs)]
    report = Report("make demo → ready, s")
    report.add(runs=len(times), median=statistics.median(times), longest=max(times))
    report.show(options.json)


if __name__ == "__main__":
    main()
