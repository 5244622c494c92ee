"""An image for the tests, built from this host's own programs: no registry is asked."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from reconciler.engine.runners.container_engine import ContainerEngine, find_engine
from reconciler.pulumi_cli import PROGRAMS, PulumiCli, find

__all__ = ["base_image", "container_engine", "image", "pulumi_image", "small_image"]

# What of busybox is there by name; what is left out is the host's own, or not there.
APPLETS = """
    cat chmod chown cp cut date dd dirname df du echo env expr find getent grep head hostname id
    kill ln ls mkdir mkfifo mknod mktemp mount mv nc nproc printf ps pwd readlink rm rmdir sed seq
    setsid sh sleep sort stat tail tar test touch tr true umount uname unshare wc which xargs
"""

# The host's own: what dash, bash and procps do otherwise than busybox, some test looks at.
HOSTS_OWN = ("dash", "bash", "ps", "curl", "git")


@cache
def container_engine() -> ContainerEngine:
    """Return podman or docker."""
    engine = find_engine()
    assert isinstance(engine, ContainerEngine), engine
    return engine


@cache
def image() -> str:
    """Return the name of an image with Python, bash and pulumi; built where it is not there."""
    cli = find()
    assert isinstance(cli, PulumiCli), cli
    files: dict[str, Path] = {f"usr/local/bin/{name}": cli.directory / name for name in PROGRAMS}
    files |= {f"usr/bin/{name}": _found(name) for name in HOSTS_OWN}
    files[f"{_inside(_python())}"] = _python()
    links = {
        "bin/sh": "/usr/bin/dash",
        "bin/bash": "/usr/bin/bash",
        **{_inside(path): str(_python()) for path in _ways_to_python()},
        **{
            f"usr/bin/{name}": "/bin/busybox"
            for name in APPLETS.split()
            if name not in {"sh", "ps"}
        },
    }
    files |= {_inside(path): path for path in _standard_library()}
    # What the tests' provider needs, whose Python packages a test makes visible.
    grpc = Path(sys.prefix).rglob("cygrpc*.so")
    return _build("everything", files | _libraries([*files.values(), *grpc]), links)


@cache
def base_image() -> str:
    """Return the name of an image with Python, git, ssh and bubblewrap, as for the Containerfile.

    Nothing of it is ours, and no program of Pulumi's is there.
    """
    programs = ("bash", "bwrap", "dash", "git", "ps", "ssh", "useradd")
    files = {f"usr/bin/{name}": _found(name) for name in programs} | {_inside(_python()): _python()}
    files |= {_inside(path): path for path in _standard_library()}
    links = {
        "bin/sh": "/usr/bin/dash",
        "usr/bin/python3": str(_python()),
        "usr/lib/git-core/git-upload-pack": "/usr/bin/git",
        **{
            f"usr/bin/{name}": "/bin/busybox"
            for name in ("awk", *APPLETS.split())
            if name not in {"sh", "ps"}
        },
    }
    native = [*files.values(), *Path(os.__file__).parent.rglob("lib-dynload/*.so")]
    # It needs what every Debian has: the compiler's own library.
    native += Path(sys.prefix).rglob("jsonschema_rs*.so")
    accounts = {"etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n", "etc/group": b"root:x:0:\n"}
    return _build("base", files | _libraries(native), links, accounts)


@cache
def pulumi_image() -> str:
    """Return the name of an image that has Pulumi's programs where Pulumi's own has them."""
    cli = find()
    assert isinstance(cli, PulumiCli), cli
    return _build("pulumi", {f"pulumi/bin/{name}": cli.directory / name for name in PROGRAMS}, {})


@cache
def small_image(without: Sequence[str] = ()) -> str:
    """Return the name of an image with busybox alone, and scripts for pulumi and curl."""
    names = [name for name in (*APPLETS.split(), "curl", "pulumi") if name not in without]
    links = {f"bin/{name}": "/bin/busybox" for name in names if name not in {"pulumi", "curl"}}
    links["usr/bin"] = "/bin"
    scripts = {
        f"bin/{name}": f"#!/bin/sh\n{script}\n".encode()
        for name, script in (("pulumi", "echo v3.0.0-small"), ("curl", "exit 7"))
        if name in names
    }
    return _build("small", {}, links, scripts)


def _build(
    name: str,
    files: Mapping[str, Path],
    links: Mapping[str, str],
    texts: Mapping[str, bytes] | None = None,
) -> str:
    texts = texts or {}
    files = {"bin/busybox": Path("/bin/busybox").resolve(), **files}
    parts = [(target, str(path), path.stat().st_size) for target, path in sorted(files.items())]
    whole = repr((parts, sorted(links.items()), sorted(texts.items())))
    tag = hashlib.sha256(whole.encode()).hexdigest()[:16]
    full = f"localhost/reconciler-test-{name}:{tag}"
    engine = container_engine()
    if engine.call(["image", "inspect", full]).code == 0:
        return full
    importing = subprocess.Popen(
        [engine.program, "import", "--change", "ENV FROM_IMAGE=yes", "-", full],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert importing.stdin is not None
    with tarfile.open(fileobj=importing.stdin, mode="w|") as tar:
        for folder in ("tmp", "root", "proc", "sys", "dev", "run", "etc", "usr/local", "var/tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if "tmp" in folder else 0o755
            tar.addfile(entry)
        for target, to in links.items():
            entry = tarfile.TarInfo(target)
            entry.type, entry.linkname = tarfile.SYMTYPE, to
            tar.addfile(entry)
        for target, path in files.items():
            with path.open("rb") as file:
                entry = tarfile.TarInfo(target)
                entry.size, entry.mode = path.stat().st_size, 0o755
                tar.addfile(entry, file)
        for target, text in texts.items():
            entry = tarfile.TarInfo(target)
            entry.size, entry.mode = len(text), 0o755
            tar.addfile(entry, io.BytesIO(text))
    importing.stdin.close()
    assert importing.wait(120) == 0
    return full


def _found(name: str) -> Path:
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert path is not None, name
    return Path(path).resolve()


def _inside(path: Path) -> str:
    return str(path).lstrip("/")


def _python() -> Path:
    return Path(os.path.realpath(sys.executable))


def _ways_to_python() -> Iterator[Path]:
    """Yield the links by which this Python is started, from one to the next."""
    path = Path(sys.executable)
    while path.is_symlink():
        yield path
        path = path.parent / path.readlink()


def _standard_library() -> Iterator[Path]:
    root = Path(os.__file__).parent
    for path in root.rglob("*"):
        inside = path.relative_to(root).parts
        if path.is_file() and inside[0] not in {
            "test",
            "site-packages",
            "dist-packages",
            "idlelib",
        }:
            yield path


def _libraries(files: Iterable[Path]) -> dict[str, Path]:
    """Return what the dynamic loader would load for these, at the same places."""
    native = [str(path) for path in files if ".py" not in path.suffix]
    answer = subprocess.run(["ldd", *native], capture_output=True, text=True, check=False)
    found = {}
    for word in answer.stdout.split():
        path = Path(word)
        if word.startswith("/") and not word.endswith(":") and path.is_file():
            found[_inside(path)] = path
    return found
