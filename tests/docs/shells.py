"""A page of docs/, followed by somebody with a terminal or two."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bash import Bash

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A deployment takes two seconds on an idle machine.
LIMIT_S = 60.0
# A look costs a third of a second of a processor.
LOOK_EVERY_S = 3.0
# What is left out of what is shown.
GAP = "…"
# What only looks may be typed again until it shows what is expected.
LOOKS = ("reconciler status", "reconciler why", "reconciler logs", "cat ", "ls ")

# What is other each time, from the longest form to the shortest.
VARYING = (
    (r"\b[0-9a-f]{40}\b|\b[0-9a-f]{12}\b", "COMMIT"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d| UTC)?", "TIME"),
    (r"\b(\w{3} )?\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?", "TIME"),
    (r"\b\w{3} \d{1,2} \w{3} \d{4}\b", "DAY"),
    (r"\b\d+ (second|minute|hour|day)s?\b", "AWHILE"),
    (r"\bprocess \d+", "PROCESS"),
    (r"\b\d+ bytes\b", "SIZE"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A block of commands, and what is shown below it; nothing where it is empty."""

    commands: str
    shown: str

    @property
    def goes_on(self) -> bool:
        """Whether it runs until Ctrl-C."""
        pattern = r"^reconciler (run (?!.*--once)|engine (serve|worker) )"
        return bool(re.search(pattern, self.commands, re.MULTILINE))

    @property
    def only_looks(self) -> bool:
        return all(line.startswith(LOOKS) for line in self.commands.splitlines())


def steps(text: str) -> Iterator[Step]:
    """Yield a page's blocks of commands; a text after one, before the next, is its output."""
    found = BLOCK.findall(text)
    following = [*found[1:], ("", "")][: len(found)]
    for (kind, block), (next_kind, next_block) in zip(found, following, strict=True):
        if kind == "sh":
            yield Step(commands=block, shown=next_block if next_kind == "text" else "")


def plain(text: str) -> list[str]:
    """Return a text's lines without what varies, nor what only sets them apart."""
    for pattern, name in VARYING:
        text = re.sub(pattern, name, text)
    return [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]


def fits(shown: str, printed: str) -> bool:
    """Say whether a text is what was printed; a line of … stands for any lines."""
    # A day of a calendar has a line of its own, and two of them may be one.
    lines = [line for line in plain(printed) if line != "DAY"]
    parts: list[list[str]] = [[]]
    for line in plain(shown):
        if line == GAP:
            parts.append([])
        elif line != "DAY":
            parts[-1].append(line)
    at = 0
    for number, part in enumerate(parts):
        last = len(lines) - len(part)
        places = range(at, last + 1) if number else range(min(1, last + 1))
        if number and number == len(parts) - 1 and part:
            places = range(max(at, last), last + 1)
        found = next((place for place in places if lines[place : place + len(part)] == part), None)
        if found is None:
            return False
        at = found + len(part)
    return len(parts) > 1 or at == len(lines)


def person() -> dict[str, str]:
    """Return what a person's shell has, and nothing that would change what is shown."""
    passed = ("HOME", "LANG", "PATH", "XDG_CACHE_HOME", "TMPDIR")
    return {name: os.environ[name] for name in passed if name in os.environ}


class Shell:
    """A terminal: what one block leaves (folder, variables) the next one finds."""

    def __init__(self, folder: Path, start: Path, replaced: Mapping[str, str]) -> None:
        self._state = folder / "shell"
        self._state.write_text(f"cd {start}\n")
        self._replaced = replaced
        self._bash = Bash(folder, person(), folder, LIMIT_S)
        self.said, self.stop = self._bash.said, self._bash.stop

    def here(self, text: str) -> str:
        """Return a text of the page as it is in this test's folders."""
        for shown, real in self._replaced.items():
            text = text.replace(shown, real)
        return text

    def _script(self, commands: str) -> str:
        return f"source {self._state}\n{self.here(commands)}"

    def run(self, commands: str) -> str:
        """Run a block to its end, and return what it printed."""
        keep = f'\n{{ export -p; echo cd "$PWD"; }} > {self._state}\n'
        printed = self._bash.run(self._script(commands) + keep)
        return re.sub(r"\x1b\[[0-9;]*m", "", printed)

    def follow(self, step: Step) -> None:
        """Run a block, and hold what it prints to what is shown; what looks may look again."""
        deadline = time.monotonic() + LIMIT_S
        printed = self.run(step.commands)
        while step.shown and not fits(self.here(step.shown), printed):
            late = time.monotonic() > deadline or not step.only_looks
            assert not late, f"{step.commands}\n{printed}\nin place of\n{step.shown}\n{self.said()}"
            time.sleep(LOOK_EVERY_S)
            printed = self.run(step.commands)

    def start(self, commands: str, start: Path, expected: str) -> None:
        """Start a block in a second terminal, and wait for what it says first."""
        self._bash.start(self._script(f"cd {start}\n{commands}"), expected)
