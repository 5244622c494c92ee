"""Files between the engine and a pod that does not share them: as archives, and only whole.

What comes from a pod is a stranger's: of an archive only what stays below its place is taken.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from reconciler.engine.runners.base import PlaceError
from reconciler.engine.runners.kubernetes import agent
from reconciler.engine.runners.kubernetes.answers import ApiError, UnreachableError
from reconciler.engine.runners.kubernetes.pod import Pod

__all__ = ["fetch", "send"]

# A repository goes over at 50 MB a second and more.
TRANSFER_LIMIT_S = 1800.0

CHUNK_BYTES = 256 * 1024
TRIES = 3


def send(pod: Pod, folder: Path, parts: tuple[Path, ...]) -> None:
    """Put the parts into `folder` of the pod, in the place of what is there. PlaceError."""
    with tempfile.TemporaryFile() as archive:
        try:
            with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for part in parts:
                    tar.add(part, f"tree/{part.name}")
                tar.addfile(tarfile.TarInfo("complete"))
        except OSError as error:
            raise PlaceError(f"{folder} cannot be sent to the pod: {error.strerror}") from error
        length = archive.tell()
        problem = ""
        for _ in range(TRIES):
            archive.seek(0)
            try:
                code, _output, errors = pod.run(
                    agent.UNPACK,
                    str(folder),
                    str(length),
                    limit_s=TRANSFER_LIMIT_S,
                    data=_chunks(archive),
                )
            except UnreachableError as error:
                problem = str(error)
                continue
            except ApiError as error:
                problem = str(error)
                break
            if code == 0:
                return
            problem = errors.decode(errors="replace").strip()[:500] or f"exit code {code}"
    raise PlaceError(f"{folder} cannot be sent to the pod: {problem}")


def fetch(pod: Pod, path: Path) -> None:
    """Take what is at `path` in the pod, in the place of what is here. PlaceError."""
    problem = ""
    for _ in range(TRIES):
        try:
            code, output, errors = pod.run(
                agent.PACK, str(path.parent), path.name, limit_s=TRANSFER_LIMIT_S
            )
        except UnreachableError as error:
            problem = str(error)
            continue
        except ApiError as error:
            problem = str(error)
            break
        if code == 0:
            _put(output, path)
            return
        problem = errors.decode(errors="replace").strip()[:500] or f"exit code {code}"
    raise PlaceError(f"{path} cannot be fetched from the pod: {problem}")


def _put(archive: bytes, path: Path) -> None:
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            if archive:
                # As it is, not unpacked: a few bytes could become more than any disk holds.
                with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
                    tar.extractall(folder, filter="data")
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            made = Path(folder) / path.name
            if made.exists() or made.is_symlink():
                made.rename(path)
    except (OSError, tarfile.TarError) as error:
        raise PlaceError(f"{path} cannot be fetched from the pod: {error}") from error


def _chunks(archive: BinaryIO) -> Iterator[bytes]:
    while chunk := archive.read(CHUNK_BYTES):
        yield chunk
