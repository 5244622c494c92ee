from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator

import pytest

from reconciler.engine.http import body
from reconciler.engine.service import AnswerError


def read(*chunks: bytes, length: str = "", encoding: str = "") -> bytes:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return asyncio.run(body.read(stream(), length, encoding))


def status(*chunks: bytes, length: str = "", encoding: str = "") -> int:
    with pytest.raises(AnswerError) as caught:
        read(*chunks, length=length, encoding=encoding)
    return caught.value.status


def refusal(content: bytes | str) -> str:
    with pytest.raises(AnswerError) as caught:
        body.parse(content.encode() if isinstance(content, str) else content)
    assert caught.value.status == 400
    return caught.value.message


def test_a_body_is_put_together() -> None:
    """A body in pieces is one body; a packed one is unpacked."""
    assert read(b"ab", b"", b"c") == b"abc"
    packed = gzip.compress(b"abc")
    assert read(packed[:5], packed[5:], encoding="gzip") == b"abc"
    assert read(packed, encoding="GZIP") == b"abc"


def test_large_bodies_are_refused() -> None:
    """Above 4 MiB the answer is 413, by what it says of itself, by its size, or unpacked."""
    piece = b"x" * (1024 * 1024)
    assert status(b"", length=str(body.LARGEST_BODY_BYTES + 1)) == 413
    assert status(piece, piece, piece, piece, b"x") == 413
    assert read(piece, piece, piece, piece) == piece * 4
    bomb = gzip.compress(b"\0" * 100 * 1024 * 1024)
    begin = time.thread_time()
    assert status(bomb, encoding="gzip") == 413
    assert time.thread_time() - begin < 1


def test_unreadable_encodings_are_refused() -> None:
    """What is no gzip, ends too early, or is packed in another way is refused."""
    packed = gzip.compress(b"abc")
    assert status(b"abc", encoding="gzip") == 400
    assert status(packed[:-4], encoding="gzip") == 400
    assert status(b"abc", encoding="br") == 415


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{\n"a": [\n1,\n]\n}', ["line 4, column 1", "comma before this ']'"]),
        ('{"a": 1,}', ["line 1, column 9", "comma before this '}'"]),
        ('{"a": }', ["line 1, column 7"]),
        ("", ["empty"]),
        (" \n", ["empty"]),
        ('{"a": NaN}', ["NaN"]),
        (b'{"a": "\xff"}', ["UTF-8", "byte 7"]),
        (json.dumps({"a": 1}).encode("utf-16"), ["UTF-8"]),
        ('{"a": "\\ud800"}', ["surrogate"]),
        ('{"\\uD800": 1}', ["surrogate"]),
        ("[" * 65 + "]" * 65, ["64 deep"]),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, ["64 deep"]),
        ("1" * 5000, ["not JSON"]),
    ],
)
def test_what_is_no_json_is_explained(content: str | bytes, words: list[str]) -> None:
    """A body that is no JSON is refused with where and why."""
    message = refusal(content)
    for word in words:
        assert word in message
    assert len(message) < 400


def test_deep_but_allowed_bodies_are_read() -> None:
    """64 levels are allowed, wide ones too, and a whole surrogate pair is a character."""
    assert body.parse(b"[" * 64 + b"]" * 64)
    assert body.parse(json.dumps([[1]] * 1000).encode()) == [[1]] * 1000
    assert body.parse(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_bodies_of_brackets_are_read_in_time() -> None:
    """The widest body of 4 MiB is judged within a few seconds of processor time."""
    begin = time.thread_time()
    body.parse(b"[" + b"[]," * 1_300_000 + b"[]]")
    assert time.thread_time() - begin < 5
