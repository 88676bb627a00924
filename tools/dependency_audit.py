"""Asks a public service whether the locked packages have known vulnerabilities.

    python -m tools.dependency_audit                     ask the package index, then OSV
    python -m tools.dependency_audit --osv-url URL       ask this OSV service alone

All versions of requirements/*.txt are asked about, whatever platform they are for. Some indexes answer
without knowing any vulnerability, so each service is first asked about an old version that has known ones: a
service that does not report it has audited nothing, and the line says so.

Exit status: 0 if nothing was found, or nothing could be asked; 1 if something was found that
requirements/ignored_vulnerabilities.toml does not ignore, or an entry there has ended or is wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "requirements"
IGNORED = FOLDER / "ignored_vulnerabilities.toml"
#: A version with vulnerabilities that every service has known for years.
KNOWN_BAD = "jinja2==2.4.1"
TIMEOUT_SECONDS = 900
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


class ServiceError(RuntimeError):
    """A service cannot be asked, or knows no vulnerabilities. The message is one line: why."""


class IgnoreListError(ValueError):
    """The list of ignored vulnerabilities cannot be used. The message says which entry, and why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A known vulnerability of a locked package."""

    package: str
    version: str
    #: Its name, then its other names.
    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said: findings, and the packages that it does not know, each with the reason."""

    findings: tuple[Finding, ...]
    unknown: tuple[str, ...]
    asked: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """A reviewed vulnerability, until a day."""

    package: str
    id: str
    reason: str
    until: date

    def covers(self, finding: Finding) -> bool:
        return self.package == finding.package and self.id in finding.ids


def pinned(texts: Iterable[str]) -> list[str]:
    """``name==version`` of every package of the lock files, once."""
    return sorted({f"{match[1].lower()}=={match[2]}" for text in texts for match in _PIN.finditer(text)})


def ask(requirements: Sequence[str], service: Sequence[str]) -> Answer:
    """What pip-audit says about these versions. `service` are its arguments that name a service.

    Raises ServiceError if the service does not answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        listed, answer = Path(folder, "requirements.txt"), Path(folder, "answer.json")
        listed.write_text("".join(f"{each}\n" for each in requirements), "utf-8")
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(listed), "--output", str(answer)]
        command += ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", *service]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise ServiceError(f"no answer within {TIMEOUT_SECONDS} s") from None
        if not answer.exists() or not answer.stat().st_size:
            raise ServiceError((done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1])
        return _answer(json.loads(answer.read_bytes()), len(requirements))


def _answer(said: dict[str, Any], asked: int) -> Answer:
    findings, unknown = [], []
    for package in said["dependencies"]:
        if "skip_reason" in package:
            unknown.append(package["skip_reason"])
        for each in package.get("vulns", ()):
            ids = (each["id"], *each.get("aliases", ()))
            findings.append(
                Finding(package["name"].lower(), package["version"], ids, tuple(each["fix_versions"]))
            )
    return Answer(tuple(findings), tuple(unknown), asked)


def audit(requirements: Sequence[str], service: Sequence[str]) -> Answer:
    """The answer of a service that knows vulnerabilities. Raises ServiceError."""
    probe = ask([KNOWN_BAD], service)
    if not probe.findings:
        why = probe.unknown[0] if probe.unknown else "it reports none for it"
        raise ServiceError(f"it does not know the vulnerabilities of {KNOWN_BAD} ({why})")
    return ask(requirements, service)


def read_ignored(text: str) -> list[Ignored]:
    """The reviewed list. Raises IgnoreListError."""
    try:
        entries = tomllib.loads(text).get("ignored", [])
    except tomllib.TOMLDecodeError as error:
        raise IgnoreListError(f"it is not TOML: {error}") from None
    return [_ignored(number, entry) for number, entry in enumerate(entries, 1)]


def _ignored(number: int, entry: dict[str, Any]) -> Ignored:
    for key, kind in {"package": str, "id": str, "reason": str, "until": date}.items():
        if not isinstance(entry.get(key), kind) or not entry[key]:
            raise IgnoreListError(f"entry {number} needs {key!r}, a {'day' if kind is date else 'text'}")
    return Ignored(entry["package"].lower(), entry["id"], entry["reason"], entry["until"])


def report(answer: Answer, ignored: Sequence[Ignored], today: date) -> tuple[list[str], bool]:
    """The lines of a report, and whether all is well."""
    ended = [each for each in ignored if each.until <= today]
    lines = [f"ended: {each.id} of {each.package} was ignored until {each.until}" for each in ended]
    open_findings = []
    for finding in answer.findings:
        reasons = [each for each in ignored if each not in ended and each.covers(finding)]
        name = f"{finding.package} {finding.version}: {', '.join(finding.ids)}"
        if reasons:
            lines.append(f"ignored until {reasons[0].until}: {name}: {reasons[0].reason}")
        else:
            open_findings.append(finding)
            lines.append(f"vulnerable: {name}; fixed in {', '.join(finding.fixed_in) or 'no version'}")
    for each in ignored:
        if not any(each.covers(finding) for finding in answer.findings):
            lines.append(f"no longer found: {each.id} of {each.package}; take it off the list")
    lines += [f"not audited: {each}" for each in answer.unknown]
    lines.append(
        f"{answer.asked - len(answer.unknown)} of {answer.asked} locked packages audited: "
        f"{len(open_findings)} open findings of {len(answer.findings)}"
    )
    return lines, not open_findings and not ended


def _first_answer(
    requirements: Sequence[str], services: dict[str, list[str]], say: Callable[[str], object]
) -> Iterator[Answer]:
    for name, arguments in services.items():
        try:
            answer = audit(requirements, arguments)
        except ServiceError as error:
            say(f"not audited by {name}: {error}")
            continue
        say(f"audited by {name}")
        yield answer
        return


def main(arguments: list[str], *, today: date | None = None, ignored_file: Path = IGNORED) -> int:
    """Exit status: see the head of the module."""
    parser = argparse.ArgumentParser(prog="python -m tools.dependency_audit")
    parser.add_argument("--osv-url", help="ask this OSV service alone")
    wanted = parser.parse_args(arguments)
    services = {
        "the package index": ["--vulnerability-service", "pypi"],
        "OSV": ["--vulnerability-service", "osv"],
    }
    if wanted.osv_url:
        services = {"OSV": ["--vulnerability-service", "osv", "--osv-url", wanted.osv_url]}

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")

    try:
        ignored = read_ignored(ignored_file.read_text("utf-8"))
    except IgnoreListError as error:
        say(f"{ignored_file.name}: {error}")
        return 1
    requirements = pinned(path.read_text("utf-8") for path in sorted(FOLDER.glob("*.txt")))
    day = today or datetime.now(UTC).date()
    answer = next(_first_answer(requirements, services, say), None)
    if answer is None:
        ended = [each for each in ignored if each.until <= day]
        for each in ended:
            say(f"ended: {each.id} of {each.package} was ignored until {each.until}")
        say(f"NOT AUDITED: no service could be asked about the {len(requirements)} locked packages")
        return 1 if ended else 0
    lines, well = report(answer, ignored, day)
    for line in lines:
        say(line)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
