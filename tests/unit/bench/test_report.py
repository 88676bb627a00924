"""The tables of the benchmarks: every figure of the JSON that people are promised is rendered."""

from __future__ import annotations

from typing import Any

import pytest

from bench import report
from bench.figures import Contest, Counts, require_equal

IMPLEMENTATION = {"events_per_s": 240_000, "rss_mb": 310, "cpu_seconds_per_million": 4.25}
AGGREGATE: dict[str, Any] = {
    "events": 1_000_000,
    "runs": 5,
    "kafka_streams_runs": 3,
    "events_per_record": 400,
    "bytes_per_event": 336,
    "ratio_bare": 0.75,
    "ratio_kafka_streams": 4.5,
    "ratio_kafka_streams_processor": 2.6,
    "ratio_kafka_streams_combined": 2.1,
    "contestants": dict.fromkeys(report.IMPLEMENTATIONS, IMPLEMENTATION),
}
FRESH = {
    "probes": 300, "metrics_poll_ms": 60, "acknowledged_p50_ms": 3, "acknowledged_p99_ms": 9,
    "metrics_p50_ms": 90, "metrics_p99_ms": 181, "totals_p50_ms": 600, "totals_p99_ms": 1_150,
}  # fmt: skip
RESULTS: dict[str, Any] = {
    "machine": {"cores": 2, "python": "3.11.7", "system": "Linux"},
    "aggregate": AGGREGATE,
    "aggregate_10m": AGGREGATE | {"events": 10_000_000, "time_ratio_10x": 10.4},
    "hashtags": {
        "hashtags": 1_000_000, "accounts": 100_000, "events": 2_000_000, "events_per_s": 61_000,
        "scrapes": 40, "scrape_p50_ms": 120, "scrape_p99_ms": 280, "scrape_max_ms": 290,
        "idle_scrape_p50_ms": 30, "idle_scrape_p99_ms": 41, "series": 17_062, "page_bytes": 1_961_685,
        "rss_mb": 1_400, "totals_exact": True,
    },
    "freshness": {
        "seconds": 30.0,
        "at_2000": FRESH | {"events_per_s": 1_990},
        "at_20000": FRESH | {"events_per_s": 15_000, "totals_p99_ms": 1_333},
    },
    "restart": {
        "events": 10_000_000, "runs": 3,
        "keys_20000": {"keys": 20_050, "entries": 80_200, "rss_mb": 700, "sigkill_seconds": 8.61,
                       "sigterm_seconds": 5.2},
        "keys_1000000": {"keys": 1_000_050, "entries": 3_900_000, "rss_mb": 2_900, "sigkill_seconds": 31.4,
                         "sigterm_seconds": 27.9},
    },
    "workers": {"events": 5_000_000, "runs": 3, "one_per_s": 241_000.0, "two_per_s": 377_000.0,
                "ratio": 1.56, "one_rss_mb": 350.0, "two_rss_mb": 610.0},
    "ingest": {
        "runs": 5, "seconds": 5.0, "rss_idle_mb": 71, "rss_after_mb": 180,
        "frozen_broker": {"seconds": 15.0, "connections": 256, "rss_peak_mb": 266, "answered_503": 12_345},
        "500s": {"events_per_s": 212_345.6, "requests_per_s": 424.7, "bare_events_per_s": 1_100_000.0,
                 "ratio_bare": 0.193, "p50_ms": 35.1, "p99_ms": 61.2, "half_p50_ms": 7.7, "half_p99_ms": 24.4,
                 "server_cores": 1.04},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("aggregate", ["1,000,000 events", "240,000", "310", "4.25", "0.75", "4.50", "2.10", "400 events"]),
        ("aggregate_10m", ["10,000,000 events", "10.40 times"]),
        ("hashtags", ["1,000,000 hashtags", "120 / 280 / 290", "30 / 41", "17,062", "1,400", "yes"]),
        ("freshness", ["| 2,000 |", "15,000 of 20,000", "90 / 181", "600 / 1,333", "60"]),
        ("restart", ["20,050", "8.6", "5.2", "1,000,050", "31.4", "kill -9"]),
        ("workers", ["241,000", "377,000", "1.56 times"]),
        ("ingest", ["212,346", "0.19", "7.7 / 24.4", "180 MB after", "at most 266 MB", "12,345"]),
    ],
)
def test_every_section_is_rendered_with_its_figures(section: str, expected: list[str]) -> None:
    """The Markdown of a section holds its figures, in a table whose rows are as wide as its head."""
    text = report.markdown({section: RESULTS[section]})
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert not [figure for figure in expected if figure not in text]


def test_a_run_of_some_sections_gives_their_tables_alone() -> None:
    """What was not run has no table; the order is always the same."""
    some = {name: RESULTS[name] for name in ("workers", "machine", "aggregate")}
    titles = [table.title for table in report.tables(some)]
    assert titles == ["Counting 1,000,000 events", "Workers, 5,000,000 events"]


def test_tables_replace_what_is_between_the_markers_and_nothing_else() -> None:
    """Putting tables in twice gives the same page as once; the text around them stays."""
    page = f"# Performance\n\n{report.BEGIN}\nold\n{report.END}\n\nThe rest.\n"
    once = report.put_into(page, report.markdown(RESULTS))
    assert once == report.put_into(once, report.markdown(RESULTS))
    assert once.startswith("# Performance\n\n")
    assert once.endswith(f"{report.END}\n\nThe rest.\n")
    assert "old" not in once


def test_a_page_without_markers_is_left_alone() -> None:
    """A page that has no place for tables is refused."""
    with pytest.raises(ValueError, match="figures: begin"):
        report.put_into("# Another page\n", "tables")


def test_contestants_that_count_differently_fail_the_benchmark() -> None:
    """One unit more anywhere, in totals or in rolling counts, ends the benchmark and is named."""
    counts: dict[str, Counts] = {
        "accounts": {("twitter", "GansuTravel", "like"): 5},
        "hashtags": {("fuxi", "like"): 5},
    }
    rolling: Counts = {("1m", "hashtag", "fuxi", "like"): 5}
    bare = Contest(1.0, 1.0, 1.0, counts)
    ours = Contest(1.0, 1.0, 1.0, counts, rolling)
    require_equal({"bare": bare, "ours": ours, "streams": ours})
    wrong = Contest(1.0, 1.0, 1.0, counts | {"hashtags": {("fuxi", "like"): 6}}, rolling)
    with pytest.raises(SystemExit, match=r"hashtags of bare and streams differ.*fuxi/like: 5 and 6"):
        require_equal({"bare": bare, "ours": ours, "streams": wrong})
    late = Contest(1.0, 1.0, 1.0, counts, {("1m", "hashtag", "fuxi", "like"): 4})
    with pytest.raises(SystemExit, match="rolling counts of ours and streams differ"):
        require_equal({"bare": bare, "ours": ours, "streams": late})
