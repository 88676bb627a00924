"""The wall during a live broadcast: one screen of 1080p, nothing to scroll.

To add a panel, add it to a row below (`_figures`, `_over_time`, `_state`): a call of `stat`, `lines`, `bars`,
`ranking` or `states` of `grafana.panels` with title, description, unit and queries. Then give the row
`widths` that add up to 24 columns, and run `python -m grafana.build`. That is all:
tests/contract/test_dashboards.py checks each panel that it finds, and so does
tests/observability/test_queries.py on a real Prometheus. A panel for those who run fanpulse belongs in
`grafana.pipeline`, in the same way.

Take selectors and matchers from here and from `prometheus.promql`: every selector is limited to the stream
that is chosen, and `interactions()` and `window()` follow the tables of actions and windows.
"""

from __future__ import annotations

from typing import get_args

from grafana.layout import Row, dashboard, label_variable, row
from grafana.panels import DATASOURCE, Json, Query, bars, lines, ranking, stat, states
from prometheus.promql import OTHER, interactions, window
from schemas.events import INTERACTIONS, Phase
from services.aggregate.counting.windows import WINDOWS

UID = "fanpulse-live"

STREAM = 'namespace=~"$namespace"'
CHOSEN = f'{STREAM},account=~"$account"'
#: Chosen ones with series of their own; the sum of the others has no name to rank or to draw.
ACCOUNTS = f'{CHOSEN},account!="{OTHER}"'
HASHTAGS = f'{STREAM},hashtag=~"$hashtag",hashtag!="{OTHER}"'
BROADCAST = f'{STREAM},broadcast=~"$broadcast"'


def known(expr: str) -> str:
    """A sum without labels that is NaN, and not absent, where nothing is known."""
    return f"({expr}) or vector(NaN)"


def recent(name: str, selector: str = CHOSEN) -> str:
    """Interactions in a rolling window of event time: the recorded sums over partitions."""
    return f"account:fanpulse_account_rolling:sum{{{window(name)},{selector},{interactions()}}}"


def build() -> Json:
    """The dashboard."""
    return dashboard(
        UID,
        "Live event",
        f"What happens now on all accounts. Interactions are: {', '.join(sorted(INTERACTIONS))}. "
        "Windows are of event time. Published figures come from the log, not from here.",
        [_figures(), _over_time(), _state()],
        variables=[
            stream_variable(),
            label_variable(
                "broadcast", "Broadcast", "live broadcasts", of_stream("fanpulse_broadcast_events_total")
            ),
            label_variable("account", "Account", "accounts", of_stream("fanpulse_account_events_total")),
            label_variable("hashtag", "Hashtag", "hashtags", of_stream("fanpulse_hashtag_events_total")),
        ],
        annotations=[_alerts()],
    )


def stream_variable() -> Json:
    """Which stream (namespace) the dashboard is about."""
    return label_variable(
        "namespace", "Stream", "the stream to look at", "fanpulse_events_counted_total", multi=False
    )


def of_stream(metric: str) -> str:
    """The series of a metric, of the chosen stream."""
    return f"{metric}{{{STREAM}}}"


def _figures() -> Row:
    minute, hour = f"sum({recent('1m')})", f"sum({recent('1h')})"
    broadcast = f"sum(broadcast:fanpulse_broadcast_events:total{{{BROADCAST},{interactions()}}})"
    active = f"sum(sum by (platform, account) ({recent('5m', ACCOUNTS)}) > bool 0)"
    decided = of_stream("fanpulse_alerts_decided_total")
    return row(
        5,
        stat(
            "Interactions in the last minute",
            "Of the chosen accounts. It is a minute of event time, also while a replay runs faster.",
            "short",
            Query(known(minute), "interactions"),
        ),
        stat(
            "Interactions of the broadcast",
            "With the chosen broadcasts since they were announced, gross: withdrawals are not subtracted.",
            "short",
            Query(known(broadcast), "interactions"),
        ),
        stat(
            "Interactions, net",
            "Of the chosen accounts since the stream began, less those that people took back.",
            "short",
            Query(known(f"sum(account:fanpulse_account_events:net{{{CHOSEN},{interactions()}}})"), "net"),
        ),
        stat(
            "Against the last hour",
            "The last minute of the chosen accounts as a multiple of their average minute of the last hour: "
            "1 is as usual.",
            "suffix: ×",
            Query(known(f"{minute} / ({hour} / 60 > 0) or {minute} * 0"), "times the usual"),
            decimals=1,
        ),
        stat(
            "Accounts live",
            "Chosen accounts with interactions in the last five minutes, of those with series of their own.",
            "short",
            Query(known(active), "accounts"),
        ),
        stat(
            "Lag",
            "Age of the newest event that is counted while others wait: the figures are as old as this.",
            "s",
            Query(known(f"max({of_stream('fanpulse_aggregate_lag_seconds')})"), "lag"),
            decimals=1,
            late_above=15,
        ),
        stat(
            "Milestones and spikes",
            "Decided since the alerts service started. Each is in engagement.alerts.v1 once.",
            "short",
            Query(f"vector(NaN) unless on () sum({decided})", "alerts"),
            Query(f"sum by (kind) ({decided})", "{{kind}}"),
        ),
        widths=(4, 4, 4, 3, 3, 3, 3),
    )


