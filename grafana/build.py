"""Writes the dashboards as JSON for Grafana's file provisioning.

python -m grafana.build           write grafana/dashboards/
python -m grafana.build --check   exit 1 if a file there is not what the builders say
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana import live, pipeline

FOLDER = Path(__file__).parent / "dashboards"


def files() -> dict[Path, str]:
    """What each file should hold."""
    return {
        FOLDER / f"{board['uid']}.json": json.dumps(board, ensure_ascii=False, indent=2) + "\n"
        for board in (live.build(), pipeline.build())
    }


def stale() -> list[Path]:
    """Files that are missing, differ from the builders, or should not be there."""
    expected = files()
    wrong = [path for path, text in expected.items() if not path.exists() or path.read_text("utf-8") != text]
    return wrong + [path for path in sorted(FOLDER.glob("*")) if path not in expected]


def main(arguments: list[str]) -> int:
    """Exit status: 0, or 1 with a line per file that is not current."""
    if "--check" not in arguments:
        FOLDER.mkdir(exist_ok=True)
        for path, text in files().items():
            path.write_text(text, "utf-8")
        return 0
    wrong = stale()
    sys.stdout.writelines(f"{path.name} is not current; run python -m grafana.build\n" for path in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
