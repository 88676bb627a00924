"""`fanpulse load` and `fanpulse dead-letters` with a real ingest and a real broker."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.topics import EVENTS, REJECTED, qualified
from services.runtime.settings import Settings
from services.runtime.topic_scan import read_topic
from tests.support.ports import free_port
from tests.support.processes import Service


@pytest.fixture
def ingest(settings: Settings, tmp_path: Path) -> Iterator[Service]:
    """A running ingest."""
    with Service("ingest", settings, tmp_path / "ingest.log", free_port()) as service:
        yield service.wait_ready()


class Command:
    """Runs `fanpulse` against one ingest."""

    def __init__(self, ingest: Service) -> None:
        self.url = ingest.url
        self.environment = {**ingest.environment, "COLUMNS": "80"}

    def run(self, *arguments: str, code: int = 0, stdin: bytes = b"") -> str:
        """Run a command that must end with this code; its standard output."""
        answer = subprocess.run(
            [sys.executable, "-m", "fanpulse", *arguments],
            env=self.environment, input=stdin, capture_output=True, timeout=90, check=False,
        )  # fmt: skip
        self.stderr = answer.stderr.decode()
        assert answer.returncode == code, f"{answer.returncode}: {self.stderr}"
        return answer.stdout.decode()

    def load(self, *arguments: str, code: int = 0, stdin: bytes = b"") -> str:
        """`fanpulse load`."""
        return self.run("load", *arguments, "--url", self.url, code=code, stdin=stdin)

    def dead_letters(self, *arguments: str) -> Any:
        """`fanpulse dead-letters list` for programs."""
        return json.loads(self.run("dead-letters", "list", "--format", "json", *arguments))


@pytest.fixture
def command(ingest: Service) -> Command:
    """Commands against the running ingest."""
    return Command(ingest)


async def events(settings: Settings) -> list[dict[str, Any]]:
    """What the log holds, without clock records."""
    found = []
    for record in await read_topic(settings, qualified(settings.namespace, EVENTS.name)):
        entries = json.loads(record.value or b"[]")
        found += entries if isinstance(entries, list) else [entries]
    return [entry for entry in found if entry["kind"] != "clock"]


LIKES = ["--kind=interaction", "--set=platform=twitter", "--set=account=GansuTravel", "--set=action=like"]


async def test_rows_of_every_format_become_the_same_events(
    command: Command, settings: Settings, tmp_path: Path
) -> None:
    """CSV, JSON lines (packed) and Parquet with the same content differ in the log by their ids only."""
    rows = [
        {
            "at": 1_782_120_600 + number,
            "post": f"p{number}",
            "who": f"u{number}",
            "tags": f"#A{number}, 伏羲大典",
        }
        for number in range(50)
    ]
    names = list(rows[0])
    table = "".join(",".join(f'"{row[name]}"' for name in names) + "\n" for row in rows)
    (tmp_path / "a.csv").write_text(",".join(names) + "\n" + table)
    (tmp_path / "b.bin").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    maps = [
        "--map",
        "occurred_at=at",
        "--map",
        "post_id=post",
        "--map",
        "actor.id=who",
        "--map",
        "hashtags=tags",
    ]
    summary = command.load(*(str(tmp_path / name) for name in ("a.csv", "b.bin", "c.parquet")), *LIKES, *maps)
    assert summary.count("50 rows, 50 accepted, 0 rejected") == 3
    assert summary.count("numbers, taken as epoch seconds: 50") == 3
    found = await events(settings)
    assert len({event.pop("event_id") for event in found}) == 150
    counts = Counter(json.dumps(event, sort_keys=True) for event in found)
    assert sorted(counts.values()) == [3] * 50
    assert {event["hashtags"][1] for event in found} == {"伏羲大典"}
    assert {event["occurred_at"] for event in found} == {(1_782_120_600 + n) * 1000 for n in range(50)}


async def test_interactions_are_completed_by_posts_in_front_of_them_in_the_file(
    command: Command, settings: Settings, tmp_path: Path
) -> None:
    """However many requests are on their way at once: each like has the hashtags of its post."""
    common = {"occurred_at": "2026-06-22T09:30:00Z", "platform": "twitter", "account": "GansuTravel"}
    posts = [
        common | {"kind": "post", "event_id": f"post{n}", "post_id": f"p{n}", "hashtags": [f"tag{n}"]}
        for n in range(500)
    ]
    likes = [
        common | {"kind": "interaction", "event_id": f"like{n}", "action": "like", "post_id": f"p{n % 500}"}
        for n in range(3000)
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(map(json.dumps, [*posts, *likes])))
    command.load(str(path), "--batch", "100", "--in-flight", "8")
    found = [event for event in await events(settings) if event["kind"] == "interaction"]
    assert len(found) == 3000
    assert all(event["hashtags"] == [f"tag{event['post_id'][1:]}"] for event in found)


MESSY = b"""occurred_at,platform,account,action,post_id,quantity,text,hashtags
2026-06-22T09:30:00Z,twitter,GansuTravel,like,p1,1,"two
lines",#a #b
22/06/2026 10:00,twitter,GansuTravel,like,p1,1,x,
2026-06-22T09:30:00Z,twitter,GansuTravel,retweet,p1,1,x,
2026-06-22T09:30:00Z,twitter,GansuTravel,like,1.22158E+17,1,x,

