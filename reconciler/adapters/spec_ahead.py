"""Many files, parsed by another process while this one makes specs of what it has parsed.

At a cold start thousands of files are to be read, and parsing is half of that work. The other
process is a Python of our own that reads the same files in the same way and sends plain trees.
A file that was only touched is not parsed: its content has the digest that it had before.
Where it fails, or does not like a file, that file is read here: it can only save time.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
import subprocess  # noqa: TID251 - a Python of our own, with a fixed program
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from reconciler.adapters.spec_schema import SPEC
from reconciler.adapters.spec_walk import stamp_of
from reconciler.adapters.yaml_plain import Plain, read_plain
from reconciler.files import read_below_seen

__all__ = ["MANY", "Ahead", "content_digest", "main", "parse_ahead", "worthwhile"]

# For fewer, the start of a process takes longer than it saves.
MANY: Final = 2_000
# Files of which the results are sent at once: some milliseconds of work on both sides.
CHUNK: Final = 50
# How long the process may take to end when it is no longer needed.
_END_S: Final = 5.0

_PROGRAM: Final = "from reconciler.adapters.spec_ahead import main; main()"
_KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")


_DIGEST_BYTES: Final = 16


class Ahead(NamedTuple):
    """What a file says, its stamp and its content's digest; without `plain` what it said before."""

    plain: Plain | None
    stamp: int
    digest: bytes


def content_digest(content: bytes) -> bytes:
    """Return what tells one content of a file from another."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def worthwhile(count: int) -> bool:
    """Whether so many files are read sooner by two processes than by one."""
    return count >= MANY and len(os.sched_getaffinity(0)) > 1


def parse_ahead(
    root: str, files: Sequence[tuple[str, bytes]], limit: int
) -> Generator[Ahead | None, None, None]:
    """Yield what each file says, in their order; None: to be read here.

    `files` are paths below the directory, each with the digest of what is known (empty: nothing
    is). `root` is the real path of the directory, `limit` the largest size of a file in bytes.
    It may end early: what it has not told of has to be read here too. Close it, also before its
    end: that ends the process.
    """
    package = str(Path(__file__).resolve().parents[2])
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment | {"PYTHONPATH": package},
        cwd="/",
        start_new_session=True,
    )
    try:
        assert process.stdin is not None  # noqa: S101 - it was asked for
        assert process.stdout is not None  # noqa: S101 - the same
        with contextlib.suppress(OSError), process.stdin:
            marshal.dump((root, list(files), limit), process.stdin)
        yield from _answers(process.stdout)
    finally:
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        process.wait(_END_S)


def _answers(stream: IO[bytes]) -> Iterator[Ahead | None]:
    while True:
        try:
            chunk: list[Any] = marshal.load(stream)  # noqa: S302 - from a process of our own
        except (EOFError, ValueError, TypeError):
            return
        for item in chunk:
            if item is None:
                yield None
                continue
            tree_and_places, stamp, digest = item
            yield Ahead(Plain(*tree_and_places) if tree_and_places else None, stamp, digest)


def main() -> None:
    """Be the other process: read what to do, parse, and send what came of it."""
    root, files, limit = marshal.load(sys.stdin.buffer)  # noqa: S302 - from our own parent
    out = sys.stdout.buffer
    for start in range(0, len(files), CHUNK):
        found = [_parsed(root, each, known, limit) for each, known in files[start : start + CHUNK]]
        marshal.dump(found, out)
        out.flush()


def _parsed(
    root: str, relative: str, known: bytes, limit: int
) -> tuple[tuple[object, object] | tuple[()], int, bytes] | None:
    """Return a file's tree and places (empty: they are known), its stamp and its digest."""
    try:
        content, seen = read_below_seen(f"{root}/{relative}", root, limit)
    except OSError:
        return None
    digest, stamp = content_digest(content), stamp_of(seen)
    if digest == known:
        return (), stamp, digest
    plain = read_plain(content, SPEC.shape)
    return None if plain is None else ((plain.tree, plain.places), stamp, digest)
