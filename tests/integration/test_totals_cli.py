"""`fanpulse totals` and `fanpulse alerts` read what is published, on a real broker."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys

import pytest

from services.runtime.settings import Settings
from services.runtime.topic_scan import Record
from tests.support.audit_stream import START_MS, Stream
from tests.support.publishing import publish, write_totals

TAG = {"hashtag": "fuxiceremony", "display": "FuxiCeremony"}
TRAVEL = {"platform": "twitter", "subject": "GansuTravel"}
NONE: dict[str, list[object]] = {
    name: [] for name in ("campaigns", "countries", "formats", "verified_actors", "broadcasts")
}


@pytest.fixture
def stream() -> Stream:
    """Two accounts, a hashtag in two partitions, a like taken back in another one, readings."""
    stream = Stream(partitions=4)
    base = {"v": 1, "occurred_at": START_MS, "platform": "twitter", "account": "GansuTravel"}
    like = base | {"kind": "interaction", "action": "like", "hashtags": ["fuxiceremony"]}
    stream.append(0, [like | {"event_id": "a", "quantity": 3}, like | {"event_id": "b", "action": "share"}])
    stream.append(3, [like | {"event_id": "c", "platform": "facebook", "account": "[b]Visit"}])
    stream.append(3, [like | {"event_id": "d", "action": "unlike"}])
    reading = base | {"kind": "reading", "metric": "followers"}
    stream.append(1, [reading | {"event_id": "r1", "value": 70}])
    stream.append(1, [reading | {"event_id": "r2", "value": 69, "occurred_at": START_MS + 1}])
    likes = reading | {"event_id": "r3", "value": 5, "post_id": "p1", "metric": "likes"}
    stream.append(1, [likes, reading | {"event_id": "r4", "value": 9, "metric": "viewers"}])
    return stream


def totals(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `fanpulse totals`."""
    return fanpulse(settings, "totals", *arguments)


