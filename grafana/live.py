"""The wall during a live broadcast: one screen of 1080p, nothing to scroll."""

from __future__ import annotations

from grafana.layout import Row, dashboard, label_variable, row
from grafana.panels import DATASOURCE, Json, Query, bars, lines, ranking, stat, states

UID = "fanpulse-live"

INTERACTIONS = 'action=~"comment|like|mention|quote|repost|share"'
STREAM = 'namespace=~"$namespace"'
CHOSEN = f'{STREAM},account=~"$account"'
#: Chosen ones with series of their own; the remainder is no name to rank or to draw.
ACCOUNTS = f'{CHOSEN},account!="_other"'
HASHTAGS = f'{STREAM},hashtag=~"$hashtag",hashtag!="_other"'
BROADCAST = f'{STREAM},broadcast=~"$broadcast"'


def known(expr: str) -> str:
    """A sum without labels that is NaN, and not absent, where nothing is known."""
    return f"({expr}) or vector(NaN)"


def recent(window: str, selector: str = CHOSEN) -> str:
    """Interactions in a rolling window of event time: the recorded sums over partitions."""
    return f'account:fanpulse_account_rolling:sum{{window="{window}",{selector},{INTERACTIONS}}}'


def build() -> Json:
    """The dashboard."""
    return dashboard(
        UID,
        "Live event",
        "What happens now across the matrix. Interactions are comments, likes, mentions, quotes, reposts and "
        "shares; windows are of event time. Published figures come from the log, not from here.",
        [_figures(), _course(), _state()],
        variables=[
            label_variable(
                "namespace", "Stream", "the stream to look at", "fanpulse_events_counted_total", multi=False
            ),
            label_variable("broadcast", "Broadcast", "live broadcasts", "fanpulse_broadcast_events_total"),
            label_variable("account", "Account", "accounts", "fanpulse_account_events_total"),
            label_variable("hashtag", "Hashtag", "hashtags", "fanpulse_hashtag_events_total"),
        ],
        annotations=[_alerts()],
    )


def _figures() -> Row:
    minute, hour = f"sum({recent('1m')})", f"sum({recent('1h')})"
    broadcast = f"sum(broadcast:fanpulse_broadcast_events:total{{{BROADCAST},{INTERACTIONS}}})"
    active = f"sum(sum by (platform, account) ({recent('5m', ACCOUNTS)}) > bool 0)"
    decided = f"fanpulse_alerts_decided_total{{{STREAM}}}"
    return row(
        5,
        stat(
            "Interactions in the last minute",
            "Of the chosen accounts. A minute of the event, also where a replay runs faster than it did.",
            "short",
            Query(known(minute), "interactions"),
        ),
        stat(
            "Interactions of the broadcast",
            "With the chosen broadcasts since they were announced, gross.",
            "short",
            Query(known(broadcast), "interactions"),
        ),
        stat(
            "Interactions, net",
            "Of the chosen accounts since the stream began, less those that were taken back.",
            "short",
            Query(known(f"sum(account:fanpulse_account_events:net{{{CHOSEN},{INTERACTIONS}}})"), "net"),
        ),
        stat(
            "Against the last hour",
            "The last minute as a multiple of the average minute of the last hour: 1 is as usual.",
            "suffix: ×",
            Query(known(f"{minute} / ({hour} / 60 > 0) or {minute} * 0"), "times the usual"),
            decimals=1,
        ),
        stat(
            "Accounts live",
            "Accounts with interactions in the last five minutes, of those with series of their own.",
            "short",
            Query(known(active), "accounts"),
        ),
        stat(
            "Behind",
            "Age of the newest event that is counted, while others wait: the figures are as old as this.",
            "s",
            Query(known(f"max(fanpulse_aggregate_lag_seconds{{{STREAM}}})"), "behind"),
            decimals=1,
            late_above=15,
        ),
        stat(
            "Milestones and spikes",
            "Decided since the alerts service started; each is in engagement.alerts.v1 once.",
            "short",
            Query(f"{known(f'sum({decided})')} unless on () sum({decided})", "alerts"),
            Query(f"sum by (kind) ({decided})", "{{kind}}"),
        ),
        widths=(4, 4, 4, 3, 3, 3, 3),
    )


def _course() -> Row:
    def tags(window: str) -> str:
        selector = f'window="{window}",{HASHTAGS},{INTERACTIONS}'
        return f"sum by (hashtag) (hashtag:fanpulse_hashtag_rolling:sum{{{selector}}})"

    first = f"topk(10, {tags('1h')})"
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
            "The ten with most interactions in the last hour of event time. Language pairs count as one.",
            ["hashtag"],
            [("1 h", first), ("5 min", f"{tags('5m')} and on (hashtag) {first}")],
        ),
        widths=(16, 8),
    )


def _state() -> Row:
    entered = "fanpulse_broadcast_phase_timestamp_seconds"
    furthest = " or ".join(
        f'{number} * ({entered}{{{BROADCAST},phase="{phase}"}} > bool 0)'
        for number, phase in enumerate(("scheduled", "preheat", "started", "ended"), start=1)
    )
    named = f'{STREAM},platform!="_other"'
    feeds = [f"(sum by (platform) ({recent(window, named)}) > bool 0)" for window in ("1m", "5m", "1h")]
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
            "The furthest phase that each broadcast has entered.",
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
            "Whether a platform sends: live, late, quiet or silent for a minute, five minutes, an hour.",
            [("silent", "dark-blue"), ("quiet", "blue"), ("late", "light-blue"), ("live", "orange")],
            Query(" + ".join(feeds), "{{platform}}"),
        ),
        bars(
            "Interactions by platform",
            "In the last five minutes of event time.",
            "short",
            Query(f"sum by (platform) ({recent('5m', named)})", "{{platform}}", instant=True),
        ),
        ranking(
            "Followers",
            "As the platforms report them: the newest reading of each account, and what all its readings "
            "since the first gained and lost. A reset by the platform is neither.",
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
    count = f"sum by (kind, rule) (fanpulse_alerts_decided_total{{{STREAM}}})"
    before = f"sum by (kind, rule) (fanpulse_alerts_decided_total{{{STREAM}}} offset 2s)"
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
