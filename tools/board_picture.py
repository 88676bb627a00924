"""docs/board.svg: the live board during the broadcast of the demo, as the README shows it.

    python -m tools.board_picture           write the picture
    python -m tools.board_picture --check   exit 1 if the picture is not current

The scenario goes through the product's own code: ingest completes and packs its events, partition states
count them, the rules decide alerts, and the board draws what it reads. There is no broker and no clock, so
the picture is the same on every machine. It names no web font: whoever looks at it fetches nothing.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator
from html import unescape
from itertools import groupby
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.terminal_theme import TerminalTheme

from fanpulse.board.live import Frame
from fanpulse.board.model import Board, Snapshot
from fanpulse.board.screen import DemoProgress, Health, ViewContext
from fanpulse.simulate.audience import vip_setting
from fanpulse.simulate.noise import ACCEPTED, DUPLICATE, Item
from fanpulse.simulate.organisation import ALIASES, MINUTE_MS, MINUTES, START_MS
from fanpulse.simulate.scenario import Expectation, Scenario, expect
from schemas.alerts import Milestone, Spike
from schemas.codec import decode_lines, encode_clock
from schemas.events import Clock
from schemas.hashtags import AliasTable
from schemas.totals import Key
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState
from services.alerts.deciding.decided import Decided
from services.alerts.deciding.figures import Figures
from services.alerts.deciding.milestones import Milestones
from services.alerts.deciding.rule_file import parse_rules
from services.alerts.deciding.spikes import Spikes
from services.ingest.pipeline.enrichment import Enrichment
from services.ingest.pipeline.known_posts import KnownPosts
from services.ingest.pipeline.packing import RecordLimits, pack
from services.ingest.pipeline.pseudonyms import Pseudonymizer
from tools.generated import write_or_check

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "board.svg"
RULES = ROOT / "services" / "alerts" / "rules.toml"
COLUMNS, LINES = 104, 32
#: Of a terminal cell in the picture: rich's 20 px of height by the shape that it assumes of a font.
CELL_WIDTH = 20 * 0.61
#: The moment: 09:58 UTC, 28 minutes into the broadcast, after two of its three spikes.
UNTIL_MS = START_MS + 88 * MINUTE_MS
_PARTITIONS = 4
#: The demo plays a minute in a second, and its aggregator stores its figures four times a second.
_SPEED = 60
_STEP_MS = 15_000
#: The demo's clock on the wall; only differences show.
_WALL_MS = 1_800_000_000_000
_SERVICES = ("kafka", "ingest", "aggregate", "alerts", "prometheus", "grafana")

_FONTS = (
    "ui-monospace, 'Cascadia Mono', 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Noto Sans Mono CJK SC', "
    "'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', 'WenQuanYi Micro Hei', monospace"
)
#: The font is a little larger than the grid of rich, so that the blocks of charts touch from line to line.
_FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<!-- Made by `python -m tools.board_picture`; do not edit. -->
<title>The live board of fanpulse during the Fuxi Grand Ceremony</title>
<style>
.{unique_id}-matrix {{ font-family: %s; font-size: 21px; white-space: pre; }}
.{unique_id}-title {{ font-size: 16px; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
""" % _FONTS.replace("%", "%%")  # noqa: UP031  braces are rich's
_THEME = TerminalTheme(
    (18, 22, 30), (214, 220, 228),
    [(40, 46, 58), (237, 106, 94), (126, 200, 122), (236, 190, 92), (84, 140, 224), (190, 140, 220),
     (92, 200, 214), (214, 220, 228)],
    [(122, 132, 148), (255, 130, 118), (150, 220, 146), (250, 208, 116), (112, 164, 240), (210, 164, 238),
     (120, 218, 230), (255, 255, 255)],
)  # fmt: skip


