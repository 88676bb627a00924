"""Who may write what: own accounts, scopes of keys, bounds and rates."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import pytest

from schemas import codec
from schemas.reasons import Reason, Rejection
from services.ingest.http.auth import ApiKeys, check_access
from services.ingest.http.keys_file import KeysFile
from services.ingest.http.problems import Problem
from services.ingest.pipeline.access import AccessRules, Bounds, KeyScope
from services.ingest.pipeline.keys import Key, KeysError, read_keys
from services.ingest.pipeline.rate import EventRate
from services.runtime.settings import IngestSettings, Settings, SettingsError, load_settings

NOW = 1_782_120_600_000
HASHES = [hashlib.sha256(name.encode()).hexdigest() for name in ("one", "two")]


def event(kind: str = "interaction", **fields: Any) -> Any:
    common = {"kind": kind, "event_id": "e", "occurred_at": NOW, "platform": "twitter", "account": "Gansu"}
    of_kind: dict[str, dict[str, Any]] = {
        "interaction": {"action": "like"},
        "reading": {"metric": "followers", "value": 5},
        "post": {"post_id": "p"},
        "broadcast": {"broadcast_id": "b", "phase": "started"},
    }
    found = codec.decode_one(codec.msgspec.json.encode({**common, **of_kind[kind], **fields}))
    assert not isinstance(found, Rejection), found
    return found


def problem(rules: AccessRules, what: Any) -> tuple[str, Reason] | None:
    found = rules.rejection(what)
    return found and (found.field, found.reason)


def test_a_quantity_beyond_its_bound_is_rejected() -> None:
    """The bound of the action stands before that of all; the bound itself is allowed."""
    rules = AccessRules(Bounds(10, {"read": 1000}, reading=50))
    beyond = ("quantity", Reason.OUT_OF_RANGE)
    assert problem(rules, event()) is None
    for action, most in (("like", 10), ("unlike", 10), ("read", 1000)):
        assert problem(rules, event(action=action, quantity=most)) is None
        assert problem(rules, event(action=action, quantity=most + 1)) == beyond
    assert problem(rules, event("reading", value=50)) is None
    assert problem(rules, event("reading", value=51)) == ("value", Reason.OUT_OF_RANGE)


def test_a_slip_is_out_of_bounds_unless_you_set_other_ones() -> None:
    """One like for a billion people would be every milestone at once."""
    ingest = IngestSettings()
    rules = AccessRules(Bounds(ingest.max_quantity, ingest.max_quantities, ingest.max_reading))
    for action in ("like", "follow", "read", "comment"):
        assert problem(rules, event(action=action, quantity=50_000_000)) is not None
    assert problem(rules, event("reading", value=10**15)) is not None
    assert problem(rules, event(action="read", quantity=3_000_000)) is None


def test_only_own_accounts_are_written_if_they_are_listed() -> None:
    """Every kind is checked, by platform and account together."""
    rules = AccessRules(Bounds(10), own_accounts=[("twitter", "Gansu")])
    for kind in ("interaction", "reading", "post", "broadcast"):
        assert problem(rules, event(kind)) is None
        for other in ({"account": "gansu"}, {"account": "Invented"}, {"platform": "facebook"}):
            assert problem(rules, event(kind, **other)) == ("account", Reason.NOT_ALLOWED)


def test_a_scope_limits_accounts_kinds_and_actions() -> None:
    """The message names the key. Only * is special in a pattern."""
    scope = KeyScope(("twitter:Gansu*", "facebook:a.b"), ("interaction", "post"), ("like",))
    rules = AccessRules(Bounds(10), scope=scope, key_name="studio")
    assert problem(rules, event(account="GansuTravel")) is None
    assert problem(rules, event(platform="facebook", account="a.b")) is None
    assert problem(rules, event(platform="facebook", account="axb")) == ("account", Reason.NOT_ALLOWED)
    assert problem(rules, event(account="XGansu")) == ("account", Reason.NOT_ALLOWED)
    assert problem(rules, event("reading")) == ("kind", Reason.NOT_ALLOWED)
    assert problem(rules, event(action="read")) == ("action", Reason.NOT_ALLOWED)
    for wrong in (event("reading"), event(action="read"), event(account="X"), event(quantity=11)):
        found = rules.rejection(wrong)
        assert found is not None
        assert "'studio'" in found.detail


def test_own_accounts_hold_for_every_key() -> None:
    """A key's scope only narrows what the organisation allows."""
    rules = AccessRules(Bounds(10), own_accounts=[("twitter", "A")], scope=KeyScope(("twitter:*",)))
    assert problem(rules, event(account="A")) is None
    assert problem(rules, event(account="B")) == ("account", Reason.NOT_ALLOWED)


