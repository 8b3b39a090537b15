"""``make bench``: every part, one after the other, and their figures beside the issue's.

``python -m bench [--quick]``: ``--quick`` takes small sizes, to see that everything runs. All parts leave their figures
in ``bench/results/``. In the end ``python -m bench.targets`` prints them beside what is to be reached, and
``python -m bench.plots`` draws them into ``docs/benchmarks/`` (--quick: beside the figures).
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.report import RESULTS

_REAL = ["real"] if shutil.which("npm") else []
"""The names of npm's packages can be had with npm only."""

PARTS = {
    "moves": ["--domains", "1000", "10000", "--moves", "30"],
    "tables": ["--domains", "10000", "--tables", "128", "512", "--moves", "20"],
    "layouts": ["--domains", "1000", "10000", "--moves", "5", "5"],
    "sovereign": ["--domains", "1000", "--moves", "3"],
    "skew": ["--edge", "--domains", "10000", "--crowded", "256", "--moves", "10"],
    "split": ["--requests", "--domains", "10000", "--crowded", "256", "--rounds", "1"],
    "bulk": ["--domains", "20000", "--moves", "10000", "--runs", "1"],
    "stalls": ["--domains", "20000"],
    "state": ["--domains", "20000"],
    "steady": ["--domains", "10000", "--rate", "200", "--seconds", "5"],
    "certificates": ["--certificates", "2000", "--names", "200"],
    "fleet": ["--domains", "10000", "--envoys", "1", "10", "50", "--changes", "5", "--return", "50"],
    "dataplane": [
        *("--domains", "2000", "--rounds", "1", "--seconds", "1", "--connections", "100"),
        *("--hold", "3", "--held", "500"),
    ],
    "dataplane-gds": [
        *("--gds", "mock", "--domains", "1000", "--rounds", "1", "--seconds", "1", "--connections", "50"),
        *("--hold", "0", "--json", str(RESULTS / "dataplane-gds.json")),
    ],
    "lookup": ["--quick"],
    "scan": ["--quick"],
    "lookup_warm": ["--rounds", "1", "--seconds", "1", "--hosts", "50"],
}
"""And their options when it is to be quick."""

WHOLE = {
    "skew": [*("--edge", "--crowded", "3072", "--moves", "100", "--names", "even", "www", "tenants"), *_REAL],
    "split": ["--requests", "--crowded", "3072"],
    "dataplane": ["--rounds", "2", "--seconds", "1.5"],
    "dataplane-gds": [
        *("--gds", "mock", "--domains", "5000", "--rounds", "3", "--seconds", "2", "--connections", "100", "1000"),
        *("--hold", "0", "--json", str(RESULTS / "dataplane-gds.json")),
    ],
}
"""What isn't a part's default and is measured for the figures."""

_MODULES = {"split": "skew", "dataplane-gds": "dataplane"}
"""Where a part isn't a module of its own."""

_LONGEST = 1_800


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    failed = []
    for part, small in PARTS.items():
        began = time.monotonic()
        command = [
            sys.executable,
            "-m",
            f"bench.{_MODULES.get(part, part)}",
            *(small if options.quick else WHOLE.get(part, [])),
        ]
        try:
            if subprocess.run(command, timeout=_LONGEST).returncode != 0:
                failed.append(part)
        except subprocess.TimeoutExpired:
            failed.append(f"{part} (longer than {_LONGEST} s)")
        print(f"  {part}: {time.monotonic() - began:.0f} s", flush=True)
    subprocess.run([sys.executable, "-m", "bench.targets"], check=False)
    _draw(RESULTS if options.quick else None)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _draw(folder: Path | None) -> None:
    """The plots, into the documents or ``folder``."""
    if importlib.util.find_spec("matplotlib") is None:
        print("  no plots without matplotlib: pip install 'pointsman[bench]', and then make bench-plots")
    else:
        subprocess.run([sys.executable, "-m", "bench.plots", *(["--to", str(folder)] if folder else [])], check=False)


if __name__ == "__main__":
    sys.exit(main())
