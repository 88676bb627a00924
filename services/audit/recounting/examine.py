"""Audits an export from its files alone, without a broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb

from schemas.hashtags import AliasTable
from services.audit.recounting.alerts import PublishedAlerts, read_alerts
from services.audit.recounting.compare import (
    compare_checkpoints,
    compare_entries,
    compare_figures,
    compare_rolling,
    find_gaps,
    find_strays,
)
from services.audit.recounting.differences import Difference
from services.audit.recounting.engine import DEFAULT_MEMORY_MB, Engine, open_engine
from services.audit.recounting.errors import DamagedExportError
from services.audit.recounting.gaps import read_gaps
from services.audit.recounting.manifest import (
    ALERTS_FILE,
    EVENTS_FOLDER,
    RULES_FILE,
    TOTALS_FILE,
    Damage,
    Manifest,
    find_damage,
    read_manifest,
)
from services.audit.recounting.milestones import (
    Milestone,
    MilestoneCheck,
    expected_milestones,
    missing_milestone,
)
from services.audit.recounting.recount import recount
from services.audit.recounting.result import AuditResult, Counts, Total, VoidedEvent, Window
from services.audit.recounting.retractions import RetractionCheck
from services.audit.recounting.rules import read_rules
from services.audit.recounting.spikes import Spike, SpikeCheck, missing_spike

#: An alert may still come if the records that it follows from were younger than this when alerts were read.
DECISION_MS = 30_000


def audit_export(
    directory: Path,
    window: Window | None = None,
    memory_mb: int = DEFAULT_MEMORY_MB,
    step: Callable[[str], None] = lambda text: None,
) -> AuditResult:
    """Recount an export and compare. ``step`` is called with what is being done.

    Raises NotAnExportError and RuleFileError. Damaged files are differences; if the events cannot be read at
    all, the verdict says so.
    """
    manifest = read_manifest(directory)
    step("checking files")
    damage = find_damage(directory, manifest)
    blank = AuditResult(
        namespace=manifest.namespace, read_at=manifest.created_at, counts=Counts(), as_of=(), window=window
    )
    gaps = read_gaps(directory, manifest, memory_mb)
    blank = replace(blank, notes=gaps.notes)
    if missing := gaps.uncovered(manifest):
        text = _missing_offsets(missing)
        return replace(blank, obstacle=text, differences=tuple(map(_damaged, damage)))
    try:
        with open_engine(memory_mb) as engine:
            return _Audit(engine, directory, manifest, damage, window, step).run(blank)
    except (DamagedExportError, duckdb.Error) as error:
        if not damage:
            raise
        shown = [f"{each.path} {each.text}" for each in damage] + [" ".join(str(error).split())]
        return replace(blank, obstacle="; ".join(shown), differences=tuple(map(_damaged, damage)))


class _Audit:
    """The work of one audit."""

    def __init__(
        self,
        engine: Engine,
        directory: Path,
        manifest: Manifest,
        damage: list[Damage],
        window: Window | None,
        step: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._directory = directory
        self._manifest = manifest
        self._window = window or Window()
        self._step = step
        self._damage = damage
        self._differences = [_damaged(each) for each in damage]
        self._notes: list[str] = []
        self._awaited = 0
        self._voids: list[VoidedEvent] = []

    def run(self, blank: AuditResult) -> AuditResult:
        """Recount, compare figures, then alerts."""
        self._step("counting")
        recount(self._engine, self._event_files(), self._directory / TOTALS_FILE)
        self._step("comparing totals")
        self._differences += compare_checkpoints(self._engine, self._manifest)
        self._differences += compare_entries(self._engine, self._manifest)
        self._differences += find_gaps(self._engine)
        self._differences += find_strays(self._engine)
        self._differences += compare_figures(self._engine)
        self._differences += compare_rolling(self._engine)
        counts = self._counts()
        self._voids = self._read_voids()
        self._step("comparing alerts")
        milestones, spikes = self._alerts()
        return replace(
            blank,
            counts=counts,
            as_of=tuple(
                {"partition": partition, "offset": offset}
                for partition, offset in self._engine.rows("compare.checkpoints")
            ),
            differences=tuple(self._differences),
            notes=(*blank.notes, *self._notes),
            milestones=tuple(milestones),
            spikes=tuple(spikes),
            voids=tuple(self._voids),
            awaited=self._awaited,
            window_totals=self._window_totals() if blank.window else (),
            dedup_window=tuple(self._engine.dicts("compare.dedup_windows")),
        )

    def _event_files(self) -> list[Path]:
        lost = {each.path for each in self._damage if not (self._directory / each.path).is_file()}
        events = [
            self._directory / file.path
            for file in self._manifest.files
            if file.path.startswith(f"{EVENTS_FOLDER}/") and file.path not in lost
        ]
        if not events or lost & {TOTALS_FILE, ALERTS_FILE, RULES_FILE}:
            raise DamagedExportError("files are missing")
        return events

    def _counts(self) -> Counts:
        events, counted, duplicates, rejected, late, figures, rolling = self._engine.rows("compare.counts")[0]
        behind = self._engine.rows("compare.uncounted")
        uncounted = sum(count for _, count in behind)
        if uncounted:
            where = ", ".join(f"partition {partition}: {count:,}" for partition, count in behind)
            self._notes.append(f"{uncounted:,} events are not yet counted ({where})")
        in_part = self._engine.value("compare.followed_in_part")
        if in_part:
            self._notes.append(
                f"of {in_part:,} readings an older release kept the newest value only; what they gained and "
                "lost by then is not published"
            )
        rules = {row[1:] for row in self._engine.rows("compare.dedup_windows")}
        if len(rules) > 1:
            self._notes.append("partitions were counted under different rules of duplicates")
        return Counts(events, counted, duplicates, rejected, late, uncounted, figures, rolling)

    def _read_voids(self) -> list[VoidedEvent]:
        voids = [VoidedEvent(**row) for row in self._engine.dicts("recount.voids")]
        for each in voids:
            if each.problem:
                self._notes.append(f"a void that does not count: {each.text}: {each.problem}")
        return [each for each in voids if not each.problem]

    def _window_totals(self) -> tuple[Total, ...]:
        rows = self._engine.rows(
            "compare.window_totals", from_ms=self._window.from_ms, to_ms=self._window.to_ms
        )
        return tuple(
            Total(scope, (s1, s2) if scope == "account" else (s1,), action, int(total))
            for scope, s1, s2, action, total in rows
        )

    # -- alerts -----------------------------------------------------------------------------------------

    def _alerts(self) -> tuple[list[Milestone], list[Spike]]:
        rules = read_rules((self._directory / RULES_FILE).read_text(encoding="utf-8"))
        published = read_alerts(self._engine, self._directory / ALERTS_FILE)
        self._differences += published.differences
        self._note_carried(published)
        aliases = AliasTable(self._manifest.hashtag_aliases)
        expected = expected_milestones(self._engine, rules.milestones, aliases)
        milestones = self._milestones(published, expected)
        partitions = [part.partition for part in self._manifest.events.partitions]
        spikes = SpikeCheck(self._engine, rules.spikes, partitions)
        return milestones, self._spikes(published, spikes)

    def _note_carried(self, published: PublishedAlerts) -> None:
        """Alerts of a stream that was copied into this one stand at offsets of the other log."""
        carried = Counter(
            each.carried_from
            for each in (*published.milestones, *published.spikes)
            if each.carried_from is not None
        )
        for namespace, count in sorted(carried.items()):
            stream = f"namespace {namespace}" if namespace else "the stream without a namespace"
            self._notes.append(
                f"{count:,} alerts were decided in {stream} before it was copied into this one; the audit of "
                "that stream compares them"
            )

    def _milestones(self, published: PublishedAlerts, expected: dict[str, Milestone]) -> list[Milestone]:
        shown = [
            each
            for each in published.milestones
            if each.carried_from is None and self._window.holds(each.occurred_at)
        ]
        checkpoints = dict(self._engine.rows("compare.checkpoints"))
        retractions = RetractionCheck(published, checkpoints, len(self._voids))
        known = retractions.holding()
        ends = {part.partition: part.end for part in self._manifest.events.partitions}
        check = MilestoneCheck(self._engine, ends)
        missing = [each for name, each in expected.items() if name not in known]
        found = check.run(shown, missing, retractions.asked)
        self._differences += check.differences
        self._differences += retractions.check(check.standing_figures)
        for difference in retractions.unretracted(check.standing_figures):
            self._missing(difference, max((each.voided_at_ms for each in self._voids), default=0))
        for each in found[len(shown) :]:
            crossing = each.crossing
            if crossing is None or self._window.holds(crossing.occurred_at_ms):
                self._missing(missing_milestone(each), crossing.recorded_at_ms if crossing else 0)
        return found[: len(shown)]

    def _spikes(self, published: PublishedAlerts, check: SpikeCheck) -> list[Spike]:
        for each in published.spikes:
            if each.carried_from is None and self._window.holds(each.occurred_at):
                self._differences += check.check(each)
        known = {each.id for each in published.spikes}
        expected = [each for each in check.expected() if self._window.holds(each.start_ms)]
        for spike in expected:
            if spike.id in known:
                continue
            if check.ambiguous(spike.broadcast_id):
                self._notes.append(
                    f"{spike.name} is not published; phases of the broadcast were reported more than once, "
                    "so whether it should be depends on when it was decided"
                )
            else:
                self._missing(missing_spike(spike), check.closed_at_record_timestamp_ms(spike.start_ms))
        return expected

    def _missing(self, difference: Difference, since_ms: int) -> None:
        """A missing alert: a difference, unless what it follows from was only just written."""
        self._awaited += 1
        if since_ms > self._manifest.alerts.read_at_ms - DECISION_MS:
            self._notes.append(f"not yet decided when the alerts were read: {difference.text}")
        else:
            self._differences.append(difference)


def _damaged(damage: Damage) -> Difference:
    text = f"{damage.path} {damage.text}" + ("" if damage.rows is None else f" ({damage.rows:+,} rows)")
    return Difference("file", "DAMAGED", text)


def _missing_offsets(missing: list[tuple[int, int]]) -> str:
    gone = ", ".join(f"partition {p}: offsets 0 to {begin - 1:,}" for p, begin in missing)
    return f"the log does not reach back to its start; missing are {gone}"
