"""One engine, one copy of the checkout and one running system for all tests here."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import Engine, NoEngine, compose_command
from engine import engine as any_engine
from stack import Stack, copy_checkout, give_wheels, new_stack
from stand_ins import base_images


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    try:
        with any_engine() as found:
            yield found
    except NoEngine as why:
        pytest.skip(f"no Docker engine: {why}")


@pytest.fixture(scope="session")
def checkout(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Ready to be built, with the base images in the engine."""
    folder = tmp_path_factory.mktemp("checkout")
    copy_checkout(folder)
    with base_images(engine) as stand_ins:
        # Official images, in an engine with a way out, are built as by anybody.
        if stand_ins or engine.own:
            give_wheels(engine, folder)
        yield folder


@pytest.fixture(scope="session")
def stack(engine: Engine, checkout: Path) -> Iterator[Stack]:
    """Up and healthy."""
    command = compose_command(engine.environment)
    if command is None:
        pytest.skip("neither `docker compose` nor `docker-compose` is installed")
    stack = new_stack(engine, command, checkout)
    try:
        stack.compose("build", timeout=480)
        stack.up()
        yield stack
    finally:
        stack.down("--volumes", "--rmi", "local")
        # The builder that isn't BuildKit leaves the first stage as an image without a name.
        engine.docker("image", "prune", "--force", "--filter", "label=org.opencontainers.image.title=pointsman")


@pytest.fixture(scope="session")
def tls(stack: Stack) -> ssl.SSLContext:
    return stack.tls()
