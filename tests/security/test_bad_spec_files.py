"""Files that are made to exhaust, or to lead astray, whoever reads a directory of specs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.specs import SpecReader

GOOD = "stack: acme/web/prod-{}\nsourceContext: {{git: {{repoUrl: .., branch: main}}}}\n"
HEALTHY = 100
# A promise, whatever the machine: so it is time of the processor, and memory of a process.
LIMIT_S = 1.0
LIMIT_BYTES = 50 << 20

TEXTS: dict[str, Callable[[], str]] = {
    "aliases": lambda: (
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"b{n}: &b{n} [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n" for n in range(9_000))
    ),
    "levels of flow": lambda: "stack: " + "{a: " * 100_000,
    "levels of lists": lambda: "- " * 100_000,
    "levels of keys": lambda: "? " * 100_000,
    "levels of indentation": lambda: "".join(" " * n + "a:\n" for n in range(1_400)),
    "a million keys": lambda: "".join(f"k{n}: {n}\n" for n in range(1_000_000)),
    "as many keys as are read": lambda: "".join(f"k{n}: {n}\n" for n in range(19_990)),
    "as many items as are read": lambda: f"schedules: [{'{},' * 19_990}]",
    "as many variables as are read": lambda: (
        "operationContext:\n  environmentVariables:\n"
        + "".join(f"    {n}: null\n" for n in range(19_980))
    ),
    "a long text": lambda: "stack: " + "x" * 1_000_000,
    "a long key": lambda: "? " + "x" * 1_000_000 + "\n: a",
    "many colons": lambda: ":" * 1_000_000,
    "many quotes": lambda: "'" * 1_000_001,
    "NUL": lambda: "\0" * 1_000_000,
}
OTHERS = ("100 MB", "UTF-16", "FIFO", "device", "socket-like directory", "link out")

PROGRAM = """
import json, resource, sys, time
from pathlib import Path
from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.specs import SpecReader

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

root = Path(sys.argv[1])
SpecReader(root / "first", SecretRules()).scan()
before, found = peak(), {}
for folder in sorted(root.iterdir()):
    begin = time.thread_time()
    catalog = SpecReader(folder, SecretRules()).scan()
    took = time.thread_time() - begin
    found[folder.name] = (took, peak() - before, len(catalog.specs), sorted(catalog.broken))
print(json.dumps(found))
"""


def make(root: Path) -> dict[str, Path]:
    """Make a folder for each bad file, with healthy specs beside it."""
    folders = {}
    for name in ("first", *TEXTS, *OTHERS):
        folder = folders[name] = root / name
        folder.mkdir(parents=True)
        for number in range(HEALTHY):
            (folder / f"good-{number}.yaml").write_text(GOOD.format(number))
    (folders["first"] / "bad.yaml").write_text("labels: [a]\n")
    for name, text in TEXTS.items():
        (folders[name] / "bad.yaml").write_text(text())
    with (folders["100 MB"] / "bad.yaml").open("wb") as file:
        file.truncate(100 << 20)
    (folders["UTF-16"] / "bad.yaml").write_bytes(GOOD.format(1).encode("utf-16"))
    os.mkfifo(folders["FIFO"] / "bad.yaml")
    (folders["device"] / "bad.yaml").symlink_to("/dev/zero")
    (folders["socket-like directory"] / "bad.yaml").mkdir()
    (root.parent / "outside.yaml").write_text(GOOD.format("outside"))
    (folders["link out"] / "bad.yaml").symlink_to(root.parent / "outside.yaml")
    return folders


def test_bad_files_cost_little_and_stop_nobody(tmp_path: Path) -> None:
    """Each is refused within a second and 50 MiB, and 100 healthy specs beside it are read."""
    make(tmp_path / "specs")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "specs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"first", *TEXTS, *OTHERS}
    broken = {name: each for name, (_, _, _, each) in found.items()}
    assert broken.pop("socket-like directory") == []
    assert set(map(tuple, broken.values())) == {("bad",)}
    assert {healthy for _, _, healthy, _ in found.values()} == {HEALTHY}
    assert {name: took for name, (took, *_) in found.items() if took > LIMIT_S} == {}
    assert {name: peak for name, (_, peak, *_) in found.items() if peak > LIMIT_BYTES} == {}


@pytest.mark.parametrize("what", ["the file", "its folder"])
def test_a_swapped_link_never_leads_out(what: str, tmp_path: Path) -> None:
    """However often a file becomes a link between the look and the reading, nothing comes in."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    for folder in (outside, inside / "a"):
        folder.mkdir(parents=True)
        (folder / "web.yaml").write_text(GOOD.format("good"))
    (outside / "web.yaml").write_text(GOOD.format("victim"))
    swapped = inside / "a" / "web.yaml" if what == "the file" else inside / "a"
    target = outside / "web.yaml" if what == "the file" else outside
    aside, link = tmp_path / "aside", tmp_path / "link"
    link.symlink_to(target)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            swapped.rename(aside)
            link.rename(swapped)
            swapped.rename(link)
            aside.rename(swapped)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        stacks = set()
        for _ in range(1000):
            read = SpecReader(inside, SecretRules()).read("a/web.yaml", 0)
            stacks.add(str(read.stack))
    finally:
        stop.set()
        swapper.join()
    assert stacks <= {"acme/web/prod-good", "None"}
