"""Every command says what it does, with an example; a pipe gets no boxes, and a terminal is told what it can do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from command import failed, on_terminal, pointsman, said

from xds.cli import shell
from xds.cli.app import COMMANDS, GROUPS

WORDS = [words for _, words, _ in COMMANDS]


@pytest.mark.parametrize(("words", "function"), [(words, function) for _, words, function in COMMANDS])
def test_every_command_has_an_example_of_itself(words: str, function: Callable[..., None]) -> None:
    text, examples = shell.examples_of(function)
    assert text.endswith(".")
    assert any(f"pointsman {words}" in each for each in examples), examples
    assert len(text.split("\n\n")[0].replace("\n", " ")) <= 130, "its first paragraph is its line in the list"


def test_every_command_but_those_that_run_or_print_a_file_has_json() -> None:
    without = {words for words in WORDS if "--json" not in pointsman(*words.split(), "--help").stdout}
    assert without == {"serve", "completion", "import haproxy-cfg"}


def test_the_help_lists_the_commands_by_what_they_are_for() -> None:
    done = pointsman("--help")
    assert (done.returncode, done.stderr) == (0, "")
    heads = [line for line in done.stdout.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert heads == ["Options:", "Run:", "See and explain:", "Follow changes:", "Decide:", "More:"]
    for name in {words.split()[0] for words in WORDS}:
        assert f"\n  {name} " in done.stdout
    assert not set("│╭╰\x1b") & set(done.stdout)


@pytest.mark.parametrize("group", [[], *([name] for name in GROUPS)])
def test_a_group_without_a_command_shows_its_help(group: list[str]) -> None:
    done = pointsman(*group)
    assert done.returncode == 2
    assert done.stdout.startswith(f"Usage: pointsman {''.join(f'{name} ' for name in group)}[OPTIONS] COMMAND")


def test_what_is_not_understood_is_one_line() -> None:
    assert "No such command 'explian'. Did you mean 'explain'?" in failed("explian", code=2)
    assert "see `pointsman wait --help`" in failed("wait", "soon", code=2)
    assert "No such option" in failed("status", "--yaml", code=2)


def test_where_no_settings_say_where_the_control_plane_is_the_line_says_what_to_give() -> None:
    assert "give --config, or --url" in failed("status")
    assert "none.toml: No such file" in failed("status", "-c", "none.toml")


def test_a_terminal_gets_colours_unless_it_says_no() -> None:
    assert "\x1b[" in (coloured := on_terminal("status", "--help"))
    assert "╭" in coloured
    assert not any(
        code in on_terminal("status", "--help", env={"NO_COLOR": "1"}) for code in ("\x1b[31", "\x1b[36", "\x1b[1;36")
    )
    assert "╭" not in on_terminal("status", "--help", env={"TERM": "dumb"})


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_completion(name: str) -> None:
    done = pointsman("completion", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert "_POINTSMAN_COMPLETE" in done.stdout
    told = pointsman(
        env={
            "_POINTSMAN_COMPLETE": f"complete_{name}",
            "COMP_WORDS": "pointsman hold ",
            "COMP_CWORD": "2",
            "_TYPER_COMPLETE_ARGS": "pointsman hold ",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
    )
    for word in ("show", "release", "refuse"):
        assert word in told.stdout


def test_a_completion_that_no_shell_has_is_a_wrong_command_line() -> None:
    assert "csh" in failed("completion", "csh", code=2)


def test_the_version_is_the_packages() -> None:
    from xds import __version__

    assert said("version") == {"version": __version__}
    assert pointsman("version").stdout.strip() == __version__
