"""Recorded files, loaded through ingest and counted by the aggregator, against a recount in a few lines."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import random
import signal
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import EVENTS, qualified
from services.runtime.settings import Settings
from services.runtime.topic_scan import open_reader
from tests.support.ports import free_port
from tests.support.processes import Service, eventually

POSTS = 6000
REPOSTS = 4000
#: As people write them: full-width signs, capitals, composed and decomposed letters, repeats, commas.
TAGS = [
    "#FuxiCeremony",
    "＃fuxiceremony",
    "伏羲大典",
    "#LinxiaApricot",
    "Café",
    "Cafe\u0301",
    "STRASSE",
    "straße",
    "a_b",
]


class Stack:
    """Ingest and aggregator as processes, and commands that find them by the environment."""

    def __init__(self, settings: Settings, ingest: Service) -> None:
        self.settings = settings
        self.ingest = ingest
        self.environment = ingest.environment

    def command(self, *arguments: str) -> list[str]:
        """The command line of a command."""
        return [sys.executable, "-m", "fanpulse", *arguments]

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command to its end; its standard output."""
        command = self.command(*arguments)
        answer = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=110, check=False
        )
        assert answer.returncode == code, answer.stderr
        return answer.stdout

    def totals(self) -> tuple[Counter[Any], Counter[Any]]:
        """Counts per (platform, account, action) and per (hashtag, action), of all that is in the log now."""
        ends = asyncio.run(self._ends())
        found: dict[str, Any] = {}

        def counted() -> bool:
            found.update(json.loads(self.run("totals", "--format", "json")))
            offsets = {row["partition"]: row["offset"] for row in found["as_of"]}
            return all(offsets.get(partition, -1) >= end - 1 for partition, end in ends.items())

        eventually(counted, 60, "the aggregator has counted all that is in the log")
        rows = found["accounts"]
        accounts = {(row["platform"], row["account"], row["action"]): row["total"] for row in rows}
        hashtags = {(row["hashtag"], row["action"]): row["total"] for row in found["hashtags"]}
        return Counter(accounts), Counter(hashtags)

    async def _ends(self) -> dict[int, int]:
        async with open_reader(self.settings) as reader:
            spans = await reader.spans(qualified(self.settings.namespace, EVENTS.name))
        return {span.partition: span.end for span in spans}


@pytest.fixture
def stack(settings: Settings, tmp_path: Path) -> Iterator[Stack]:
    """A running stack."""
    ingest = Service("ingest", settings, tmp_path / "ingest.log", free_port())
    aggregate = Service("aggregate", settings, tmp_path / "aggregate.log", free_port())
    with ingest, aggregate:
        ingest.wait_ready()
        aggregate.wait_ready()
        yield Stack(settings, ingest)


def write(path: Path, columns: list[str], rows: list[list[str]]) -> None:
    """A gzipped CSV file."""
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    path.write_bytes(gzip.compress(text.getvalue().encode()))


