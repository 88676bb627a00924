"""A copy of the source that a test changes like a newcomer would, and scripts that run on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_SOURCE = ("schemas", "services", "fanpulse")
#: Generated; no script needs it.
_LEFT_OUT = shutil.ignore_patterns("json", "released", "examples", "__pycache__")


class Tree:
    """The source below ``root``. ``edited`` are the files changed so far."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.edited: set[str] = set()
        for name in _SOURCE:
            shutil.copytree(ROOT / name, root / name, ignore=_LEFT_OUT)

    def edit(self, path: str, before: str, after: str) -> None:
        """Replace the only occurrence of a text in a file."""
        file = self._root / path
        text = file.read_text("utf-8")
        assert text.count(before) == 1, f"{path} has {before!r} {text.count(before)} times"
        file.write_text(text.replace(before, after), "utf-8")
        self.edited.add(path)

    def run(self, script: str) -> Any:
        """What a script prints, which is JSON. It imports from this tree, and from nowhere else."""
        check = f"import schemas\nassert schemas.__file__.startswith({str(self._root)!r}), schemas.__file__\n"
        done = subprocess.run(
            [sys.executable, "-P", "-c", check + script],
            cwd=self._root,
            env=os.environ | {"PYTHONPATH": str(self._root)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


#: ``count`` counts events as a client sends them: the state, the records that it stores, and a reader's view.
#: ``log`` has the records that were counted.
COUNT = """
import json
from schemas.codec import decode_one, encode_entries
from schemas.hashtags import AliasTable
from schemas.totals import TotalsView
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState

log = []

def event(number, **fields):
    base = {"kind": "interaction", "event_id": f"e{number}", "occurred_at": 1782120600000 + 1000 * number}
    base |= {"platform": "twitter", "account": "GansuTravel", "action": "like"}
    return json.dumps(base | fields).encode()

def count(*events):
    log[:] = [b'{"kind":"clock","v":1,"stream_time":1782120610000}']
    log.extend(b"[%b]" % encode_entries([decode_one(each)]) for each in events)
    state = PartitionState(0, DedupWindow(1000, 2))
    for offset, record in enumerate(log):  # record by record, so that the decoder learns the names
        state.apply(offset, record)
    changes = take_changes(state)
    view = TotalsView()
    for key, value in changes:
        view.apply(0, key, value)
    return state, changes, view
"""

#: Recounts events and compares with ``changes``; gives the differences.
AUDIT = """
import pyarrow as pa
import pyarrow.parquet as pq
from pathlib import Path
from services.audit.recounting.compare import compare_figures
from services.audit.recounting.engine import open_engine
from services.audit.recounting.entries import Rows
from services.audit.recounting.recount import recount

def audit(log, changes):
    rows = Rows()
    for offset, data in enumerate(log):
        rows.add(0, offset, 1782120600000, data)
    pq.write_table(pa.Table.from_batches([rows.take()]), "events.parquet")
    columns = {"partition": [0] * len(changes), "offset": list(range(len(changes)))}
    columns["key"], columns["value"] = zip(*((key.decode(), value.decode()) for key, value in changes))
    pq.write_table(pa.table(columns), "totals.parquet")
    with open_engine() as engine:
        recount(engine, [Path("events.parquet")], Path("totals.parquet"))
        return [each.line for each in compare_figures(engine)]
"""

#: Decides milestones of ``changes`` by the rules of a text.
DECIDE = """
from services.alerts.deciding.decided import Decided
from services.alerts.deciding.figures import Figures
from services.alerts.deciding.milestones import Milestones
from services.alerts.deciding.rule_file import parse_rules

def decide(rules, changes):
    figures = Figures(1)
    for key, value in changes:
        assert figures.feed(0, key, value) == 0
    milestones = Milestones(parse_rules(rules, "test").milestone, Decided())
    return milestones.decide(figures, figures.take_changed(), 0)
"""
