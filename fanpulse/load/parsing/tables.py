"""Rows of a table (CSV, TSV, Parquet) to events: each field has a column, a set value, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fanpulse.load.parsing.cell_parsers import Converter, converter, is_absent
from fanpulse.load.parsing.cells import CellError
from fanpulse.load.parsing.fields import closest, fields_of
from fanpulse.load.parsing.identity import table_row_id
from fanpulse.load.parsing.mapped import Mapped, place
from fanpulse.load.parsing.rules import Rules, RulesError
from fanpulse.load.parsing.times import Times
from schemas.events import MODELS
from schemas.reasons import Rejection

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class _ColumnPlan:
    """How rows of one kind are read: steps are (path, column index, converter), nested paths apart."""

    constants: dict[str, Any]
    nested_constants: dict[str, Any]
    steps: tuple[tuple[str, int, Converter], ...]
    nested: tuple[tuple[str, int, Converter], ...]


class TableMapper:
    """Maps the rows of one table. Raises RulesError when the table does not fit the rules."""

    def __init__(self, rules: Rules, columns: Sequence[str]) -> None:
        self._rules = rules
        self._columns = [column.strip() for column in columns]
        self._index = {name: index for index, name in reversed(list(enumerate(self._columns)))}
        self._repeated = {name for name, count in Counter(self._columns).items() if count > 1}
        self._row_id = table_row_id(self._columns)
        self.times: Times = rules.times()
        #: A map to a missing column is rejected at once.
        self.unused_maps: dict[str, str] = {}
        self._used: set[int] = set()
        self._kind_index = self._kind_column()
        kinds = MODELS if self._kind_index is not None else (rules.kind,)
        self._targets = {kind: self._plan(kind) for kind in kinds if kind}
        for path, column in rules.maps.items():
            self._find_mapped(path, column)
        if self._kind_index is None:
            self._check_required()

    @property
    def ignored(self) -> list[str]:
        """Columns that fill no field."""
        return [name for index, name in enumerate(self._columns) if index not in self._used]

    def map(self, cells: Sequence[Any]) -> Mapped:
        """The event of a row, which has a cell for each column."""
        kind = self._rules.kind
        if self._kind_index is not None and not is_absent(cells[self._kind_index]):
            named = str(cells[self._kind_index]).strip()
            kind = named if named in MODELS or not kind else kind
        plan = self._targets.get(kind or "")
        if plan is None:  # ingest rejects a kind that it does not know, and keeps the whole row
            row = dict(zip(self._columns, cells, strict=True))
            return Mapped(_encode(row | ({"kind": kind} if kind else {})))
        event = {"kind": kind, **plan.constants}
        rejections: list[Rejection] = []
        for path, index, read in plan.steps:
            cell = cells[index]
            if cell.__class__ is str:
                cell = cell.strip()
                if not cell:
                    continue
            elif is_absent(cell):
                continue
            try:
                event[path] = read(cell)
            except CellError as error:
                event[path] = error.value
                rejections.append(Rejection(path, error.reason, error.detail))
        if plan.nested or plan.nested_constants:
            self._map_nested(plan, cells, event, rejections)
        if "event_id" not in event:
            event["event_id"] = self._row_id(event, cells)
        return Mapped(_encode(event), event, tuple(rejections))

    @staticmethod
    def _map_nested(
        plan: _ColumnPlan, cells: Sequence[Any], event: dict[str, Any], rejections: list[Rejection]
    ) -> None:
        for path, value in plan.nested_constants.items():
            place(event, path, value)
        for path, index, read in plan.nested:
            cell = cells[index]
            if cell.__class__ is str:
                cell = cell.strip()
            if is_absent(cell):
                continue
            try:
                place(event, path, read(cell))
            except CellError as error:
                place(event, path, error.value)
                rejections.append(Rejection(path, error.reason, error.detail))

    def _kind_column(self) -> int | None:
        if "kind" in self._rules.maps:
            return self._find_mapped("kind", self._rules.maps["kind"])
        index = self._index.get("kind")
        if index is None and self._rules.kind is None:
            raise RulesError(f"say what a row is: --kind {'|'.join(MODELS)}")
        if index is not None:
            self._used.add(index)
        return index

    def _plan(self, kind: str) -> _ColumnPlan:
        fields = fields_of(kind)
        sets = {path: value for path, value in self._rules.sets.items() if path in fields}
        steps = []
        for path, known in fields.items():
            if path in sets:
                continue
            column = self._rules.maps.get(path)
            index = self._find_mapped(path, column) if column else self._find_named(path)
            if index is not None:
                steps.append((path, index, converter(known.field_type, self.times, self._columns[index])))
        return _ColumnPlan(
            {path: value for path, value in sets.items() if "." not in path},
            {path: value for path, value in sets.items() if "." in path},
            tuple(step for step in steps if "." not in step[0]),
            tuple(step for step in steps if "." in step[0]),
        )

    def _find_mapped(self, path: str, column: str) -> int:
        if column not in self._index:
            near = closest(column, self._columns)
            meant = f"did you mean {near}? " if near else ""
            raise RulesError(
                f"--map {path}={column}: no such column; {meant}The columns are: {', '.join(self._columns)}"
            )
        return self._use(column)

    def _find_named(self, path: str) -> int | None:
        if path in self._index:
            return self._use(path)
        alike = [name for name in self._index if name.casefold() == path]
        return self._use(alike[0]) if len(alike) == 1 else None

    def _use(self, column: str) -> int:
        if column in self._repeated:
            raise RulesError(f"two columns are named {column!r}; rename one of them")
        index = self._index[column]
        self._used.add(index)
        return index

    def _check_required(self) -> None:
        """Reject a table without any column for a field that every event needs."""
        kind = self._rules.kind or ""
        plan = self._targets[kind]
        given = {path for path, _, _ in plan.steps} | set(plan.constants)
        lacking = [
            path
            for path, known in fields_of(kind).items()
            if known.required and path not in given and path != "event_id"
        ]
        if lacking:
            first = lacking[0]
            raise RulesError(
                f"{kind} needs {', '.join(lacking)}: give --map {first}=COLUMN or --set {first}=VALUE; "
                f"the columns are: {', '.join(self._columns)}"
            )
