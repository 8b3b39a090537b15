"""What fuzzing found stays fixed, and a few seconds of it are clean. A long run: see `run.py`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from certificate_target import Certificates, taken
from fuzz_target import run
from mutate import mutated
from seeds import seeds

FOUND = sorted((Path(__file__).parent / "corpus").glob("*.bin"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_a_kept_input_does_no_harm(path: Path) -> None:
    run(path.read_bytes())


def test_the_valid_conversations_keep_their_streams_open() -> None:
    assert all(run(seed) for seed in seeds())


def test_mutated_conversations_raise_nothing_but_what_ends_a_stream() -> None:
    random = Random(20)
    pool = seeds()
    for _ in range(6_000):
        run(mutated(random.choice(pool), random.choice(pool), random))


@pytest.mark.filterwarnings("ignore")  # cryptography warns of what it will not take in times to come
def test_mutated_certificates_are_taken_or_set_aside_and_raise_nothing_else() -> None:
    random, certificates = Random(20), Certificates()
    answers = Counter(taken(certificates.mutated(random)) for _ in range(4_000))
    assert answers[True] > 100
    assert answers[False] > 1_000
