"""Fuzzes a stream: ``.venv/bin/python tests/fuzz/run.py --seconds 600``.

Guided by coverage when atheris is installed (``pip install atheris``; it isn't among the requirements), else by
mutation of what is in ``corpus/`` and of valid conversations. An input that fails is kept in ``corpus/``, where
`test_fuzz.py` runs it for ever after.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from types import FunctionType

import psutil
from fuzz_target import run
from mutate import mutated
from seeds import seeds

from xds.protocol import decode, delta, holdings, messages, sotw, stream, subscription

CORPUS = Path(__file__).parent / "corpus"
WARM = 20_000
"""Inputs until the memory is measured for the first time."""

REPORTED = 20_000


class Runs:
    """Counts the inputs, keeps those that fail, and looks at the memory."""

    def __init__(self) -> None:
        self.count = self.open = self.failed = 0
        self.before = 0
        self._process = psutil.Process()
        self._began = time.monotonic()

    def one(self, data: bytes) -> None:
        self.count += 1
        try:
            self.open += run(data)
        except Exception:
            self.failed += 1
            CORPUS.mkdir(exist_ok=True)
            (CORPUS / f"found-{hashlib.blake2b(data, digest_size=6).hexdigest()}.bin").write_bytes(data)
            raise
        if self.count == WARM:
            self.before = self.memory()
        if self.count % REPORTED == 0:
            self.report()

    def memory(self) -> int:
        return int(self._process.memory_info().rss)

    def report(self) -> None:
        print(
            f"{self.count} inputs in {time.monotonic() - self._began:.0f} s, {self.open} streams open to the end, "
            f"{self.failed} failed, memory {self.before / 1e6:.1f} MB after {WARM}, now {self.memory() / 1e6:.1f} MB",
            file=sys.stderr,
            flush=True,
        )


def by_mutation(runs: Runs, seconds: float, seed: int) -> None:
    random = Random(seed)
    pool = [*seeds(), *(path.read_bytes() for path in sorted(CORPUS.glob("*.bin")))]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(200):
            data = mutated(random.choice(pool), random.choice(pool), random)
            runs.one(data)
            if random.random() < 0.02 and len(pool) < 2_000:
                pool.append(data)


def by_coverage(runs: Runs, seconds: float, seed: int) -> None:
    """Ends the process."""
    import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]

    for module in (decode, delta, holdings, messages, sotw, stream, subscription):
        for value in [*vars(module).values()]:
            for function in vars(value).values() if isinstance(value, type) else (value,):
                if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                    atheris.instrument_func(function)
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate([*seeds(), *(path.read_bytes() for path in sorted(CORPUS.glob("*.bin")))]):
            (Path(folder) / str(number)).write_bytes(data)
        flags = [
            f"-max_total_time={seconds:.0f}",
            f"-seed={seed}",
            "-max_len=4096",
            "-timeout=10",
            "-rss_limit_mb=2048",
        ]
        atheris.Setup([sys.argv[0], *flags, folder], runs.one)
        atheris.Fuzz()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--engine", choices=("auto", "atheris", "mutation"), default="auto")
    given = arguments.parse_args()
    runs = Runs()
    guided = given.engine == "atheris" or (given.engine == "auto" and importlib.util.find_spec("atheris") is not None)
    try:
        (by_coverage if guided else by_mutation)(runs, given.seconds, given.seed)
    finally:
        runs.report()


if __name__ == "__main__":
    main()
