"""An action of one's own, `applaud`: added to schemas/events.py, it counts everywhere."""

from __future__ import annotations

from pathlib import Path

from tests.newcomer.tree import COUNT, DECIDE, Tree

SCRIPT = (
    COUNT
    + DECIDE
    + """
from fanpulse.board.model import Board
from fanpulse.cli.totals import as_json

extra = dict(post_id="p1", hashtags=["#FuxiCeremony"], actor={"id": "7", "country": "CN"})
state, changes, view = count(*(event(number, action="applaud", **extra) for number in range(3)))
board = Board(AliasTable())
for key, value in changes:
    board.apply_total(0, key, value, 0)
shown = board.snapshot(0)
rules = '[[milestone]]\\nname="b"\\nscope="post"\\nmetric="applaud"\\nthresholds=[3]'
print(json.dumps({
    "totals": as_json(view, AliasTable()),
    "rolling": state.windows.sums["24h"].get(state.counters.number(("hashtag", "fuxiceremony", "applaud"))),
    "board": [shown.all_accounts.activity, shown.hashtags[0].activity],
    "alerts": [each.text for each in decide(rules, changes)],
    "all": [each.text for each in decide(rules.replace('"applaud"', '"interactions"'), changes)],
}))
"""
)


def test_an_action_in_the_events_alone_counts_everywhere(tmp_path: Path) -> None:
    """Totals, rolling counts, board and milestones know it, also as part of all interactions."""
    tree = Tree(tmp_path)
    tree.edit("schemas/events.py", "Action = Literal[", 'Action = Literal["applaud", ')
    found = tree.run(SCRIPT)
    assert found["totals"]["accounts"] == [
        {"platform": "twitter", "account": "GansuTravel", "action": "applaud", "total": 3, "net": 3}
    ]
    assert found["totals"]["countries"] == [{"country": "CN", "action": "applaud", "total": 3, "net": 3}]
    assert found["rolling"] == 3
    assert found["board"] == [3, 3]
    assert found["alerts"] == ["Post p1 by Twitter @GansuTravel reached 3 applauds at 22 Jun 2026 09:30 UTC"]
    assert found["all"] == [
        "Post p1 by Twitter @GansuTravel reached 3 interactions at 22 Jun 2026 09:30 UTC; 3 applauds"
    ]
    assert tree.edited == {"schemas/events.py"}
