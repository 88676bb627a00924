"""Milestones that no longer hold since events were voided are retracted, and can be reached again."""

from __future__ import annotations

from schemas.alerts import ALERT, Milestone, Retraction
from services.alerts.deciding.decided import Decided
from services.alerts.deciding.figures import Figures
from services.alerts.deciding.milestones import Milestones
from services.alerts.deciding.rule_file import parse_rules
from tests.support.totals import START_MS, counted, transaction
from tests.unit.alerts.test_milestones import TRAVEL, rule

RULES = rule("account", "like") + rule("all_accounts", "like", name="all")


class Service:
    """Evaluates likes of an account as the service does: retract, then decide."""

    def __init__(self, decided: Decided | None = None) -> None:
        self.decided = decided or Decided()
        self.figures = Figures(1)
        self.milestones = Milestones(parse_rules(RULES, "test").milestone, self.decided)
        self.offset = 0

    def likes(self, count: int, voided: int = 0) -> list[tuple[str, str, int, bool]]:
        """(kind, scope, threshold, delivered) of what an evaluation at so many likes records."""
        self.offset += 1
        for key, value in transaction(0, self.offset, [counted(*TRAVEL, like=count)], voided=voided):
            self.figures.feed(0, key, value)
        changed = sorted(self.figures.take_changed())
        found: list[Milestone | Retraction] = list(self.milestones.retract(self.figures, changed, START_MS))
        self._note(found)
        decided = self.milestones.decide(self.figures, changed, START_MS)
        self._note(decided)
        found += decided
        return sorted((e.kind, e.scope, e.threshold, e.superseded_by is None) for e in found)

    def _note(self, alerts: list[Milestone] | list[Milestone | Retraction]) -> None:
        for alert in alerts:
            assert alert.id not in self.decided.ids
            self.decided.note(ALERT.validate_json(alert.model_dump_json()))


def each(kind: str, *thresholds: tuple[int, bool]) -> list[tuple[str, str, int, bool]]:
    """What is recorded, for the account and for all accounts."""
    scopes = ("account", "all_accounts")
    return sorted((kind, scope, threshold, told) for scope in scopes for threshold, told in thresholds)


def test_a_slip_is_retracted_and_the_milestone_is_told_when_it_is_true() -> None:
    """The slip crosses 20 and 50 at once; after its void both are retracted, and 20 is told again later."""
    service = Service()
    assert service.likes(11) == each("milestone", (10, True))
    assert service.likes(1_000_000_011) == each("milestone", (20, False), (50, True))
    assert service.likes(11, voided=1) == each("retraction", (20, False), (50, True))
    assert service.likes(12, voided=1) == []
    assert service.likes(21, voided=1) == each("milestone", (20, True))
    assert service.likes(60, voided=1) == each("milestone", (50, True))


def test_what_the_slip_had_superseded_and_still_holds_is_told_at_last() -> None:
    """10 was suppressed beside the milestone of the slip: it is decided again, and delivered."""
    service = Service()
    assert service.likes(1_000_000_011) == each("milestone", (10, False), (20, False), (50, True))
    found = service.likes(11, voided=1)
    assert found == each("milestone", (10, True)) + each("retraction", (10, False), (20, False), (50, True))


def test_a_restart_knows_what_was_retracted() -> None:
    """The alert log alone says which milestones hold: nothing is retracted or told twice."""
    service = Service()
    service.likes(1_000_000_011)
    restarted = Service(service.decided)
    assert len(restarted.likes(11, voided=1)) == 8
    again = Service(service.decided)
    assert again.likes(11, voided=1) == []
    assert again.likes(20, voided=1) == each("milestone", (20, True))
    assert again.likes(11, voided=2) == each("retraction", (20, True))
    assert again.likes(20, voided=2) == each("milestone", (20, True))


def test_without_a_void_nothing_is_retracted() -> None:
    """A figure that is lower for another reason, such as totals that were lost, takes nothing back."""
    service = Service()
    service.likes(30)
    assert service.likes(5) == []


def test_a_retraction_says_what_is_wrong_and_what_is_right() -> None:
    """The text is a correction in words, with the figure."""
    service = Service()
    service.likes(30)
    for key, value in transaction(0, 9, [counted(*TRAVEL, like=3)], voided=1):
        service.figures.feed(0, key, value)
    first = service.milestones.retract(service.figures, [TRAVEL], START_MS)[0]
    assert first.text.startswith("Correction: Twitter @GansuTravel had not reached 10 likes at ")
    assert first.text.endswith("have been taken back, and the figure is 3")
