"""One name for one thing: words that the project has retired are not used again.

The table has each retired word with the word that is used now. A word that means nothing else is in no text
of the repository: code, comments, documents, settings, metrics, SQL, Java. A word that English needs as well
is no part of a name in Python, in the folders where it had its old meaning.
"""

from __future__ import annotations

import io
import keyword
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tools import tidy

ROOT = Path(__file__).parents[2]
#: What was released or decided stays as it was written; lock files have the names of others.
NOT_OURS = ("schemas/released/", "requirements/", "LICENSE", "CHANGELOG.md")
THIS_FILE = Path(__file__).relative_to(ROOT).as_posix()


class Text(NamedTuple):
    """A word that is in no text below these folders.

    ``pattern`` finds the word, its plural by default; ``unless`` is what it may stand in all the same, and
    ``except_in`` are files whose subject is another one.
    """

    word: str
    now: str
    pattern: str = ""
    unless: str = ""
    folders: tuple[str, ...] = ("",)
    except_in: tuple[str, ...] = ()


class Names(NamedTuple):
    """Words that are no part of a name in Python below these folders."""

    folders: tuple[str, ...]
    retired: dict[str, str]


#: Files on the letters of scripts.
_ON_LETTERS = (
    "docs/hashtags.md", "schemas/folding.py", "schemas/hashtags.py", "tests/unit/schemas/test_hashtags.py",
)  # fmt: skip
TEXTS = (
    Text("watermark", "max event time"),
    Text("horizon", "dedup window"),
    Text(
        "generation",
        "dedup segment",
        unless=r"generation[ _]id",
        folders=(
            "bench/", "docs/", "schemas/", "services/aggregate/", "services/audit/", "services/runtime/",
            "tests/",
        ),
    ),
    Text(
        "the present",
        "stream time",
        pattern=r"\bthe present\b",
        unless=r"the present (schema|row|place|one|version|selection|end)s?\b",
    ),
    Text("handful", "poll batch"),
    Text("read ahead", "warm-up", pattern=r"read[ _-]?ahead"),
    Text("tally", "pre-aggregator, counts", pattern=r"\btall(y|ies|ied)\b"),
    Text("vocabulary", "interning decoder", pattern=r"vocabular(y|ies)"),
    Text("CountsCollector", "ProgressCollector"),
    Text("remainder", "other"),
    Text("parcel", "publish request"),
    Text("ticket", "pending acknowledgement", folders=("services/ingest/", "tests/unit/ingest/")),
    Text("impediment", "not_ready_reason"),
    Text(
        "letter",
        "dead letter",
        pattern=r"letters?\b",
        unless=r"dead[\s_#*-]*letters?|(case|capital|small|latin|composed|no|of|two|\d+) letters?"
        r"|letters?,? (and|or|of|digits?)\b",
        folders=("CONTRIBUTING.md", "README.md", "docs/", "fanpulse/", "schemas/", "services/", "tests/"),
        except_in=_ON_LETTERS,
    ),
    Text(
        "refused",
        "rejected",
        pattern=r"refus(e|es|ed|als?|ing)\b",
        unless=r"connections? (is |are |was |were )?refused|refused connections?"
        r"|ConnectionRefused|ECONNREFUSED",
    ),
    Text("withheld", "suppressed", pattern=r"\bwithh[eo]ld"),
    Text("amount", "metric value", folders=("services/alerts/", "tests/unit/alerts/")),
    Text("ledger", "alert log"),
    Text("courier", "dispatcher"),
    Text("happening", "event type"),
    Text("keeper", "supervisor"),
    Text("narration", "console reporter", pattern=r"\bnarrat(ion|or)s?\b"),
    Text("takedown", "shutdown"),
    Text("surroundings", "view context"),
    Text("rehearsal", "demo run", pattern=r"\brehears"),
    Text("spoil", "malformed, corrupt", pattern=r"\bspoil(s|t|ed|ing)?\b"),
    Text("disorder", "noise"),
    Text("contestant", "implementation"),
    Text("peer", "baseline", folders=("bench/", "docs/performance.md", "tests/unit/bench/")),
    Text("anew", "again, from the start"),
    Text("held", "rebalance_safe", folders=("prometheus/", "grafana/")),
    Text(
        "pos",
        "non_events, offset, index, record_timestamp, published",
        pattern=r"(?m)^(?!\s*--).*\b(aside|pos|place|stamp|told)\b(?!.*--)",
        folders=("services/audit/recounting/sql/",),
    ),
)  # fmt: skip
NAMES = (
    Names(
        ("",),
        {
            "Gate": "FutureTimestampCheck", "Parcel": "PublishRequest", "Ticket": "PendingAck",
            "Lane": "PartitionQueue", "Budget": "ByteLimiter", "Held": "Reservation", "Caps": "RecordLimits",
            "Front": "ASGI app", "Intake": "Pipeline", "Gathering": "MicroBatcher", "Facts": "PostMetadata",
            "Box": "Snapshot", "Keeper": "Supervisor", "Guard": "Reaper", "Unit": "ManagedProcess",
            "Happening": "EventType", "Places": "StatePaths", "Show": "DemoProgress",
            "Rehearsal": "DemoRun", "Ownership": "PartitionManager", "ReadAhead": "WarmUp",
            "Tally": "PreAggregator", "Shape": "FieldType", "Contest": "RunResult", "Peer": "Baseline",
            "Together": "BatchResult", "matrix": "all_accounts", "present_ms": "stream_time_ms",
        },
    ),
    Names(
        ("services/aggregate/", "tests/unit/aggregate/", "tests/property/", "bench/"),
        {
            "present": "stream_time", "horizon": "dedup_window", "generation": "segment",
            "generations": "segments", "met": "seen", "sequence": "ordinal", "handful": "poll batch",
            "turn": "time slice", "turns": "time slices", "bite": "batch", "give_up": "on_revoked",
            "given_up": "revoked", "take_over": "on_assigned", "taken_over": "assigned",
             "leaving": "draining", "still": "quiesce_lock",
            "remember": "rebuild_dedup", "read_again": "prepare_replay", "tally": "pre_aggregator",
            "fold": "flush", "plan": "targets", "vocabulary": "interning", "home": "finest bucket",
            "ring": "bucket", "course": "history", "courses": "histories", "corrections":
            "downward_adjustments", "instruments": "self_metrics", "exposition": "collectors",
        },
    ),
    Names(
        ("services/aggregate/series/", "tests/unit/aggregate/"),
        {"choice": "selected", "remainder": "other", "common": "shared"},
    ),
    Names(
        ("services/ingest/", "tests/unit/ingest/"),
        {
            "gate": "future_timestamp_check", "front": "app", "intake": "pipeline", "gathering": "batcher",
            "parcel": "publish_request", "ticket": "pending_ack",
            "lane": "partition_queue", "draft": "batch_builder", "budget": "byte_limiter",
            "held": "reservation", "caps": "record_limits", "facts": "post_metadata", "learn": "upsert",
            "protect": "pseudonymize", "impediment": "not_ready_reason", "Draft": "BatchBuilder",
        },
    ),
    Names(
        (
            "schemas/", "fanpulse/load/", "services/ingest/", "tests/unit/schemas/", "tests/unit/load/",
            "tests/unit/ingest/", "tests/property/test_codec_laws.py", "tests/property/test_load_laws.py",
        ),
        {"judge": "validate", "judged": "validated", "verdict": "result", "flaw": "problem"},
    ),
    Names(
        ("fanpulse/load/", "tests/unit/load/"),
        {"packed": "compressed", "shape": "field_type", "pace": "rate_limiter"},
    ),
    Names(
        ("fanpulse/deadletters/", "tests/unit/deadletters/"),
        {"box": "snapshot", "marks": "markers", "mend": "transform"},
    ),
    Names(
        ("services/alerts/", "tests/unit/alerts/"),
        {
            "amount": "metric_value", "withheld": "suppressed", "fits": "matches", "driver":
            "top_contributor", "drivers": "top_contributors", "present": "stream_time",
        },
    ),
    Names(
        ("fanpulse/devstack/", "services/supervise/", "tests/unit/devstack/", "tests/unit/supervise/"),
        {
            "keeper": "supervisor", "guard": "reaper", "unit": "process", "units": "processes",
            "happening": "event_type", "happenings": "event_types", "places": "state_paths",
            "narration": "console_reporter", "takedown": "shutdown", "told": "reported",
        },
    ),
    Names(
        ("fanpulse/simulate/", "fanpulse/board/", "tests/unit/simulate/", "tests/unit/board/"),
        {
            "surroundings": "view_context", "rehearsal": "demo_run", "disorder": "noise",
            "spoil": "corrupt", "spoilt": "corrupt", "tally": "sent_counts",
        },
    ),
    Names(("bench/", "tests/unit/bench/"), {"contestant": "implementation", "peer": "baseline"}),
    Names(
        ("tests/faults/",),
        {"crew": "worker_pool", "stage": "runner", "play": "scenario_run", "life": "process"},
    ),
)  # fmt: skip


