"""Enrichment: what is known of posts, aliases of hashtags, and who is hidden from the log."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from schemas import codec
from schemas.hashtags import AliasTable
from schemas.reasons import Rejection
from services.ingest.pipeline.enrichment import Enrichment
from services.ingest.pipeline.known_posts import KnownPosts
from services.ingest.pipeline.pseudonyms import Pseudonymizer

COMMON = {
    "occurred_at": 1_782_120_600_000, "platform": "twitter", "account": "GansuTravel",
}  # fmt: skip
POST = {
    "kind": "post", "event_id": "p", "post_id": "P", "format": "live", "hashtags": ["#伏羲大典", "#New"],
    "campaign": "fuxi", "broadcast_id": "fuxi-2026", **COMMON,
}  # fmt: skip
LIKE = {"kind": "interaction", "event_id": "i", "action": "like", "post_id": "P", **COMMON}
KEY = b"0123456789abcdef"


def decoded(*events: dict[str, Any]) -> list[Any]:
    found = codec.decode_batch(json.dumps(events).encode())
    assert found is not None
    return found


def enrichment(
    posts: KnownPosts | None = None, vips: tuple[str, ...] = (), key: bytes | None = KEY
) -> Enrichment:
    aliases = AliasTable({"FuxiCeremony": ["伏羲大典"]})
    return Enrichment(posts or KnownPosts(1000), aliases, Pseudonymizer(vips, key))


def entry(event: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(codec.encode(event))
    return found


def test_an_interaction_gets_what_its_post_says() -> None:
    """Hashtags (as what they count as), campaign, format and broadcast; in the same batch already."""
    post, like = decoded(POST, LIKE)
    enrichment().enrich([post, like])
    filled = {"hashtags": ["fuxiceremony", "new"], "campaign": "fuxi", "broadcast_id": "fuxi-2026"}
    assert filled.items() <= entry(post).items()
    assert {**filled, "post_format": "live"}.items() <= entry(like).items()


def test_an_interaction_before_its_post_gets_nothing() -> None:
    """What is not known yet is not filled in later: the log is written once."""
    like, post = decoded(LIKE, POST)
    enrichment().enrich([like, post])
    assert "campaign" not in entry(like)


def test_what_an_interaction_says_itself_is_kept() -> None:
    """An empty list of hashtags too: it says that there are none."""
    own = {"hashtags": [], "campaign": "own", "post_format": "link", "broadcast_id": "own-2026"}
    post, like = decoded(POST, {**LIKE, **own})
    enrichment().enrich([post, like])
    assert own.items() <= entry(like).items()


def test_own_hashtags_are_resolved_too() -> None:
    """In interactions and broadcasts; two spellings of one hashtag become one."""
    broadcast = {"kind": "broadcast", "event_id": "b", "broadcast_id": "B", "phase": "started", **COMMON}
    tags = {"hashtags": ["＃伏羲大典", "#FUXICEREMONY", "#Tianshui"]}
    events = decoded({**LIKE, **tags}, {**broadcast, **tags}, {**broadcast})
    enrichment().enrich(events)
    assert [event.hashtags for event in events] == [("fuxiceremony", "tianshui")] * 2 + [UNSET]


def test_a_post_of_another_platform_is_another_post() -> None:
    """Post ids are unique within a platform only."""
    post, like = decoded(POST, {**LIKE, "platform": "facebook"})
    enrichment().enrich([post, like])
    assert "campaign" not in entry(like)


def test_another_process_knows_a_post_from_its_record() -> None:
    """The record written for a post makes the same interaction complete elsewhere."""
    (record,) = enrichment().enrich(decoded(POST))
    assert json.loads(record.key) == ["twitter", "P"]
    posts = KnownPosts(1000)
    posts.upsert_record(record.value)
    (like,) = decoded(LIKE)
    enrichment(posts).enrich([like])
    assert entry(like)["hashtags"] == ["fuxiceremony", "new"]
    posts.forget(record.key)
    assert posts.get("twitter", "P") is None


def test_a_record_with_fields_of_a_later_version_is_read() -> None:
    """Processes of two versions follow the same topic while one is replaced by the other."""
    posts = KnownPosts(10)
    posts.upsert_record(b'{"platform":"twitter","post_id":"P","mood":"good","campaign":"c"}')
    assert posts.get("twitter", "P") == (UNSET, "c", UNSET, UNSET)


def test_an_actor_is_a_pseudonym_without_a_name() -> None:
    """The same actor has the same one; another platform, id or key makes another; country and mark stay."""
    actor = {"id": "77", "country": "CN", "name": "Bob", "verified": True}
    first, again, other, elsewhere = decoded(
        {**LIKE, "actor": actor}, {**LIKE, "actor": {"id": "77"}}, {**LIKE, "actor": {"id": "78"}},
        {**LIKE, "platform": "facebook", "actor": {"id": "77"}},
    )  # fmt: skip
    enrichment().enrich([first, again, other, elsewhere])
    pseudonym = first.actor.id
    assert len(pseudonym) == 32
    assert entry(first)["actor"] == {"id": pseudonym, "country": "CN", "verified": True}
    assert again.actor.id == pseudonym
    assert len({pseudonym, other.actor.id, elsewhere.actor.id}) == 3
    (keyed,) = decoded({**LIKE, "actor": {"id": "77"}})
    enrichment(key=b"another key of 16").enrich([keyed])
    assert keyed.actor.id != pseudonym


def test_a_vip_is_marked_and_keeps_the_name() -> None:
    """The list is asked for the real id, before it is hidden."""
    (vip,) = decoded({**LIKE, "actor": {"id": "77", "name": "李娜"}})
    enrichment(vips=("twitter:77", "twitter:99")).enrich([vip])
    assert entry(vip)["actor"] == {"id": vip.actor.id, "verified": True, "name": "李娜"}
    assert vip.actor.id != "77"


def test_raw_ids_stay_if_told_so() -> None:
    """A setting says so; names are dropped all the same."""
    (like,) = decoded({**LIKE, "actor": {"id": "77", "name": "Bob"}})
    enrichment(key=None).enrich([like])
    assert entry(like)["actor"] == {"id": "77"}


def test_posts_are_bounded_and_those_in_use_stay() -> None:
    """A post that is used is not forgotten, however many others come."""
    posts = KnownPosts(100)
    for number in range(1000):
        (post,) = decoded({**POST, "post_id": f"P{number}"})
        assert not isinstance(post, Rejection)
        posts.upsert(post)
        assert posts.get("twitter", "P0") is not None
        assert len(posts) <= 100
    assert posts.get("twitter", "P1") is None
    assert posts.get("twitter", "P999") is not None


@pytest.mark.parametrize("value", [b"", b"[]", b'{"platform":1}', b'{"platform":"x"}'])
def test_a_record_that_is_none_is_rejected(value: bytes) -> None:
    """The follower logs it and goes on."""
    with pytest.raises(msgspec.DecodeError):
        KnownPosts(10).upsert_record(value)
