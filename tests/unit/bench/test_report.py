"""The tables of the benchmarks: every figure of the JSON stands in its cell."""

from __future__ import annotations

from typing import Any

import pytest

from bench import report
from bench.figures import Counts, RunResult, require_equal

#: No two figures are the same, so that none can stand in the place of another.
IMPLEMENTATIONS = {
    "ours": {"events_per_s": 240_000, "rss_mb": 310, "cpu_seconds_per_million": 4.25},
    "bare_loop": {"events_per_s": 300_000, "rss_mb": 320, "cpu_seconds_per_million": 3.25},
    "kafka_streams_eos": {"events_per_s": 60_000, "rss_mb": 1_330, "cpu_seconds_per_million": 20.1},
    "kafka_streams_processor": {"events_per_s": 96_000, "rss_mb": 1_340, "cpu_seconds_per_million": 10.0},
    "kafka_streams_combined": {"events_per_s": 120_000, "rss_mb": 1_350, "cpu_seconds_per_million": 6.36},
}
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
    "implementations": IMPLEMENTATIONS,
}
FRESH = {
    "probes": 300, "metrics_poll_ms": 61, "acknowledged_p50_ms": 3, "acknowledged_p99_ms": 9,
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


AGGREGATE_ROWS = [
    ("fanpulse", "240,000", "1.00", "310", "4.25"),
    ("bare loop", "300,000", "1.25", "320", "3.25"),
    ("Kafka Streams, exactly_once_v2", "60,000", "0.25", "1,330", "20.10"),
    ("the same, a processor without repartitioning", "96,000", "0.40", "1,340", "10.00"),
    ("the same, each record summed up first", "120,000", "0.50", "1,350", "6.36"),
]
AGGREGATE_RATIOS = (
    "fanpulse / bare loop: 0.75 (goal 0.7); fanpulse / Kafka Streams: 4.50 (goal 4); / its processor: 2.60; "
    "/ that with records summed up first: 2.10"
)
AGGREGATE_BASIS = (
    "Medians of 5, of Kafka Streams of 3; records of 400 events, 336 bytes an event; all counts agree."
)
TABLES = {
    "aggregate": report.Table(
        "Counting 1,000,000 events",
        ("", "events/s", "to fanpulse", "peak RSS, MB", "CPU s per million"),
        AGGREGATE_ROWS,
        f"{AGGREGATE_RATIOS}. {AGGREGATE_BASIS}",
    ),
    "aggregate_10m": report.Table(
        "Counting 10,000,000 events",
        ("", "events/s", "to fanpulse", "peak RSS, MB", "CPU s per million"),
        AGGREGATE_ROWS,
        f"{AGGREGATE_RATIOS}; time for ten times the events: 10.40 times (goal 11). {AGGREGATE_BASIS}",
    ),
    "hashtags": report.Table(
        "1,000,000 hashtags and 100,000 accounts",
        ("", "figure"),
        [
            ("scrape while counting, p50 / p99 / max, ms (goal 300)", "120 / 280 / 290"),
            ("scrape at rest, p50 / p99, ms", "30 / 41"),
            ("series on /metrics", "17,062"),
            ("size of the page, bytes", "1,961,685"),
            ("peak RSS, MB", "1,400"),
            ("events/s while counting, from the start of the process", "61,000"),
            ("totals topic: every key exact", "yes"),
        ],
        "2,000,000 events, 40 scrapes.",
    ),
    "freshness": report.Table(
        "Freshness",
        (
            "events/s", "202 answered, ms", "on /metrics, ms", "in the totals topic, ms", "between polls, ms",
            "probes",
        ),
        [
            ("2,000", "3 / 9", "90 / 181", "600 / 1,150", "61", "300"),
            ("15,000 of 20,000", "3 / 9", "90 / 181", "600 / 1,333", "61", "300"),
        ],
        "p50 / p99 from POST; the time between two polls of /metrics is the resolution of that column. Goals "
        "for p99: 300 ms and 1,500 ms.",
    ),
    "restart": report.Table(
        "Restart after 10,000,000 events",
        ("keys", "after kill -9, s", "after SIGTERM, s", "entries stored", "RSS, MB"),
        [
            ("20,050", "8.6", "5.2", "80,200", "700"),
            ("1,000,050", "31.4", "27.9", "3,900,000", "2,900"),
        ],
        "From the start of the process until all state is loaded and no record waits; worst of 3. Goal with "
        "20,000 keys: 10 s.",
    ),
    "workers": report.Table(
        "Workers, 5,000,000 events",
        ("workers", "events/s", "RSS, MB"),
        [("1", "241,000", "350"), ("2", "377,000", "610")],
        "Two workers: 1.56 times one, median of 3.",
    ),
    "ingest": report.Table(
        "Ingest",
        (
            "posts", "events/s", "requests/s", "bare producer/s", "ratio", "p50 / p99, ms",
            "at half load, ms", "cores",
        ),
        [("500s", "212,346", "425", "1,100,000", "0.19", "35.1 / 61.2", "7.7 / 24.4", "1.04")],
        "Memory: 71 MB idle, 180 MB after. Broker stopped for 15 s, 256 connections pushing: at most 266 MB "
        "(goal 300), 12,345 answers 503.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("section", TABLES)
def test_every_figure_stands_in_its_cell(section: str) -> None:
    """The table of a section has exactly these columns, rows and words below it."""
    assert list(report.tables({section: RESULTS[section]})) == [TABLES[section]]


def test_every_section_has_a_table_and_every_implementation_a_row() -> None:
    """The tables above leave out no benchmark and no implementation."""
    assert list(TABLES) == [name for name in RESULTS if name != "machine"]
    assert [table.title for table in report.tables(RESULTS)] == [table.title for table in TABLES.values()]
    assert report.IMPLEMENTATIONS.keys() == IMPLEMENTATIONS.keys()


def test_failed_goals_are_not_hidden() -> None:
    """Totals that differ are a "no", and a rate that was reached is not called the rate that was wanted."""
    (table,) = report.tables({"hashtags": RESULTS["hashtags"] | {"totals_exact": False}})
    assert table.rows[-1] == ("totals topic: every key exact", "no")
    fresh = FRESH | {"events_per_s": 19_600}
    (table,) = report.tables({"freshness": {"seconds": 30.0, "at_20000": fresh}})
    assert table.rows[0][0] == "19,600 of 20,000"


def test_the_markdown_of_a_table_is_a_github_table() -> None:
    """A heading, a row for the columns, a rule that aligns figures to the right, the rows, the note."""
    assert report.markdown({"workers": RESULTS["workers"]}) == (
        "### Workers, 5,000,000 events\n"
        "\n"
        "| workers | events/s | RSS, MB |\n"
        "| --- | --: | --: |\n"
        "| 1 | 241,000 | 350 |\n"
        "| 2 | 377,000 | 610 |\n"
        "\n"
        "Two workers: 1.56 times one, median of 3.\n"
    )


def test_a_run_of_some_sections_gives_their_tables_alone() -> None:
    """What was not run has no table; the order is always the same."""
    some = {name: RESULTS[name] for name in ("workers", "machine", "aggregate")}
    assert list(report.tables(some)) == [TABLES["aggregate"], TABLES["workers"]]


def test_tables_replace_what_is_between_the_markers_and_nothing_else() -> None:
    """Putting tables in twice gives the same page as once; the text around them stays."""
    page = f"# Performance\n\n{report.BEGIN}\nold\n{report.END}\n\nThe rest.\n"
    once = report.put_into(page, report.markdown(RESULTS))
    assert once == report.put_into(once, report.markdown(RESULTS))
    assert once == (
        f"# Performance\n\n{report.BEGIN}\n\n{report.markdown(RESULTS)}\n{report.END}\n\nThe rest.\n"
    )


def test_a_page_without_markers_is_rejected() -> None:
    """A page without both markers, in their order, is an error."""
    for page in ("# Another page\n", report.BEGIN, report.END, f"{report.END}\n{report.BEGIN}"):
        with pytest.raises(ValueError, match="figures: begin"):
            report.put_into(page, "tables")


def test_implementations_that_count_differently_fail_the_benchmark() -> None:
    """One unit more in totals or in rolling counts, or a count that one does not have, ends the benchmark."""
    counts: dict[str, Counts] = {
        "accounts": {("twitter", "GansuTravel", "like"): 5},
        "hashtags": {("fuxi", "like"): 5},
    }
    rolling: Counts = {("1m", "hashtag", "fuxi", "like"): 5}
    bare = RunResult(1.0, 1.0, 1.0, counts)
    ours = RunResult(1.0, 1.0, 1.0, counts, rolling)
    require_equal({"bare": bare, "ours": ours, "streams": ours})
    wrong = RunResult(1.0, 1.0, 1.0, counts | {"hashtags": {("fuxi", "like"): 6}}, rolling)
    with pytest.raises(SystemExit, match=r"hashtags of bare and streams differ.*fuxi/like: 5 and 6"):
        require_equal({"bare": bare, "ours": ours, "streams": wrong})
    with pytest.raises(SystemExit, match=r"hashtags of streams and bare differ.*fuxi/like: 6 and 5"):
        require_equal({"streams": wrong, "bare": bare})
    absent = RunResult(1.0, 1.0, 1.0, counts | {"accounts": {}}, rolling)
    with pytest.raises(SystemExit, match=r"accounts of bare and ours differ.*GansuTravel/like: 5 and 0"):
        require_equal({"bare": bare, "ours": absent})
    late = RunResult(1.0, 1.0, 1.0, counts, {("1m", "hashtag", "fuxi", "like"): 4})
    with pytest.raises(SystemExit, match="rolling counts of ours and streams differ"):
        require_equal({"bare": bare, "ours": ours, "streams": late})