def _over_time() -> Row:
    def tags(name: str) -> str:
        selector = f"{window(name)},{HASHTAGS},{interactions()}"
        return f"sum by (hashtag) (hashtag:fanpulse_hashtag_rolling:sum{{{selector}}})"

    first = f"topk(10, {tags('1h')})"
    others = [(name, f"{tags(name)} and on (hashtag) {first}") for name in WINDOWS if name != "1h"]
    return row(
        9,
        lines(
            "Interactions a minute, by account",
            "In the last minute of event time, of the chosen accounts. Marks are milestones and spikes.",
            "short",
            Query(f"sum by (platform, account) ({recent('1m', ACCOUNTS)})", "{{account}} · {{platform}}"),
            width=3,
        ),
        ranking(
            "Hashtags of the last hour",
            "The ten chosen hashtags with the most interactions in the last hour of event time, and their "
            "interactions in the other windows. Hashtags with an alias count as one.",
            ["hashtag"],
            [("1h", first), *others],
        ),
        widths=(16, 8),
    )


def _state() -> Row:
    entered = "fanpulse_broadcast_phase_timestamp_seconds"
    furthest = " or ".join(
        f'{number} * ({entered}{{{BROADCAST},phase="{phase}"}} > bool 0)'
        for number, phase in enumerate(get_args(Phase), start=1)
    )
    named = f'{STREAM},platform!="{OTHER}"'
    feeds = [f"(sum by (platform) ({recent(name, named)}) > bool 0)" for name in ("1m", "5m", "1h")]
    followers = f'{{{ACCOUNTS},metric="followers"}}'
    most = f"topk(10, max by (platform, account) (fanpulse_account_reading{followers}))"
    since = {
        name: f"sum by (platform, account) (account:fanpulse_account_reading_{name}:total{followers})"
        for name in ("gained", "lost")
    }
    return row(
        6,
        states(
            "Broadcast",
            "The furthest phase that each of the chosen broadcasts has entered.",
            [
                ("not announced", "text"),
                ("scheduled", "light-blue"),
                ("preheat", "yellow"),
                ("live", "orange"),
                ("after", "dark-blue"),
            ],
            Query(f"max by (broadcast) ({furthest})", "{{broadcast}}"),
        ),
        states(
            "Feeds",
            "Whether a platform sends. Live: within the last minute; late: within five minutes; quiet: "
            "within an hour; silent: not within an hour.",
            [("silent", "dark-blue"), ("quiet", "blue"), ("late", "light-blue"), ("live", "orange")],
            Query(" + ".join(feeds), "{{platform}}"),
        ),
        bars(
            "Interactions by platform",
            "In the last five minutes of event time, of all accounts with series of their own.",
            "short",
            Query(f"sum by (platform) ({recent('5m', named)})", "{{platform}}", instant=True),
        ),
        ranking(
            "Followers",
            "As the platforms report them: the ten chosen accounts with the most, and what their readings "
            "gained and lost since the first one. A reset by the platform is neither.",
            ["platform", "account"],
            [
                ("Followers", most),
                *(
                    (name.capitalize(), f"{expr} and on (platform, account) {most}")
                    for name, expr in since.items()
                ),
            ],
        ),
        widths=(5, 5, 5, 9),
    )


def _alerts() -> Json:
    decided = of_stream("fanpulse_alerts_decided_total")
    count, before = (f"sum by (kind, rule) ({series})" for series in (decided, f"{decided} offset 2s"))
    return {
        "name": "Milestones and spikes",
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "purple",
        "expr": f"({count} - {before}) > 0",
        "step": "1s",
        "titleFormat": "{{kind}}",
        "textFormat": "{{rule}}",
    }
