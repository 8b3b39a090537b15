"""How a command finds its control plane, and what it says when something else, or nothing, is there."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from command import ENVIRONMENT, failed, said
from stub_control_plane import StubControlPlane

from demo.tied import tied

PODS = {"items": [{"name": "pod1", "domains": 7}], "next": None, "total": 1}


@pytest.fixture
def other() -> Iterator[StubControlPlane]:
    """Another service, such as an Envoy's admin."""
    made = StubControlPlane(lambda method, path, headers: (404, "invalid path. admin commands are:"))
    yield made
    made.close()


@pytest.fixture
def wary() -> Iterator[StubControlPlane]:
    """It answers who has the token."""

    def answer(method: str, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        if headers["authorization"] != "Bearer the-token-of-this-machine":
            return 401, {"detail": "a bearer token is needed"}
        return 200, PODS

    made = StubControlPlane(answer)
    yield made
    made.close()


def test_what_is_no_control_plane_is_said_to_be_none(other: StubControlPlane) -> None:
    line = failed("pods", "--url", other.url)
    assert f"what answers at {other.url} isn't a control plane's API (404, text/plain)" in line
    assert "isn't a control plane's API" in failed("watch", "--url", other.url)


@pytest.mark.parametrize("url", ["127.0.0.1:18080", "localhost", "http://", "ftp://127.0.0.1"])
def test_an_address_that_is_no_url_is_named(url: str) -> None:
    assert f"'{url}' is no URL of a control plane, such as http://127.0.0.1:18080" in failed("status", "--url", url)


def test_no_error_shows_the_password_of_a_url() -> None:
    line = failed("pods", "--url", "http://ann:secret@127.0.0.1:1")
    assert ("http://127.0.0.1:1" in line, "secret" in line) == (True, False)


def test_a_token_file_that_was_given_and_can_not_be_read_is_named_also_where_none_is_needed(tmp_path: Path) -> None:
    open_to_all = StubControlPlane(lambda method, path, headers: (200, PODS))
    try:
        assert said("pods", "--url", open_to_all.url) == PODS["items"]
        line = failed("pods", "--url", open_to_all.url, "--token-file", tmp_path / "none")
    finally:
        open_to_all.close()
    assert f"token {tmp_path}/none can't be read" in line


@pytest.mark.parametrize("words", [["rollback", "list"], ["hold", "show"], ["pods"]], ids=" ".join)
def test_every_question_may_be_asked_with_a_token(wary: StubControlPlane, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "token").write_text("the-token-of-another\n")
    assert "says 401" in failed(*words, "--url", wary.url, "--token-file", tmp_path / "token")


def test_who_is_refused_for_want_of_a_token_is_told_why_none_was_sent(wary: StubControlPlane, tmp_path: Path) -> None:
    port = wary.url.rpartition(":")[2]
    config = tmp_path / "pointsman.toml"
    config.write_text(f'xds = {{ plaintext = true }}\nhttp = {{ port = {port}, token_file = "token" }}\n')
    line = failed("pods", "-c", config)
    assert "says 401: a bearer token is needed; none was sent: token" in line
    assert f"{tmp_path}/token can't be read" in line
    (tmp_path / "token").write_text("the-token-of-this-machine\n")
    assert said("pods", "-c", config) == PODS["items"]


def test_of_several_urls_in_the_environment_a_command_for_one_asks_the_first(wary: StubControlPlane) -> None:
    first = StubControlPlane(lambda method, path, headers: (200, PODS))
    try:
        found = said("pods", env={"POINTSMAN_URL": f"{first.url} {wary.url}"})
    finally:
        first.close()
    assert found == PODS["items"]


@pytest.mark.parametrize("words", [["status"], ["nodes"], ["history"], ["hold", "show"]], ids=" ".join)
def test_ctrl_c_ends_a_command_whose_control_planes_hang(words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = tied([sys.executable, "-m", "xds.cli", *words, "--url", url, "--url", url])
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        ) as made:
            asked = [silent.accept()[0] for _ in range(2)]  # from now on Ctrl-C finds it at work
            begun = time.monotonic()
            made.send_signal(signal.SIGINT)
            told = made.communicate(timeout=60)
            for connection in asked:
                connection.close()
    assert (made.returncode, *told) == (130, "", "")
    assert time.monotonic() - begun < 8, "who hangs has ten seconds and more"
