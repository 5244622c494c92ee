from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from reconciler.engine.secrets_box import (
    KeyFileError,
    SecretBox,
    new_key,
    open_box,
    read_keys,
    write_keys,
)


def test_what_is_sealed_opens_again(tmp_path: Path) -> None:
    """A secret comes back with the same key and context, and is not to be seen in between."""
    box = open_box(tmp_path / "key", create=True)
    sealed = box.encrypt(b"canary", "request/1")
    assert b"canary" not in sealed
    assert open_box(tmp_path / "key", create=False).decrypt(sealed, "request/1") == b"canary"


def test_a_secret_is_bound_to_its_place(tmp_path: Path) -> None:
    """A sealed text that was put elsewhere, changed, or made with another key does not open."""
    box = open_box(tmp_path / "key", create=True)
    sealed = box.encrypt(b"canary", "request/1")
    other = open_box(tmp_path / "other", create=True)
    for opener, text, context in (
        (box, sealed, "request/2"),
        (box, sealed[:-1] + bytes([sealed[-1] ^ 1]), "request/1"),
        (box, b"\x02" + sealed[1:], "request/1"),
        (other, sealed, "request/1"),
    ):
        with pytest.raises(KeyFileError):
            opener.decrypt(text, context)


def test_the_same_secret_never_looks_the_same() -> None:
    """Two seals of one text differ, so that nobody sees which secrets are equal."""
    box = SecretBox(b"k" * 32)
    assert box.encrypt(b"a", "c") != box.encrypt(b"a", "c")


def test_the_key_file_is_made_once(tmp_path: Path) -> None:
    """Many at once that make the key file all have the same key, and nobody else can read it."""
    boxes: list[SecretBox] = []
    threads = [
        threading.Thread(target=lambda: boxes.append(open_box(tmp_path / "key", create=True)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sealed = boxes[0].encrypt(b"a", "c")
    assert {box.decrypt(sealed, "c") for box in boxes} == {b"a"}
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_lost_key_is_not_made_anew(tmp_path: Path) -> None:
    """Where secrets exist, a missing key file is an error that says to restore it."""
    with pytest.raises(KeyFileError, match="restore"):
        open_box(tmp_path / "key", create=False)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """A key file must be its owner's alone."""
    open_box(tmp_path / "key", create=True)
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        open_box(tmp_path / "key", create=False)


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    """A key file of another length is no key."""
    (tmp_path / "key").write_bytes(b"short")
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(KeyFileError, match="no key"):
        open_box(tmp_path / "key", create=False)


def test_a_systemd_credential_may_be_the_service_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A credential reads as its group's where systemd gives it by an access list; others not."""
    path = tmp_path / "engine.key"
    open_box(path, create=True)
    path.chmod(0o440)
    with pytest.raises(KeyFileError, match="chmod 600"):
        open_box(path, create=False)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    open_box(path, create=False)
    path.chmod(0o444)
    with pytest.raises(KeyFileError, match="chmod 600"):
        open_box(path, create=False)


def test_a_key_that_somebody_else_owns_is_refused(tmp_path: Path) -> None:
    """Who owns the key file could put another key in it."""
    path = tmp_path / "engine.key"
    open_box(path, create=True)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        with pytest.raises(KeyFileError, match="another user's"):
            open_box(path, create=False)


def test_two_keys_while_one_replaces_the_other(tmp_path: Path) -> None:
    """A file of two keys opens what either has sealed, and seals with the first."""
    old, new = new_key(), new_key()
    sealed = SecretBox(old).encrypt(b"canary", "c")
    write_keys(tmp_path / "key", new, old)
    assert read_keys(tmp_path / "key") == (new, old)
    box = open_box(tmp_path / "key", create=False)
    assert box.decrypt(sealed, "c") == b"canary"
    renewed = box.renewed(sealed, "c")
    assert renewed is not None
    assert SecretBox(new).decrypt(renewed, "c") == b"canary"
    assert box.renewed(renewed, "c") is None
    with pytest.raises(KeyFileError):
        box.renewed(sealed, "another")
