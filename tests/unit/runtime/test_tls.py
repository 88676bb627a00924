"""TLS files: whatever is wrong with one is said by setting and file, before anything connects."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from services.runtime.settings import KafkaSettings, SettingsError
from services.runtime.tls import ssl_context


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two certificates with their keys, one of them also with a pass phrase."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("a", "b"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-subj", f"/CN={name}",
             "-keyout", f"{name}.key", "-out", f"{name}.pem"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
    subprocess.run(
        ["openssl", "rsa", "-aes256", "-passout", "pass:secret", "-in", "a.key", "-out", "locked.key"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    (folder / "both.pem").write_text((folder / "a.key").read_text() + (folder / "a.pem").read_text())
    (folder / "junk").write_bytes(b"\x30\x82junk")
    damaged = (folder / "a.pem").read_text().splitlines()
    (folder / "damaged.pem").write_text("\n".join([damaged[0], "AAAA", damaged[-1]]) + "\n")
    return folder


def kafka(folder: Path, **files: str) -> KafkaSettings:
    return KafkaSettings(
        bootstrap="h:1",
        security_protocol="SSL",
        **{f"ssl_{key}": folder / name for key, name in files.items()},
    )


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cafile": "a.pem"},
        {"cafile": "b.pem", "certfile": "a.pem", "keyfile": "a.key"},
        {"certfile": "both.pem"},
    ],
)
def test_files_that_fit_are_used(folder: Path, files: dict[str, str]) -> None:
    """With and without a certificate of the client; key and certificate may share a file."""
    assert ssl_context(kafka(folder, **files)).check_hostname


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"cafile": "none"}, "kafka.ssl_cafile {}/none cannot be read (No such file or directory)"),
        ({"cafile": ""}, "kafka.ssl_cafile {} cannot be read (Is a directory)"),
        ({"cafile": "junk"}, "kafka.ssl_cafile {}/junk is no PEM file with the certificates of authorities"),
        ({"cafile": "damaged.pem"}, "kafka.ssl_cafile {}/damaged.pem has a damaged certificate"),
        ({"certfile": "none"}, "kafka.ssl_certfile {}/none cannot be read"),
        ({"certfile": "junk"}, "kafka.ssl_certfile {}/junk is no PEM file with a certificate"),
        ({"certfile": "a.pem"}, "kafka.ssl_certfile {}/a.pem has no private key; set kafka.ssl_keyfile"),
        ({"certfile": "a.pem", "keyfile": "none"}, "kafka.ssl_keyfile {}/none cannot be read"),
        (
            {"certfile": "a.pem", "keyfile": "a.pem"},
            "kafka.ssl_keyfile {}/a.pem is no PEM file with a private",
        ),
        ({"certfile": "a.pem", "keyfile": "b.key"}, "the private key in {}/b.key does not belong to"),
        ({"certfile": "damaged.pem", "keyfile": "a.key"}, "kafka.ssl_certfile {}/damaged.pem"),
        (
            {"certfile": "a.pem", "keyfile": "locked.key"},
            "the private key in {}/locked.key has a pass phrase",
        ),
        ({"keyfile": "a.key"}, "kafka.ssl_keyfile is {}/a.key, but kafka.ssl_certfile is not set"),
    ],
    ids=lambda each: "-".join(each.values()) if isinstance(each, dict) else "",
)
def test_a_file_that_cannot_be_used_is_named_with_its_setting(
    folder: Path, files: dict[str, str], said: str
) -> None:
    """In one line; nobody is asked for a pass phrase."""
    with pytest.raises(SettingsError) as caught:
        ssl_context(kafka(folder, **files))
    assert said.format(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
