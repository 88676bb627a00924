"""A demo's verdict is good only if every figure is the scenario's, and its settings are its own."""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from rich.console import Console

from fanpulse.simulate.closing import addresses, closing, opening
from fanpulse.simulate.demo_settings import demo_settings
from fanpulse.simulate.organisation import ALIASES
from fanpulse.simulate.scenario import Expectation
from fanpulse.simulate.sent_counts import Mismatch, SentCounts
from fanpulse.simulate.verdict import Outcome, compare
from services.runtime.settings import (
    AlertsSettings,
    IngestSettings,
    KafkaSettings,
    Settings,
    load_settings,
)
from services.supervise.environment import as_environment


@dataclass(frozen=True)
class Line:
    line: str


@dataclass(frozen=True)
class SpikeFound:
    start_ms: int
    observed: int
    baseline: float


@dataclass(frozen=True)
class Audit:
    verdict: str = "AGREES"
    exact: bool = True
    events: int = 990
    counted: int = 970
    differences: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    milestones: tuple[object, ...] = ("one", "two")
    spikes: tuple[SpikeFound, ...] = (SpikeFound(1_782_121_260_000, 2_273, 334.0),)


EXPECTED = Expectation(sent=1_000, accepted=990, duplicates=20, rejected={"bad_time": 7, "not_json": 3})
SENT_COUNTS = SentCounts(
    sent=1_000, accepted=990, rejected=Counter({"bad_time": 7, "not_json": 3}), requests=10
)


def outcome(sent_counts: SentCounts = SENT_COUNTS, audit: Audit | None = None) -> Outcome:
    return compare(EXPECTED, sent_counts, audit or Audit(), 1.5)


def test_all_as_expected_is_good() -> None:
    """The report has the keys that scripts rely on, and its figures fit together."""
    good = outcome()
    assert good.good
    assert good.as_json() == {
        "sent": 1_000, "accepted": 990, "rejected": {"bad_time": 7, "not_json": 3}, "duplicates": 20,
        "counted": 970, "milestones": 2, "spikes": 1, "exact": True, "seconds": 1.5, "verdict": "AGREES",
        "good": True, "problems": [], "notes": [], "resent": 0, "retries": 0,
    }  # fmt: skip
    assert good.moments == ("09:41 6.8x",)
    assert good.counted == good.accepted - good.duplicates


@pytest.mark.parametrize(
    ("sent_counts", "audit", "problems"),
    [
        ({}, {"exact": False, "verdict": "DIFFERS"}, ["verdict is DIFFERS"]),
        (
            {},
            {"exact": False, "verdict": "DIFFERS", "differences": (Line("MISSING x"), Line("MORE y"))},
            ["verdict is DIFFERS", "^MISSING x$", "^MORE y$"],
        ),
        ({"sent": 999}, {}, [r"^sent is 999, .* 1,000$"]),
        (
            {"accepted": 989},
            {"events": 989},
            [r"^accepted is 989, .* 990$", r"^duplicates is 19, .* 20$"],
        ),
        ({}, {"counted": 969}, [r"^duplicates is 21, .* 20$", r"^counted is 969, .* 970$"]),
        ({}, {"events": 989}, [r"the log lacks 1 of the events"]),
        ({}, {"events": 991}, [r"the log has 1 more events"]),
        (
            {"rejected": Counter(bad_time=6, too_long=1, not_json=3)},
            {},
            [r"^rejected as bad_time is 6, .* 7$", r"^rejected as too_long is 1, .* 0$"],
        ),
        (
            {"mismatched": 1, "mismatches": [Mismatch(b"{}", "accepted", "bad_time")]},
            {},
            [r"^1 events .*: expected accepted, got bad_time: {}$"],
        ),
    ],
)
def test_each_deviation_is_a_problem_of_its_own(
    sent_counts: dict[str, Any], audit: dict[str, Any], problems: list[str]
) -> None:
    """A figure that is off makes the verdict not good; each figure that is off is named, and no other."""
    bad = outcome(replace(SENT_COUNTS, **sent_counts), replace(Audit(), **audit))
    assert not bad.good
    assert len(bad.problems) == len(problems), bad.problems
    for pattern, problem in zip(problems, bad.problems, strict=True):
        assert re.search(pattern, problem), problem


