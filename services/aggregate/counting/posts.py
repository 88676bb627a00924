"""Which account a post belongs to."""

from __future__ import annotations


class PostAccounts:
    """The account of each post, as the first event that counts for the post says.

    Part of the stored state: the entry of a post names its account, and a restart reads it back.
    """

    def __init__(self) -> None:
        self._account_of: dict[tuple[str, str], str] = {}

    def see(self, platform: str, post_id: str, account: str) -> None:
        """Take in what an event says of its post; the first account stands."""
        self._account_of.setdefault((platform, post_id), account)

    def account_of(self, platform: str, post_id: str) -> str:
        """Raises KeyError if no event of the post has counted."""
        return self._account_of[platform, post_id]

    def restore(self, platform: str, post_id: str, account: str) -> None:
        """Take in what is stored."""
        self._account_of[platform, post_id] = account