def some_posts(draw: random.Random) -> list[list[str]]:
    """Posts of many accounts; one row in fifty is there twice."""
    rows = []
    for number in range(POSTS):
        tags = draw.choice([" ", ", ", "  "]).join(draw.sample(TAGS, draw.randrange(4)))
        second = draw.randrange(86_400)
        clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        account = f"acc{int(draw.paretovariate(1.2)) % 500}"
        platform = draw.choice(["twitter", "Facebook"])
        rows.append([f"2026-06-22T{clock}Z", platform, account, f"post{number}", 'say, "hi"\nall', tags])
    rows += draw.sample(rows, POSTS // 50)
    draw.shuffle(rows)
    return rows


def some_reposts(draw: random.Random) -> list[list[str]]:
    """Reposts of posts that nobody knows; forty ids occur twice, with another time."""
    rows = [
        [
            str(1_782_086_400 + draw.randrange(86_400)),
            f"user{draw.randrange(900)}",
            f"id{number:06d}",
            f"orig{number % 70}",
        ]
        for number in range(REPOSTS)
    ]
    rows += [[str(int(row[0]) + 5), *row[1:]] for row in draw.sample(rows, 40)]
    draw.shuffle(rows)
    return rows


def recount(path: Path) -> tuple[Counter[Any], Counter[Any]]:
    """What the posts of a file add up to, by a few lines that share nothing with fanpulse."""
    accounts, hashtags = Counter[Any](), Counter[Any]()
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = {tuple(row.values()): row for row in csv.DictReader(file)}.values()
    for row in rows:
        accounts[row["platform"].lower(), row["account"], "post"] += 1
        tags = row["hashtags"].replace(",", " ").split()
        folded = {unicodedata.normalize("NFC", tag.strip("#＃").casefold()) for tag in tags}
        hashtags.update((tag, "post") for tag in folded)
    return accounts, hashtags


def test_loaded_files_are_counted_to_the_unit_also_when_loaded_twice(stack: Stack, tmp_path: Path) -> None:
    """Posts with odd hashtags, rows that are there twice and an ignored column; reposts with repeated ids and
    times in epoch seconds. Totals per account and hashtag equal the recount, and loading all of it a second
    time changes nothing."""
    draw = random.Random(20260622)
    posts, reposts = tmp_path / "posts.csv.gz", tmp_path / "reposts.csv.gz"
    write(posts, ["published_at", "platform", "account", "post", "text", "hashtags"], some_posts(draw))
    write(reposts, ["time", "reposter", "repost", "original"], some_reposts(draw))
    accounts, hashtags = recount(posts)
    accounts["twitter", "GansuTravel", "repost"] = REPOSTS
    post_options = ["--kind", "post", "--map", "occurred_at=published_at", "--map", "post_id=post"]
    repost_options = [
        "--kind", "interaction", "--map", "occurred_at=time", "--map", "event_id=repost",
        "--map", "post_id=original", "--map", "actor.id=reposter", "--set", "platform=twitter",
        "--set", "account=GansuTravel", "--set", "action=repost",
    ]  # fmt: skip
    rows = POSTS + POSTS // 50
    for times in (1, 2):
        said = stack.run("load", str(posts), *post_options, "--url", stack.ingest.url)
        assert f"{rows:,} rows, {rows:,} accepted, 0 rejected" in said
        said = stack.run("load", str(reposts), *repost_options, "--url", stack.ingest.url)
        assert f"{REPOSTS + 40:,} rows, {REPOSTS + 40:,} accepted, 0 rejected" in said
        assert stack.totals() == (accounts, hashtags), f"after load {times}"
    assert sum(hashtags.values()) > POSTS


def test_an_interrupted_load_goes_on_and_counts_every_row_once(stack: Stack, tmp_path: Path) -> None:
    """Ctrl-C in the middle, then kill -9, then the same command to its end: each run goes on where the one
    before stood, and the total is the number of rows."""
    path = tmp_path / "likes.csv.gz"
    rows = [
        ["2026-06-22T09:30:00Z", "twitter", "GansuTravel", "like", f"u{number}"] for number in range(30_000)
    ]
    write(path, ["occurred_at", "platform", "account", "action", "actor.id"], rows)
    command = stack.command(
        "load",
        str(path),
        "--kind",
        "interaction",
        "--batch",
        "10",
        "--in-flight",
        "1",
        "--url",
        stack.ingest.url,
    )
    folder = Path(stack.environment["FANPULSE_STATE_DIR"]) / "load"
    done = 0
    for number in (signal.SIGINT, signal.SIGKILL):
        with subprocess.Popen(command, env=stack.environment, stderr=subprocess.PIPE, text=True) as process:
            before = done
            eventually(lambda: rows_done(folder) > before, 60, "a checkpoint that is further on")  # noqa: B023
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        assert process.returncode == (130 if number == signal.SIGINT else -number), said
        assert ("resuming after row" in said) == (before > 0)
        done = rows_done(folder)
        assert 0 < done < 30_000
    said = stack.run("load", str(path), "--kind", "interaction", "--url", stack.ingest.url)
    assert "30,000 rows, 30,000 accepted, 0 rejected" in said
    likes = Counter({("twitter", "GansuTravel", "like"): 30_000})
    assert stack.totals()[0] == likes


def rows_done(folder: Path) -> int:
    """The rows of the only checkpoint; 0 if there is none."""
    for file in folder.glob("*.json"):
        return int(json.loads(file.read_text())["checkpoint"]["rows"])
    return 0


def test_mended_letters_are_counted(stack: Stack, tmp_path: Path) -> None:
    """Rows that were rejected, once corrected and sent again, are in the totals as if they had been right."""
    path = tmp_path / "rows.jsonl"
    row = {
        "kind": "interaction",
        "occurred_at": "2026-06-22T09:30:00Z",
        "account": "VisitGansu",
        "action": "like",
    }
    path.write_text("\n".join(json.dumps(row | {"event_id": f"e{n}", "hashtag": "#A b"}) for n in range(700)))
    stack.run("load", str(path), "--url", stack.ingest.url, code=1)
    mend = ["--map", "hashtags=hashtag", "--set", "platform=facebook", "--url", stack.ingest.url]
    assert stack.run("dead-letters", "redrive", "--all", *mend).startswith("700 accepted")
    likes = Counter({("facebook", "VisitGansu", "like"): 700})
    assert stack.totals() == (likes, Counter({("a", "like"): 700, ("b", "like"): 700}))


def test_a_pipe_is_counted_while_it_is_still_open(stack: Stack) -> None:
    """Standard input is loaded as it comes: what was written is in the totals before the pipe is closed."""
    command = stack.command("load", "-", "--url", stack.ingest.url, "-q")
    with subprocess.Popen(command, env=stack.environment, stdin=subprocess.PIPE) as process:
        assert process.stdin
        row = {
            "kind": "interaction", "event_id": "e1", "occurred_at": "2026-06-22T09:30:00Z",
            "platform": "twitter", "account": "GansuTravel", "action": "like",
        }  # fmt: skip
        process.stdin.write(json.dumps(row).encode() + b"\n")
        process.stdin.flush()
        likes = Counter({("twitter", "GansuTravel", "like"): 1})
        eventually(lambda: stack.totals()[0] == likes, 60, "the row is counted")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
