"""`fanpulse rules check`, and what stops a stack before it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

GOOD = '[[milestone]]\nname = "m"\nscope = "account"\nmetric = "like"\nthresholds = [5]\n'
BAD = '[[milestone]]\nname = "m"\nscope = "acount"\nmetric = "likes"\nthresholds = [5]\n'
KEYS = '[[key]]\nname = "a"\nsha256 = "00"\n'


def run(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `fanpulse` in a folder, with no settings but these."""
    environment = {"PATH": os.environ["PATH"], "NO_COLOR": "1", "COLUMNS": "200", **variables}
    return subprocess.run(
        [sys.executable, "-P", "-m", "fanpulse", *arguments],
        env={"FANPULSE_STATE_DIR": str(cwd / "state"), **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_each_mistake_is_a_line_and_the_exit_code_says_so(tmp_path: Path) -> None:
    """Two mistakes, two lines on standard output, exit code 1."""
    (tmp_path / "r.toml").write_text(BAD)
    result = run("rules", "check", "r.toml", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    first, second = result.stdout.splitlines()
    assert first.startswith("r.toml line 3: milestone 'm': scope (it is 'acount'): ")
    assert first.endswith("did you mean account?")
    assert second.startswith("r.toml line 4: ")


def test_right_rules_say_what_they_tell(tmp_path: Path) -> None:
    """Those of the settings without a file, and the packaged ones without a setting."""
    (tmp_path / "r.toml").write_text(GOOD)
    (tmp_path / "fanpulse.toml").write_text('[alerts]\nrules = "r.toml"\n')
    result = run("rules", "check", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        "milestone m tells when one account reaches 5 likes\nr.toml: 1 rule, no mistakes\n"
    )
    (tmp_path / "fanpulse.toml").unlink()
    assert run("rules", "check", cwd=tmp_path).stdout.endswith(
        "rules.toml of fanpulse: 9 rules, no mistakes\n"
    )


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    """Exit code 2 and one line, which does not blame a setting."""
    result = run("rules", "check", "none.toml", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "fanpulse: none.toml cannot be read (No such file or directory)\n"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"FANPULSE_ALERTS_RULES": "r.toml"}, "alerts.rules: r.toml line 3: milestone 'm': scope"),
        ({"FANPULSE_INGEST_KEYS_FILE": "k.toml"}, "ingest.keys_file k.toml: line 3: key 'a': sha256: "),
        ({"FANPULSE_INGEST_HOST": "0.0.0.0"}, "there is no API key"),
        ({"FANPULSE_INGEST_ACTOR_KEY": "short"}, "ingest.actor_key has 5 bytes"),
        ({"FANPULSE_ALERTS_WEBHOOK_URL": "http://x/"}, "FANPULSE_ALERTS_WEBHOOK_SECRET"),
        ({"FANPULSE_HASHTAG_ALIASES": '{"A":["b"],"C":["b"]}'}, "#b is in two alias groups"),
        ({"FANPULSE_AGGREGATE_TRACKED_HASHTAGS": '["a b"]'}, "FANPULSE_AGGREGATE_TRACKED_HASHTAGS"),
        ({"FANPULSE_INGEST_VIP_ACTORS": '["a"]'}, "is not platform:id"),
        ({"FANPULSE_KAFKA_SECURITY_PROTOCOL": "SSL"}, "kafka.bootstrap is not set"),
        (
            {
                "FANPULSE_KAFKA_SECURITY_PROTOCOL": "SSL",
                "FANPULSE_KAFKA_BOOTSTRAP": "127.0.0.1:1",
                "FANPULSE_KAFKA_SSL_CAFILE": "none.pem",
            },
            "kafka.ssl_cafile none.pem cannot be read (No such file or directory)",
        ),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else "",
)
def test_what_can_be_checked_is_checked_before_anything_starts(
    tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    """`up` says it in one line with exit code 2 and starts nothing; `doctor` finds the same."""
    (tmp_path / "r.toml").write_text(BAD)
    (tmp_path / "k.toml").write_text(KEYS)
    result = run("up", "--detach", cwd=tmp_path, **variables)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert not (tmp_path / "state" / "kafka").exists()
    line = result.stderr.removeprefix("fanpulse: ").partition("; ")[0].strip()
    doctor = run("doctor", cwd=tmp_path, **variables)
    assert doctor.returncode in (1, 2)
    assert line in doctor.stdout + doctor.stderr


def test_a_demo_checks_what_it_takes_of_the_settings(tmp_path: Path) -> None:
    """The broker's files. Rules and keys of the user are no part of a demo."""
    (tmp_path / "r.toml").write_text(BAD)
    variables = {
        "FANPULSE_ALERTS_RULES": "r.toml",
        "FANPULSE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "FANPULSE_KAFKA_BOOTSTRAP": "127.0.0.1:1",
    }
    result = run("demo", "--once", cwd=tmp_path, **variables)
    assert result.returncode == 2
    assert "kafka.sasl_username is not set" in result.stderr
    assert result.stderr.count("\n") == 1
