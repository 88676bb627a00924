"""TLS to the broker. The files are checked one by one, so that a mistake is named by its setting."""

from __future__ import annotations

import ssl
from pathlib import Path

from services.runtime.settings import KafkaSettings, SettingsError

_NO_PEM = "is no PEM file with {what}; such a file has a line -----BEGIN {header}-----"


def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """A TLS context with the authorities and the client certificate of the settings.

    Raises SettingsError: which setting, which file, and what is wrong with it.
    """
    context = _trusting(kafka.ssl_cafile)
    certificate, key = kafka.ssl_certfile, kafka.ssl_keyfile
    if certificate is None:
        if key is not None:
            raise SettingsError(
                f"kafka.ssl_keyfile is {key}, but kafka.ssl_certfile is not set; a client needs both"
            )
        return context
    text = _text("ssl_certfile", certificate)
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise _not_pem("ssl_certfile", certificate, "a certificate", "CERTIFICATE")
    place, path = ("ssl_keyfile", key) if key is not None else ("ssl_certfile", certificate)
    key_text = _text(place, path)
    if "PRIVATE KEY-----" not in key_text:
        if key is None:
            raise SettingsError(
                f"kafka.ssl_certfile {certificate} has no private key; set kafka.ssl_keyfile to its file"
            )
        raise _not_pem(place, path, "a private key", "PRIVATE KEY")
    _load(context, certificate, key)
    return context


def _trusting(authorities: Path | None) -> ssl.SSLContext:
    if authorities is None:
        return ssl.create_default_context()
    if "-----BEGIN" not in _text("ssl_cafile", authorities):
        raise _not_pem("ssl_cafile", authorities, "the certificates of authorities", "CERTIFICATE")
    try:
        return ssl.create_default_context(cafile=str(authorities))
    except ssl.SSLError as error:
        raise SettingsError(
            f"kafka.ssl_cafile {authorities} has a damaged certificate ({_reason(error)})"
        ) from None


def _load(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    named = key or certificate

    def ask() -> str:
        raise SettingsError(
            f"the private key in {named} has a pass phrase; store it without one, for this user only"
        )

    try:
        context.load_cert_chain(certificate, key, password=ask)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(
                f"the private key in {named} does not belong to the certificate in {certificate} "
                "(kafka.ssl_keyfile, kafka.ssl_certfile); check which files belong together"
            ) from None
        raise SettingsError(
            f"kafka.ssl_certfile {certificate}, or its key in {named}, is damaged ({_reason(error)})"
        ) from None


def _text(setting: str, path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace")
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(
            f"kafka.{setting} {path} cannot be read ({reason}); correct the path, or the rights of the file"
        ) from None


def _not_pem(setting: str, path: Path, what: str, header: str) -> SettingsError:
    return SettingsError(f"kafka.{setting} {path} {_NO_PEM.format(what=what, header=header)}")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "unknown").replace("_", " ").lower()
