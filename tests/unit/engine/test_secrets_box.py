from __future__ import annotations

import threading
from pathlib import Path

import pytest

from reconciler.engine.secrets_box import KeyFileError, SecretBox, open_box


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
