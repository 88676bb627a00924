"""Writes the dashboards for Grafana's file provisioning, and the rules of Prometheus.

python -m grafana.build                    write grafana/dashboards and prometheus/rules
python -m grafana.build --check            exit 1 if a file there is not what the builders say
python -m grafana.build --runbooks URL     the same, for alerts that point to your copy of docs/runbooks.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from grafana import live, pipeline
from prometheus import rule_files
from prometheus.alerts import RUNBOOKS

FOLDER = Path(__file__).parent / "dashboards"


def files(runbooks: str = RUNBOOKS) -> dict[Path, str]:
    """What each file should hold. ``runbooks`` is the address of docs/runbooks.md."""
    dashboards = {
        FOLDER / f"{board['uid']}.json": json.dumps(board, ensure_ascii=False, indent=2) + "\n"
        for board in (live.build(), pipeline.build())
    }
    return dashboards | rule_files.files(runbooks)


def stale(runbooks: str = RUNBOOKS) -> list[Path]:
    """Files that are missing, differ from the builders, or are left from builders that are gone."""
    expected = files(runbooks)
    wrong = [path for path, text in expected.items() if not path.exists() or path.read_text("utf-8") != text]
    left = [path for path in sorted(FOLDER.glob("*")) if path not in expected]
    left += [
        path
        for path in sorted(rule_files.FOLDER.glob("*"))
        if path not in expected and path.read_text("utf-8").startswith(rule_files.GENERATED)
    ]
    return wrong + left


def _address(text: str) -> str:
    if not text.startswith(("https://", "http://")) or "#" in text:
        raise argparse.ArgumentTypeError("an absolute address, without the anchor of an alert")
    return text


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0, or 1 with a line per file that is not current."""
    parser = argparse.ArgumentParser(prog="python -m grafana.build", description="Dashboards and rules.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not current")
    parser.add_argument("--runbooks", type=_address, default=RUNBOOKS, help="where docs/runbooks.md is read")
    options = parser.parse_args(arguments)
    if options.check:
        wrong = stale(options.runbooks)
        sys.stdout.writelines(f"{path.name} is not current; run python -m grafana.build\n" for path in wrong)
        return 1 if wrong else 0
    for path, text in files(options.runbooks).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