def test_events_sent_again_after_a_lost_answer_are_no_duplicates_of_the_scenario() -> None:
    """They are in the log twice and count once; the figures of the report still fit together."""
    retried = outcome(replace(SENT_COUNTS, retries=2), replace(Audit(), events=1_040))
    assert retried.good
    assert (retried.resent, retried.duplicates, retried.counted) == (50, 20, 970)


def printed(renderable: Any) -> str:
    file = io.StringIO()
    Console(file=file, width=100).print(renderable)
    return file.getvalue()


def figures(text: str) -> dict[str, list[str]]:
    """The words of each line by its first one."""
    return {words[0]: words[1:] for line in text.splitlines() if (words := line.split())}


def test_the_report_for_people_has_every_figure() -> None:
    """Each count in its row, with reasons and spikes beside it, and the verdict; when not good, why."""
    retried = outcome(replace(SENT_COUNTS, retries=2), replace(Audit(), events=1_040))
    text = printed(closing(retried))
    found = figures(text)
    counts = {name: words[0] for name, words in found.items() if name not in ("VERDICT",)}
    assert counts == {
        "sent": "1,000", "accepted": "990", "rejected": "10", "duplicates": "20", "counted": "970",
        "milestones": "2", "spikes": "1", "retries": "2", "seconds": "1.5",
    }  # fmt: skip
    assert found["rejected"][1:] == ["bad_time", "7,", "not_json", "3"]
    assert found["spikes"][1:] == ["09:41", "6.8x"]
    assert "50 events are in the log twice" in " ".join(found["retries"])
    assert found["VERDICT"][0] == "AGREES"
    bad = outcome(audit=replace(Audit(), counted=969))
    lines = printed(closing(bad)).splitlines()
    assert figures("\n".join(lines))["VERDICT"][:2] == ["NOT", "GOOD"]
    assert [line.strip() for line in lines if "✗" in line] == [f"✗ {problem}" for problem in bad.problems]
    assert "retries" not in figures("\n".join(lines))
    assert re.search(r"120 minutes .* in 12 s; seed 2026$", printed(opening(2026, 600, 120)).rstrip())


def test_addresses_are_shown_with_how_to_get_what_is_absent() -> None:
    """One line for each address, in the order of the pipeline."""
    status = {
        "kafka": {"bootstrap": "127.0.0.1:9092"},
        "ingest": [{"url": "http://127.0.0.1:1"}],
        "aggregate": [{"metrics": "http://127.0.0.1:2/metrics"}, {"metrics": "http://127.0.0.1:5/metrics"}],
        "alerts": [{"metrics": "http://127.0.0.1:3/metrics"}],
        "prometheus": {"url": "http://127.0.0.1:4"},
        "grafana": None,
    }
    text = printed(addresses(status, {"grafana": "not on the PATH; get it from the web"}))
    assert [line.split()[-1] for line in text.splitlines() if "127.0.0.1" in line] == [
        "http://127.0.0.1:1/docs",
        "http://127.0.0.1:1/metrics",
        "http://127.0.0.1:2/metrics",
        "http://127.0.0.1:5/metrics",
        "http://127.0.0.1:3/metrics",
        "http://127.0.0.1:4",
        "127.0.0.1:9092",
    ]
    assert [line.split()[1:] for line in text.splitlines() if line.split()[:1] == ["grafana"]] == [
        ["not", "on", "the", "PATH;", "get", "it", "from", "the", "web"]
    ]


def test_a_demo_takes_the_broker_and_nothing_else_from_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No webhook, host, key or rule of the user reaches the services of a demo."""
    user = Settings(
        namespace="real",
        state_dir=tmp_path,
        kafka=KafkaSettings(bootstrap="broker:9092", sasl_username="u", sasl_password=SecretStr("p")),
        ingest=IngestSettings(host="0.0.0.0", api_key_hashes=("0" * 64,), port=8080),
        alerts=AlertsSettings(webhook_url="https://example.org/hook", rules=tmp_path / "rules.toml"),
        hashtag_aliases={"Own": ("eigen",)},
    )
    demo = demo_settings(user)
    assert (demo.namespace, demo.state_dir, demo.kafka) == ("demo", tmp_path, user.kafka)
    assert (demo.ingest.host, demo.ingest.api_key_hashes, demo.ingest.clock) == ("127.0.0.1", (), "event")
    assert (demo.alerts.webhook_url, demo.alerts.rules) == (None, None)
    assert demo.hashtag_aliases == ALIASES
    for name, value in as_environment(demo).items():
        monkeypatch.setenv(name, value)
    assert load_settings().ingest == demo.ingest