def fanpulse(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    environment = {
        **os.environ,
        "FANPULSE_KAFKA_BOOTSTRAP": str(settings.kafka.bootstrap),
        "FANPULSE_NAMESPACE": settings.namespace,
        "FANPULSE_STATE_DIR": str(settings.state_dir),
        "FANPULSE_HASHTAG_ALIASES": json.dumps({"FuxiCeremony": ["伏羲大典"]}),
        "COLUMNS": "200",
    }
    command = [sys.executable, "-m", "fanpulse", *arguments]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer


async def test_totals_for_programs(settings: Settings, stream: Stream) -> None:
    """Sums over partitions, gross and net, in the order of their names, and their offsets."""
    await publish(settings, stream)
    assert json.loads(totals(settings, "--format", "json").stdout) == {
        "accounts": [
            {"platform": "facebook", "account": "[b]Visit", "action": "like", "total": 1, "net": 1},
            {"platform": "twitter", "account": "GansuTravel", "action": "like", "total": 3, "net": 2},
            {"platform": "twitter", "account": "GansuTravel", "action": "share", "total": 1, "net": 1},
            {"platform": "twitter", "account": "GansuTravel", "action": "unlike", "total": 1, "net": None},
        ],
        "hashtags": [
            {**TAG, "action": "like", "total": 4, "net": 3},
            {**TAG, "action": "share", "total": 1, "net": 1},
            {**TAG, "action": "unlike", "total": 1, "net": None},
        ],
        **NONE,
        "readings": [
            {**TRAVEL, "metric": "followers", "value": 69, "gained": 0, "lost": 1},
            {**TRAVEL, "metric": "viewers", "value": 9, "gained": None, "lost": None},
            {**TRAVEL, "subject": "post/p1", "metric": "likes", "value": 5, "gained": 0, "lost": 0},
        ],
        "as_of": [
            {"partition": 0, "offset": 0},
            {"partition": 1, "offset": 2},
            {"partition": 3, "offset": 1},
        ],
    }


async def test_totals_for_a_spreadsheet(settings: Settings, stream: Stream) -> None:
    """The same figures as CSV, with a header."""
    await publish(settings, stream)
    rows = list(csv.reader(io.StringIO(totals(settings, "--format", "csv").stdout)))
    assert rows == [
        ["scope", "platform", "name", "display", "metric", "value", "net", "gained", "lost"],
        ["account", "facebook", "[b]Visit", "[b]Visit", "like", "1", "1", "", ""],
        ["account", "twitter", "GansuTravel", "GansuTravel", "like", "3", "2", "", ""],
        ["account", "twitter", "GansuTravel", "GansuTravel", "share", "1", "1", "", ""],
        ["account", "twitter", "GansuTravel", "GansuTravel", "unlike", "1", "", "", ""],
        ["hashtag", "", "fuxiceremony", "FuxiCeremony", "like", "4", "3", "", ""],
        ["hashtag", "", "fuxiceremony", "FuxiCeremony", "share", "1", "1", "", ""],
        ["hashtag", "", "fuxiceremony", "FuxiCeremony", "unlike", "1", "", "", ""],
        ["reading", "twitter", "GansuTravel", "GansuTravel", "followers", "69", "69", "0", "1"],
        ["reading", "twitter", "GansuTravel", "GansuTravel", "viewers", "9", "9", "", ""],
        ["reading", "twitter", "post/p1", "post/p1", "likes", "5", "5", "0", "0"],
    ]


async def test_totals_for_people(settings: Settings, stream: Stream) -> None:
    """Names as they are, hashtags by their display name; an unreadable record is reported, no more."""
    await publish(settings, stream)
    await write_totals(settings, [Record(0, 0, 0, b"nonsense", b"{}")])
    answer = totals(settings)
    assert [" ".join(line.split()) for line in answer.stdout.splitlines() if re.search(r"\d", line)] == [
        "facebook [b]Visit like 1 1",
        "twitter GansuTravel like 3 2",
        "twitter GansuTravel share 1 1",
        "twitter GansuTravel unlike 1",
        "#FuxiCeremony like 4 3",
        "#FuxiCeremony share 1 1",
        "#FuxiCeremony unlike 1",
        "twitter GansuTravel followers 69 0 1",
        "twitter GansuTravel viewers 9",
        "twitter post/p1 likes 5 0 0",
        "as of partition 0: offset 0, partition 1: offset 2, partition 3: offset 1",
    ]
    assert re.search(r"^1 records of the totals cannot be read", answer.stderr)


async def test_no_totals_yet(settings: Settings) -> None:
    """An empty topic is no error."""
    assert json.loads(totals(settings, "--format", "json").stdout) == {
        "accounts": [],
        "hashtags": [],
        **NONE,
        "readings": [],
        "as_of": [],
    }
    assert "nothing is counted yet" in totals(settings).stdout


async def test_alerts_on_record_are_listed(settings: Settings, stream: Stream) -> None:
    """Newest last, with the id's first characters; what a higher milestone replaced only if you ask for it.
    A record that cannot be read is reported, no more."""
    account = ("account", ("twitter", "GansuTravel"), "like")
    for place, (threshold, above) in enumerate(((10, "the higher one"), (20, None), (50, None))):
        when = START_MS + 1000 * place
        stream.milestone(*account, threshold, 50, occurred_at=when, superseded_by=above)
    stream.alerts.append({"id": "nonsense"})
    await publish(settings, stream)
    answer = fanpulse(settings, "alerts", "--limit", "1")
    lines = [" ".join(line.split()) for line in answer.stdout.splitlines()]
    assert lines[1] == f"2026-06-21 23:20:02 milestone @GansuTravel a milestone {stream.alerts[2]['id'][:8]}"
    assert lines[2] == "1 of 2 alerts; --limit 2 lists all"
    assert "1 records of the alerts cannot be read" in answer.stderr
    every = json.loads(fanpulse(settings, "alerts", "--all", "--format", "json").stdout)
    assert [each["threshold"] for each in every] == [10, 20, 50]
