"""What a request costs Envoy's worker in instructions, with each setting as it is generated and changed.

``python -m bench.instructions [VARIANT …] [--protocols h1 h2]``. Envoy runs under callgrind with one worker, and what
2,400 requests took more than 400 did, over ten connections (ten streams each in HTTP/2), is divided by 2,000. What the
kernel does isn't in it. Unlike CPU time it comes out the same within a hundredth whatever else the machine does, so it
shows what `bench.knobs` can't. Takes some minutes for each variant of `bench.varied`, and Debian's valgrind,
nginx-light, nghttp2-client and a C compiler.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.load import Load
from bench.plane import Plane, plane
from bench.report import RESULTS, Report
from bench.varied import VARIANTS
from demo.processes import DemoError
from demo.system import envoy_binary

FEW, MANY = 400, 2_400
_DOMAINS = 1_500
_MAIN_THREAD = "-01"
_SCRIPT = """\
#!/bin/sh
exec valgrind --tool=callgrind --separate-threads=yes --instr-atstart=no \
--callgrind-out-file={out} --log-file={log} {envoy} "$@"
"""


@dataclass(frozen=True, slots=True)
class Counted:
    """An edge whose Envoy runs under callgrind. ``folder``: where that leaves its files."""

    edge: Plane
    folder: Path
    load: Load

    def each(self, protocol: str) -> float:
        """The instructions of one request."""
        self._ask(protocol, FEW)
        self._control("--instr=on")
        few, many = (self._count(protocol, requests) for requests in (FEW, MANY))
        self._control("--instr=off")
        return (many - few) / (MANY - FEW)

    def _count(self, protocol: str, requests: int) -> int:
        self._control("--zero")
        self._ask(protocol, requests)
        self._control("--dump")
        total = 0
        for file in self.folder.glob("out.*"):
            if not file.name.endswith(_MAIN_THREAD):
                found = re.search(r"^(?:totals|summary): (\d+)", file.read_text(), re.MULTILINE)
                total += int(found[1]) if found else 0
            file.unlink()
        return total

    def _control(self, order: str) -> None:
        command = ["callgrind_control", order, str(self.edge.parts["envoy"].pid)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoError(f"callgrind_control {order}: {done.stderr.strip()}")

    def _ask(self, protocol: str, requests: int) -> None:
        said = self.load.ask(self.edge.ports.edge_https, protocol, connections=10, requests=requests)
        if f" {requests} succeeded" not in said:
            raise DemoError(f"not every request was answered: {said[-400:]}")


@contextmanager
def counted(variant: str = "") -> Iterator[Counted]:
    """``variant``: of `bench.varied`, none for what is generated."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script, before = folder / "envoy", os.environ.get("ENVOY")
        script.write_text(_SCRIPT.format(out=folder / "out", log=folder / "log", envoy=envoy_binary()))
        script.chmod(0o755)
        os.environ["ENVOY"] = str(script)
        try:
            with plane(_DOMAINS, variant, concurrency=1) as edge:
                yield Counted(edge, folder, Load(edge.folder, edge.asked()))
        finally:
            del os.environ["ENVOY"]
            if before is not None:
                os.environ["ENVOY"] = before


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench.instructions", description=__doc__)
    parser.add_argument("variants", nargs="*", default=["bare"], metavar="VARIANT")
    parser.add_argument("--protocols", nargs="+", default=["h1", "h2"])
    parser.add_argument("--json", type=Path, default=RESULTS / "instructions.json")
    options = parser.parse_args()
    unknown = set(options.variants) - set(VARIANTS)
    if unknown:
        parser.error(f"no variant {', '.join(sorted(unknown))}; there are {', '.join(VARIANTS)}")
    if not shutil.which("valgrind"):
        print("valgrind is not installed: apt-get install valgrind", file=sys.stderr)
        return 2
    report = Report("Instructions of Envoy's worker for a request")
    generated: dict[str, float] = {}
    for name in ["", *options.variants]:
        with counted(name) as measured:
            for protocol in options.protocols:
                each = measured.each(protocol)
                first = generated.setdefault(protocol, each)
                what = VARIANTS[name].what if name else ""
                variant = name or "as generated"
                report.add(variant=variant, protocol=protocol, instructions=round(each), ratio=each / first, what=what)
        print(f"{name or 'as generated'}: counted", file=sys.stderr, flush=True)
    report.show(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
