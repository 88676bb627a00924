"""Keeps secrets out of what people read: log lines, error lines, tracebacks.

`protect` is told the secrets of the settings as soon as they are read; from then on `redact` takes them out
of any text of this process, whichever library wrote it. A secret of fewer than four characters is not taken
out, since it would be part of many words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, SecretStr

HIDDEN = "***"
SHORTEST = 4
_SECRET_NAME = re.compile(r"key|secret|passw|passphrase|token|credential|auth|_url$|^url$", re.IGNORECASE)
#: Names that look like secrets and are not.
_NOT_SECRET = frozenset({"keys_file", "ssl_keyfile"})
_USER_INFO = re.compile(r"(\w://)[^/\s@]+@")
_protected: set[str] = set()
_pattern: re.Pattern[str] | None = None


def is_secret_name(name: str) -> bool:
    """Whether a setting or option of this name may hold a secret. An address may: Slack's does."""
    return name.lower() not in _NOT_SECRET and _SECRET_NAME.search(name) is not None


def secret_values(settings: BaseModel) -> Iterator[str]:
    """The secrets in settings, sections included: every SecretStr, and addresses from their path on."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from secret_values(value)
        elif isinstance(value, SecretStr):
            yield value.get_secret_value()
        if isinstance(value, SecretStr | str) and (name.endswith("_url") or name == "url"):
            yield from _of_address(value if isinstance(value, str) else value.get_secret_value())


def _of_address(url: str) -> Iterator[str]:
    """What of an address may be secret: all but scheme and host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        yield url
        return
    rest = parts.path + (f"?{parts.query}" if parts.query else "")
    yield from (rest, *(each for each in parts.path.split("/") if len(each) >= 2 * SHORTEST))
    yield from (each for each in (parts.password, parts.query) if each)


def protect(secrets: Iterable[str]) -> None:
    """Take these out of everything that `redact` is given from now on."""
    global _pattern
    before = len(_protected)
    for secret in secrets:
        if len(secret) >= SHORTEST:
            _protected.update(_forms(secret))
    if len(_protected) > before:
        longest_first = sorted(_protected, key=len, reverse=True)
        _pattern = re.compile("|".join(map(re.escape, longest_first)))


def _forms(secret: str) -> Iterator[str]:
    """How a secret may be written: as it is, in JSON, in Python, in an address."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    yield repr(secret.encode(errors="surrogateescape"))[2:-1]
    yield quote(secret, safe="/:?=&")


def redact(text: str) -> str:
    """The text without secrets, and without the user and password of addresses."""
    text = _USER_INFO.sub(rf"\1{HIDDEN}@", text)
    return text if _pattern is None else _pattern.sub(HIDDEN, text)


def redacted(value: Any) -> Any:
    """A value of a log line without secrets: texts in it, at any depth; what is no JSON becomes its text."""
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, dict):
        return {redacted(name): redacted(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(each) for each in value]
    return redact(repr(value))