#: Names of Python's own that have a word of ours.
_OF_PYTHON = {"Sequence", "MutableSequence"}


@cache
def texts() -> dict[str, str]:
    """Every text that we write, by its path in the repository."""
    found = {}
    for path in tidy.tracked():
        name = path.relative_to(ROOT).as_posix()
        if name == THIS_FILE or name.startswith(NOT_OURS):
            continue
        try:
            found[name] = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # data
    return found


def snake(name: str) -> str:
    """A name in lower case, its parts parted by underscores: `MicroBatcher` and `micro_batcher` are alike."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).strip("_").lower()


def names_of(source: str) -> Iterator[tuple[int, str]]:
    """(line, name) of every name of a Python source, of metrics and settings in its strings too."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
            yield token.start[0], token.string
        elif token.type == tokenize.STRING:
            for name in re.findall(r"(?i)\bfanpulse_\w+", token.string):
                yield token.start[0], name


@cache
def names() -> dict[str, list[tuple[int, str]]]:
    """(line, name) of every name by file; the file's own name is on line 0."""
    modules = {path: text for path, text in texts().items() if path.endswith(".py")}
    return {path: [(0, Path(path).stem), *names_of(text)] for path, text in modules.items()}


def lines_with(rule: Text, text: str) -> list[int]:
    """Numbers of the lines on which a text has the word."""
    if rule.unless:
        blanked = re.compile(rule.unless, re.IGNORECASE)
        text = blanked.sub(lambda match: re.sub(r"\S", " ", match[0]), text)
    found = re.finditer(rule.pattern or rf"\b{rule.word}s?\b", text, re.IGNORECASE)
    return [text.count("\n", 0, match.start()) + 1 for match in found]


