"""Reads the JSON body of a request that anybody may have written, within limits.

An `AnswerError` says what is wrong with it and where.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator

from reconciler.engine.service.errors import AnswerError

__all__ = ["LARGEST_BODY_BYTES", "parse", "read"]

# Far more than a request with every limit used up needs.
LARGEST_BODY_BYTES = 4 * 1024 * 1024

# The API's own bodies are 6 deep.
DEEPEST = 64


async def read(chunks: AsyncIterator[bytes], length: str, encoding: str) -> bytes:
    """Read the whole body, unpacked where it is gzip; 413 above the limit, 415, 400."""
    too_large = AnswerError(413, f"the body is larger than {LARGEST_BODY_BYTES} bytes")
    if encoding.lower() not in {"", "identity", "gzip"}:
        raise AnswerError(415, f"Content-Encoding {encoding[:40]!r} is not understood; gzip is")
    if length.isdecimal() and int(length[:20]) > LARGEST_BODY_BYTES:
        raise too_large
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > LARGEST_BODY_BYTES:
            raise too_large
    if encoding.lower() != "gzip":
        return bytes(body)
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        plain = unpacker.decompress(bytes(body), LARGEST_BODY_BYTES + 1)
    except zlib.error:
        raise AnswerError(400, "the body is not gzip, as its Content-Encoding says") from None
    if len(plain) > LARGEST_BODY_BYTES:
        raise too_large
    if not unpacker.eof:
        raise AnswerError(400, "the gzip body ends too early")
    return plain


def parse(body: bytes) -> object:
    """Return the JSON value; AnswerError 400 names line and column of what is none."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise AnswerError(400, f"the body is not UTF-8 text (at byte {error.start})") from None
    if not text.strip():
        raise AnswerError(400, "the body is empty; a JSON object belongs here")
    try:
        value: object = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise AnswerError(400, _explain(text, error)) from None
    except RecursionError:
        raise AnswerError(400, f"the body is nested more than {DEEPEST} deep") from None
    except ValueError as error:
        raise AnswerError(400, f"the body is not JSON: {str(error)[:200]}") from None
    if text.count("[") + text.count("{") > DEEPEST:
        _check_depth(value)
    if "\\ud" in text.lower():
        _check_characters(value)
    return value


def _explain(text: str, error: json.JSONDecodeError) -> str:
    """Name the commonest mistake; the seed of this API's documentation makes it too."""
    at = f"the body is not JSON: line {error.lineno}, column {error.colno}"
    if text[: error.pos].rstrip().endswith(",") and text[error.pos : error.pos + 1] in ("]", "}"):
        return f"{at}: the comma before this {text[error.pos]!r} is one too many"
    return f"{at}: {error.msg}"


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)  # type: ignore[attr-defined]
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise AnswerError(400, f"the body is nested more than {DEEPEST} deep")


def _check_characters(value: object) -> None:
    """Refuse halves of surrogate pairs, which no program can be given."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise AnswerError(400, "the body holds half of a surrogate pair (\\ud…)") from None
