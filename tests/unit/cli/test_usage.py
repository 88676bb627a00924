"""A mistake on the command line is told in the words of the one who typed it."""

from __future__ import annotations

import pytest
import typer
from typer.exceptions import TyperException

from fanpulse.cli.app import build_app
from fanpulse.cli.usage import usage_problem

COMMAND = typer.main.get_command(build_app())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("up --workers 65", "--workers (it is 65): must be at most 64"),
        ("up --workers x", "--workers (it is x): must be a whole number"),
        ("void x --wait -1", "--wait (it is -1): must be at least 0"),
        ("audit --settle x", "--settle (it is x): must be a number"),
        (
            "totals --format jsno",
            "--format (it is jsno): must be one of table, json, csv; did you mean json?",
        ),
        ("alerts --format xml", "--format (it is xml): must be one of table, json"),
        ("totals --fromat json", "there is no option --fromat; did you mean --format?"),
        ("totals --zzz", "there is no option --zzz"),
        ("totl", "there is no command totl; did you mean totals?"),
        ("zzz", "there is no command zzz"),
        ("rules chek", "there is no command chek; did you mean check?"),
        ("load a --batch", "--batch needs a value"),
        ("totals extra arg", "extra arg is more than this command takes"),
        ("repartition --partitions 8", "--into is missing"),
        (
            "audit --from yesterday",
            "--from: not an RFC 3339 time with an offset, such as 2026-06-22T09:30:00Z",
        ),
        ("audit --from 2026-06-22 --to 2026-06-21", "--from is not before --to"),
    ],
)
def test_a_mistake_names_what_was_typed_and_what_is_allowed(line: str, said: str) -> None:
    """Without the words of the parser or of a validator."""
    with pytest.raises(TyperException) as caught:
        COMMAND.main(line.split(), prog_name="fanpulse", standalone_mode=False)
    assert usage_problem(caught.value) == said