def has_word(name: str, retired: str) -> bool:
    """Whether a name has the word as a part. A word with a capital is a class, and is the whole name."""
    if name in _OF_PYTHON:
        return False
    if retired[0].isupper():
        return name.strip("_") == retired
    return f"_{retired}_" in f"_{snake(name)}_"


@pytest.mark.parametrize("rule", TEXTS, ids=lambda rule: rule.word)
def test_no_text_has_a_retired_word(rule: Text) -> None:
    """In the folders of the rule the word is nowhere; the message says what is used now."""
    below = {
        path: text
        for path, text in texts().items()
        if path.startswith(rule.folders) and path not in rule.except_in
    }
    found = [f"{path}:{line}" for path, text in below.items() for line in lines_with(rule, text)]
    assert found == [], f"{rule.word} is now: {rule.now}"


@pytest.mark.parametrize("rule", NAMES, ids=lambda rule: rule.folders[0] or "everywhere")
def test_no_name_has_a_retired_word(rule: Names) -> None:
    """In the folders of the rule no name of Python has the word as a part."""
    below = {path: found for path, found in names().items() if path.startswith(rule.folders)}
    found = sorted(
        {
            f"{path}:{line}: {name}; {retired} is now: {now}"
            for path, lines in below.items()
            for line, name in lines
            for retired, now in rule.retired.items()
            if has_word(name, retired)
        }
    )
    assert found == []


@pytest.mark.parametrize("folder", sorted({folder for rule in (*TEXTS, *NAMES) for folder in rule.folders}))
def test_every_folder_of_the_table_has_files(folder: str) -> None:
    """A folder that has moved would leave its words unchecked."""
    assert [path for path in texts() if path.startswith(folder)] != []


@pytest.mark.parametrize("rule", TEXTS, ids=lambda rule: rule.word)
def test_a_retired_word_would_be_found(rule: Text) -> None:
    """Each pattern finds its word, in capitals too, on its line; and not what the word may stand in."""
    assert lines_with(rule, f"first\nnow {rule.word.upper()} again\n") == [2]


def test_a_retired_name_would_be_found() -> None:
    """Parts of names in either spelling, of metrics and settings too, and files; not words in comments."""
    source = (
        "def give_up(present_ms): ...  # the matrix\n"
        "class Gate:\n    heldBytes = Counter('fanpulse_ingest_held_bytes')\nstill = aggregate\n"
    )
    found = [name for _, name in names_of(source)]
    assert "fanpulse_ingest_held_bytes" in found
    assert "matrix" not in found
    assert [name for name in found if has_word(name, "held")] == ["heldBytes", "fanpulse_ingest_held_bytes"]
    assert [name for name in found if has_word(name, "give_up")] == ["give_up"]
    assert [name for name in found if has_word(name, "present")] == ["present_ms"]
    assert [name for name in found if has_word(name, "gate")] == ["Gate"]
    assert [name for name in found if has_word(name, "Gate")] == ["Gate"]
    assert not has_word("GateOpener", "Gate")


def test_what_english_and_others_need_is_allowed() -> None:
    """A dead letter, a refused connection, letters of the alphabet, and the generation id of a group."""
    rules = {rule.word: rule for rule in TEXTS}
    for word, text in (
        ("letter", "dead letter, dead-letters, DeadLetter, dead_letters; 7 letters, letters and digits"),
        ("letter", "a dead\n    # letter"),
        ("refused", "Connection refused, ConnectionRefusedError"),
        ("the present", "freeze the present schemas"),
    ):
        assert lines_with(rules[word], text) == []
    assert lines_with(rules["letter"], "a dead letter\nand a letter") == [2]