class DryRun:
    """The services' own code without a broker, from lines as they are sent to a board that is up to date."""

    def __init__(self, scenario: Scenario) -> None:
        aliases = AliasTable(scenario.hashtag_aliases)
        self.board = Board(aliases)
        self._enrichment = Enrichment(KnownPosts(10_000), aliases, Pseudonymizer(vip_setting(), None))
        self._states = [PartitionState(number, DedupWindow(250_000, 2)) for number in range(_PARTITIONS)]
        self._offsets = [0] * _PARTITIONS
        rules = parse_rules(RULES.read_text("utf-8"), RULES.name)
        self._alerts = Decided()
        self._figures = Figures(_PARTITIONS)
        self._milestones = Milestones(rules.milestone, self._alerts, aliases)
        self._spikes = Spikes(rules.spike, {})

    def take(self, lines: list[bytes], stream_time_ms: int) -> None:
        """Ingest the lines of accepted events, count, decide and store, once."""
        events = decode_lines(lines)
        assert events is not None, "the scenario expects each of them to be accepted"
        self._enrichment.enrich(events)
        for fragment in pack(events, _PARTITIONS, RecordLimits(10_000, 1_000_000)).fragments:
            self._append(fragment.partition, b"[" + fragment.data + b"]")
        clock = encode_clock(Clock(kind="clock", stream_time=stream_time_ms, source="event"))
        now_ms = wall_ms(stream_time_ms)
        for partition, state in enumerate(self._states):
            self._append(partition, clock)
            for key, value in take_changes(state):
                self.board.apply_total(partition, key, value, now_ms)
                self._figures.feed(partition, key, value)
        self._decide(now_ms)
        self.board.snapshot(now_ms)  # as the display does all the time: events per second come from it

    def _append(self, partition: int, data: bytes) -> None:
        self._states[partition].apply(self._offsets[partition], data)
        self._offsets[partition] += 1

    def _decide(self, now_ms: int) -> None:
        changed: Iterable[Key] = sorted(self._figures.take_changed(), key=str)
        alerts: list[Milestone | Spike] = [*self._spikes.decide(self._figures, now_ms)]
        alerts += self._milestones.decide(self._figures, changed, now_ms)
        for alert in alerts:
            self._alerts.note(alert)
            self.board.apply_alert(alert.id.encode(), alert.model_dump_json().encode())


def wall_ms(event_ms: int) -> int:
    """When the demo comes to an event time."""
    return _WALL_MS + (event_ms - START_MS) // _SPEED


def play(scenario: Scenario, until_ms: int) -> tuple[Snapshot, Expectation]:
    """The board at ``until_ms``, and what ingest has answered by then."""
    items = [item for item in scenario.items if item.send_at_ms < until_ms]
    dry_run = DryRun(scenario)
    for step, group in groupby(items, key=lambda item: item.send_at_ms // _STEP_MS):
        dry_run.take(list(_accepted(group)), (step + 1) * _STEP_MS)
    return dry_run.board.snapshot(wall_ms(until_ms) + 200), expect(items)


def _accepted(items: Iterable[Item]) -> Iterator[bytes]:
    return (item.line for item in items if item.expected in (ACCEPTED, DUPLICATE))


def picture(scenario: Scenario, until_ms: int = UNTIL_MS) -> str:
    """The SVG."""
    snapshot, answers = play(scenario, until_ms)
    rejected = sum(answers.rejected.values())
    share = (until_ms - START_MS) / (MINUTES * MINUTE_MS)
    context = ViewContext(
        title=f"demo, seed {scenario.seed}",
        health=[Health(name, "up") for name in _SERVICES],
        demo_progress=DemoProgress(share, answers.sent, answers.accepted, rejected, note=f"{_SPEED}x"),
        hint="Ctrl-C stops",
    )
    console = Console(
        record=True, file=io.StringIO(), width=COLUMNS, height=LINES, force_terminal=True,
        color_system="truecolor", legacy_windows=False, _environ={},
    )  # fmt: skip
    console.print(_Cells(Frame(snapshot, context, LINES)))
    svg = console.export_svg(title="make demo", theme=_THEME, code_format=_FORMAT, unique_id="board")
    svg = re.sub(
        r' clip-path="url\(#board-line-\d+\)"', "", svg
    )  # fitted text needs none, and the last is dangling
    return re.sub(r'(<text class="board-r[^>]*textLength=")[^"]*("[^>]*>)([^<]*)', _exact_length, svg)


class _Cells:
    """A renderable in which no segment has both wide and narrow characters: each is placed by itself."""

    def __init__(self, inner: Frame) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self._inner, options):
            for _, run in groupby(text, key=cell_len):
                yield Segment("".join(run), style, control)


def _exact_length(match: re.Match[str]) -> str:
    """Rich takes a Chinese character for one cell here; it has two. Any font is fitted into its cells."""
    width = format(cell_len(unescape(match[3])) * CELL_WIDTH, "g")
    return f'{match[1]}{width}" lengthAdjust="spacingAndGlyphs{match[2]}{match[3]}'


def main(arguments: list[str]) -> int:
    """Exit status: 0, or 1 if the picture is not current."""
    svg = picture(Scenario(hashtag_aliases=dict(ALIASES)))
    return write_or_check({PICTURE: svg}, "tools.board_picture", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