2026-06-22T09:30:00Z,twitter,GansuTravel,like,p1,"12,400",x,
2026-06-22T09:30:00Z,twitter,GansuTravel,like,p1,12,400,x,
2026-06-22T09:30:00Z,twitter,Gansu\xffTravel,like,p1,1,x,
2026-06-22T09:30:00Z,,GansuTravel,like,p1,1,x,
2026-06-22T09:30:00Z,twitter,GansuTravel,like,p2,1,"never closed,
2026-06-22 09:30,twitter,GansuTravel,like,p3,1,x,#c
"""


async def test_rows_that_cannot_be_used_are_reported_and_kept(
    command: Command, settings: Settings, tmp_path: Path
) -> None:
    """Each by its line, field and reason, on standard error and in --errors; each becomes a dead letter with
    its bytes; the good rows of the same file are accepted. The exit code is 1."""
    path = tmp_path / "likes.csv"
    path.write_bytes(MESSY)
    out = command.load(str(path), "--kind", "interaction", "--errors", str(tmp_path / "errors.jsonl"), code=1)
    assert "likes.csv (csv): 10 rows, 2 accepted, 8 rejected" in out
    assert "columns that fill no field: text" in out
    assert "times without an offset, taken in UTC: 1" in out
    errors = [json.loads(line) for line in (tmp_path / "errors.jsonl").read_text().splitlines()]
    assert [(row["line"], row["field"], row["reason"]) for row in errors] == [
        (4, "occurred_at", "bad_time"), (5, "action", "bad_value"), (6, "post_id", "wrong_type"),
        (8, "quantity", "wrong_type"), (9, "", "not_json"), (10, "", "not_utf8"),
        (11, "platform", "missing_field"),
        (12, "", "not_json"),
    ]  # fmt: skip
    assert "likes.csv:6 post_id wrong_type: 1.22158E+17 is an id that a spreadsheet rounded" in command.stderr
    assert len(await events(settings)) == 2
    dead_letters = command.dead_letters()
    assert dead_letters["total"] == 8
    assert {dead_letter["source"] for dead_letter in dead_letters["dead_letters"]} == {"file:likes.csv"}
    raw = command.run("dead-letters", "show", dead_letters["dead_letters"][2]["id"][:10])
    assert r"Gansu\xffTravel" in raw


async def test_dead_letters_are_corrected_and_sent_again(
    command: Command, settings: Settings, tmp_path: Path
) -> None:
    """What is good after the correction is accepted and not offered again; the rest stays, and stays one."""
    base = {
        "kind": "interaction",
        "occurred_at": "2026-06-22T09:30:00Z",
        "account": "GansuTravel",
        "action": "like",
    }
    rows = [base | {"event_id": f"e{n}", "hashtag": "#a, #b"} for n in range(30)] + [base | {"hashtag": "c"}]
    rows += [base | {"platform": "x y", "event_id": "bad"}]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    command.load(str(path), code=1)
    before = command.dead_letters()
    assert before["total"] == 32
    mend = ["--map", "hashtags=hashtag", "--set", "platform=twitter", "--url", command.url]
    one = next(dead_letter for dead_letter in before["dead_letters"] if dead_letter["reason"] != "bad_value")
    dry = command.run("dead-letters", "redrive", "--all", *mend, "--dry-run")
    assert dry.startswith("32 would be accepted, 0 would be rejected again")
    assert not await events(settings)
    assert command.run("dead-letters", "redrive", one["id"][:8], *mend).startswith("1 accepted")
    command.run("dead-letters", "redrive", one["id"][:8], *mend)
    assert "left out" in command.stderr
    kept = ["--reason", one["reason"], "--map", "hashtags=hashtag", "--url", command.url]
    assert command.run("dead-letters", "redrive", *kept, code=1).startswith("0 accepted, 30 rejected again")
    assert command.dead_letters()["total"] == 31
    assert command.run("dead-letters", "redrive", "--all", *mend).startswith("31 accepted, 0 rejected again")
    assert command.dead_letters()["total"] == 0
    assert command.dead_letters("--all")["total"] == 32
    found = await events(settings)
    assert Counter(len(event["event_id"]) > 10 for event in found) == {False: 31, True: 1}
    assert {tuple(event.get("hashtags", ())) for event in found} == {("a", "b"), ("c",), ()}
    topic = qualified(settings.namespace, REJECTED.name)
    assert len(await read_topic(settings, topic)) == 32 + 32  # dead letters and markers, and not one more


async def test_a_dead_letter_is_found_by_the_beginning_of_its_id(command: Command) -> None:
    """A beginning that matches none, or several, is rejected; wrong usage has exit code 2."""
    command.load("-", code=1, stdin=b"\n".join(b"{no json %d" % number for number in range(40)))
    command.run("dead-letters", "show", "nothing", code=2)
    assert "no dead letter has an id that begins with nothing" in command.stderr
    ids = [dead_letter["id"] for dead_letter in command.dead_letters("--limit", "100")["dead_letters"]]
    twice = next(sign for sign in "0123456789abcdef" if sum(each.startswith(sign) for each in ids) > 1)
    command.run("dead-letters", "show", twice, code=2)
    assert f"several dead letters have an id that begins with {twice}" in command.stderr
    assert json.loads(command.run("dead-letters", "show", ids[0], "--format", "json"))["id"] == ids[0]
    command.run("dead-letters", "redrive", ids[0], "--all", code=2)
    command.run("dead-letters", "list", "--reason", "bad_mood", code=2)


async def test_a_table_of_dead_letters_fits_a_terminal(command: Command) -> None:
    """Nothing is wider than 80 columns, and no id is cut."""
    command.load("-", code=1, stdin=b'{"kind":"interaction","action":"%s"}\nnonsense\n' % (b"x" * 300))
    table = command.run("dead-letters", "list")
    assert max(map(len, table.splitlines())) <= 80
    for dead_letter in command.dead_letters()["dead_letters"]:
        assert dead_letter["id"][:8] in table


async def test_a_load_goes_on_after_ingest_was_away(
    command: Command, ingest: Service, settings: Settings, tmp_path: Path
) -> None:
    """When ingest is gone for longer than our patience, the command ends with 3; the next one goes on, and
    every row is in the log."""
    path = tmp_path / "likes.csv"
    rows = (f"2026-06-22T09:30:00Z,p{number}\n" for number in range(3000))
    path.write_text("occurred_at,post_id\n" + "".join(rows))
    ingest.kill()
    command.load(str(path), *LIKES, "--patience", "0.5", code=3)
    assert "run the same command again to resume" in command.stderr
    ingest.start().wait_ready()
    command.load(str(path), *LIKES, "--batch", "100")
    assert {event["post_id"] for event in await events(settings)} == {f"p{number}" for number in range(3000)}
    assert not list((settings.state_dir / "load").iterdir())


async def test_wrong_options_end_before_anything_is_sent(
    command: Command, settings: Settings, tmp_path: Path
) -> None:
    """Also when it is the second file that does not fit."""
    (tmp_path / "a.csv").write_text("occurred_at,post_id\n2026-06-22,p\n")
    (tmp_path / "b.csv").write_text("time,post_id\n2026-06-22,p\n")
    command.load(str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), *LIKES, code=2)
    assert "b.csv: interaction needs occurred_at" in command.stderr
    command.load(str(tmp_path / "a.csv"), *LIKES, "--set", "acount=a", code=2)
    assert "did you mean account?" in command.stderr
    command.load(str(tmp_path / "nothing.csv"), *LIKES, code=2)
    command.load(str(tmp_path / "a.csv"), *LIKES, "--speed", "fast", code=2)
    assert not await events(settings)


async def test_a_key_comes_from_the_environment(settings: Settings, tmp_path: Path) -> None:
    """FANPULSE_API_KEY is what ingest asks for; without it the command ends with 3 and says why."""
    digest = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"  # of "key"
    port = free_port()
    hashes = json.dumps([digest])
    log = tmp_path / "ingest.log"
    with Service("ingest", settings, log, port, FANPULSE_INGEST_API_KEY_HASHES=hashes) as service:
        command = Command(service.wait_ready())
        line = json.dumps({"kind": "reading"}).encode()
        command.load("-", stdin=line, code=3)
        assert "answers 401" in command.stderr
        command.environment["FANPULSE_API_KEY"] = "key"
        command.load("-", stdin=line, code=1)


def test_the_command_needs_no_extra(tmp_path: Path) -> None:
    """`fanpulse load --help` imports neither Faust nor pyarrow nor a web framework."""
    script = (
        "import sys; from fanpulse.load import session; import fanpulse.cli.load; "
        "extras = ('faust', 'pyarrow', 'fastapi', 'uvicorn', 'duckdb'); "
        "print([name for name in extras if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ
    )
    assert answer.stdout.strip() == "[]"
