"""Writes ``docs/conformance.md``: each numbered case of a correct xDS server, the tests that state it, how they ran.

``make conformance`` runs the tests first; this reads their JUnit report.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

HEAD = """\
# Conformance

Each numbered case of a correct xDS management server, with the tests in `tests/conformance/` that state it: over a real
gRPC socket, with a client of their own. Most run in delta and in the state of the world, which is why a test counts
more than once. Cases {vhds} rest on VHDS, which isn't offered: the type is refused cleanly. There are no cases
{missing}.

Written by `make conformance` from a run with grpcio {grpcio}: {passed} passed, {failed} failed.

| case | what its tests say | passed |
| --- | --- | --- |
"""

LAST = 58
VHDS = range(31, 38)
TARGET = Path(__file__).with_name("conformance.md")


def page(report: Path) -> str:
    """Raises SystemExit when a case between the first and the last has no test."""
    runs: dict[int, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for case in ElementTree.parse(report).iter("testcase"):
        found = re.match(r"test_c(\d+)_(\w+)", case.get("name") or "")
        if found:
            passed = all(child.tag not in ("failure", "error", "skipped") for child in case)
            runs[int(found[1])][found[2]].append(passed)
    missing = [number for number in range(1, LAST + 1) if number not in runs]
    rows = [
        f"| {number} | {'<br>'.join(name.replace('_', ' ') for name in runs[number])} | {_passed(runs[number])} |"
        for number in sorted(runs)
    ]
    results = [one for tests in runs.values() for test in tests.values() for one in test]
    head = HEAD.format(
        vhds=f"{VHDS[0]} to {VHDS[-1]}",
        missing=" and ".join(map(str, missing)) or "left out",
        grpcio=version("grpcio"),
        passed=sum(results),
        failed=len(results) - sum(results),
    )
    return head + "\n".join(rows) + "\n"


def _passed(tests: dict[str, list[bool]]) -> str:
    results = [one for test in tests.values() for one in test]
    return f"{sum(results)} of {len(results)}"


if __name__ == "__main__":
    TARGET.write_text(page(Path(sys.argv[1])))