def test_own_accounts_are_read_in_the_form_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that no event could match stops the start."""
    assert Settings(own_accounts=("Twitter:@Gansu",)).own_accounts == ("twitter:Gansu",)
    for wrong in ("Gansu", "twitter:", ":x", "twitter:@", "twit ter:x", "twitter:a\x00b"):
        with pytest.raises(ValueError, match="own_accounts"):
            Settings(own_accounts=(wrong,))
    monkeypatch.setenv("FANPULSE_OWN_ACCOUNTS", '["Gansu"]')
    with pytest.raises(SettingsError, match=r"^FANPULSE_OWN_ACCOUNTS[^\n]+platform:account[^\n]+$"):
        load_settings()


def test_a_rate_allows_so_many_events_on_average() -> None:
    """A large request goes through, and what it owes is waited for."""
    now = 0.0
    rate = EventRate(10, lambda: now)
    assert rate.wait_seconds() == 0
    rate.spend(50)  # 20 were there
    assert rate.wait_seconds() == 3
    now = 2.9
    assert rate.wait_seconds() == 1
    now = 3.1
    assert rate.wait_seconds() == 0
    sent, start = 0, now
    for _ in range(1000):
        now += 0.01
        if rate.wait_seconds() == 0:
            rate.spend(1)
            sent += 1
    assert abs(sent - (now - start) * 10) < 3


def test_a_rate_below_one_a_second_lets_single_events_in() -> None:
    """Otherwise the key could never send anything."""
    now = 0.0
    rate = EventRate(0.1, lambda: now)
    assert rate.wait_seconds() == 0
    rate.spend(1)
    assert rate.wait_seconds() > 0
    now = 10.1
    assert rate.wait_seconds() == 0


def key(name: str, digest: str, rest: str = "") -> str:
    return f'[[key]]\nname = "{name}"\nsha256 = "{digest}"\n{rest}\n'


def test_a_keys_file_says_what_each_key_may_do() -> None:
    """Own bounds stand before those of everybody."""
    text = key("a", HASHES[0].upper()) + key(
        "b", HASHES[1], 'accounts = ["Twitter:@Gansu*"]\nmax_quantity = 1\nmax_quantities = {read = 7}'
    )
    first, second = read_keys(text.encode())
    everybody = Bounds(100, {"read": 1000, "like": 5}, 9)
    assert (first.sha256, first.scope, first.bounds(everybody)) == (HASHES[0], KeyScope(), everybody)
    assert second.scope.accounts == ("twitter:Gansu*",)
    bounds = second.bounds(everybody)
    assert (bounds.of_action("like"), bounds.of_action("read"), bounds.reading) == (1, 7, 9)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no"),
        ("key = 3", "key"),
        ("x = 1", r"no \[\[key\]\]"),
        (key("a", HASHES[0]) + "[x]", "x: is not known"),
        ("[[key]\n", "TOML"),
        ("a" * 10, "TOML"),
        ("[" * 100_000, "."),
        (key("a", "secret-key-itself"), r"key 'a': sha256: .*64 hex digits"),
        (key("a", hashlib.sha256(b"").hexdigest()), "empty key"),
        (key("a", hashlib.sha256(b"").hexdigest().upper()), "empty key"),
        (key("a", HASHES[0]) + key("a", HASHES[1]), "same name"),
        (key("a", HASHES[0]) + key("b", HASHES[0].upper()), "'a' and 'b' have the same sha256"),
        (key("A b", HASHES[0]), "name"),
        (key("a", HASHES[0], 'kinds = ["like"]'), "key 'a': kinds"),
        (key("a", HASHES[0], "kinds = []"), "kinds"),
        (key("a", HASHES[0], 'actions = ["lik"]'), "actions"),
        (key("a", HASHES[0], 'accounts = ["Gansu"]'), "platform:account"),
        (key("a", HASHES[0], "events_per_second = 0"), "events_per_second"),
        (key("a", HASHES[0], "events_per_second = nan"), "events_per_second"),
        (key("a", HASHES[0], "max_quantity = 0"), "max_quantity"),
        (key("a", HASHES[0], "max_quantities = {lik = 1}"), "max_quantities"),
        (key("a", HASHES[0], "max_reading = -1"), "max_reading"),
        (key("a", HASHES[0], "quota = 3"), "key 'a': quota: is not a setting"),
    ],
)
def test_a_wrong_keys_file_is_rejected_in_one_line(text: str, says: str) -> None:
    """It names the key and the field, and quotes no value: that might be a key."""
    with pytest.raises(KeysError, match=says) as caught:
        read_keys(text.encode())
    assert "\n" not in str(caught.value)
    assert "secret-key-itself" not in str(caught.value)


def bearer(key: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + key.encode()}


def test_keys_are_rotated_and_a_wrong_file_changes_nothing(tmp_path: Path) -> None:
    """An old key ends when it is removed; a file that is wrong or gone leaves the keys as they are."""
    path = tmp_path / "keys.toml"
    path.write_text(key("a", HASHES[0]))
    keys, told = ApiKeys(), list[bool]()
    file = KeysFile(path, keys.use, told.append)
    file.load()
    assert keys.client_of(bearer("one")).name == "a"
    path.write_text(key("a", HASHES[0]) + key("b", HASHES[1]))
    file.reload()
    assert keys.client_of(bearer("two")).name == "b"
    for wrong in (b"nonsense", b"", b"\xff", b"[[key]]"):
        path.write_bytes(wrong)
        file.reload()
        assert keys.names == ["a", "b"]
        assert told[-1]
    path.unlink()
    file.reload()
    assert keys.names == ["a", "b"]
    path.write_text(key("b", HASHES[1]))
    file.reload()
    assert not told[-1]
    assert keys.names == ["b"]
    with pytest.raises(Problem):
        keys.client_of(bearer("one"))


def test_a_good_file_that_comes_back_ends_the_alarm(tmp_path: Path) -> None:
    """Also if it is the one that was read before it went away."""
    path = tmp_path / "keys.toml"
    path.write_text(key("a", HASHES[0]))
    told = list[bool]()
    file = KeysFile(path, lambda _: None, told.append)
    file.load()
    text = path.read_bytes()
    path.unlink()
    file.reload()
    path.write_bytes(text)
    file.reload()
    assert told == [True, False]


def test_what_a_key_owes_stays_when_others_change() -> None:
    """A rotation of one key gives no other a new budget; keys that change begin with a new budget."""
    first, second = read_keys((key("a", HASHES[0], "events_per_second = 1") + key("b", HASHES[1])).encode())
    keys = ApiKeys(clock=itertools.repeat(0.0).__next__)
    keys.use([first, second])
    keys.client_of(bearer("one")).spend(100)
    keys.use([first])
    with pytest.raises(Problem) as caught:
        keys.client_of(bearer("one")).check_rate()
    assert (caught.value.status, caught.value.headers["retry-after"]) == (429, "98")
    changed = Key(name="a", sha256=HASHES[0], events_per_second=2)
    keys.use([changed])
    keys.client_of(bearer("one")).check_rate()


def test_a_keys_file_opens_a_public_address(tmp_path: Path) -> None:
    """It is a way to have keys; the same hash twice is a slip."""
    check_access(Settings(ingest=IngestSettings(host="0.0.0.0", keys_file=tmp_path / "keys.toml")))
    with pytest.raises(SettingsError, match=r"^ingest\.api_key_hashes[^\n]+twice"):
        check_access(Settings(ingest=IngestSettings(api_key_hashes=(HASHES[0], HASHES[0].upper()))))
