"""What the console shows, as values; the sources fill them in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from reconciler.api.types import Deployment, JobStatus, LogLine

__all__ = [
    "Act",
    "Change",
    "Coming",
    "Fault",
    "Held",
    "Item",
    "Lane",
    "LogPart",
    "Order",
    "Past",
    "PlanRow",
    "Plans",
    "Shown",
    "Story",
    "Tone",
    "Viewer",
]


class Tone(StrEnum):
    """What a colour says; a word always stands beside it. In the order in which people look."""

    PERSON = "person"  # goes on only when a person does something
    BAD = "bad"  # failed, and is tried again by itself
    BUSY = "busy"
    WAITS = "waits"
    UNSURE = "unsure"
    GOOD = "good"
    RESTS = "rests"  # suspended, skipped

    @classmethod
    def of_run(cls, status: JobStatus) -> Tone:
        """Return the tone of a deployment."""
        return _OF_RUNS[status]


_OF_RUNS = MappingProxyType(
    {
        JobStatus.NOT_STARTED: Tone.WAITS,
        JobStatus.ACCEPTED: Tone.WAITS,
        JobStatus.RUNNING: Tone.BUSY,
        JobStatus.FAILED: Tone.BAD,
        JobStatus.SUCCEEDED: Tone.GOOD,
        JobStatus.SKIPPED: Tone.RESTS,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who looks, by which token; `organization` is empty where they see all there is."""

    name: str
    role: str
    organization: str = ""
    address: str = ""
    key: object = field(default=None, compare=False)

    @property
    def may_act(self) -> bool:
        """Whether their role lets them change anything."""
        return self.role != "read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One spec, or one stack of an engine: how it stands and why.

    `name` is what it is called in addresses; `step` is what a person can do next, a few words.
    `version` 0: nothing was run yet. `next_note` says what the next run waits for, or why there
    is none though one is due by its schedules. `with_all`: it rests as all do, until that is
    ended for all. `beneath` is what would need a person were it not suspended: a state, or words.
    """

    name: str
    stack: str
    state: str
    tone: Tone
    code: str = ""
    reason: str = ""
    version: int = 0
    operation: str = ""
    commit: str = ""
    next_run: datetime | None = None
    next_note: str = ""
    step: str = ""
    with_all: bool = False
    beneath: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A run that has begun, or waits for its turn; without an end it goes on."""

    version: int
    operation: str
    status: str
    tone: Tone
    begun: datetime
    ended: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """A run that is due; `note` says where it does not start then, and `runs` whether it will."""

    at: datetime
    operation: str
    schedule: str
    runs: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One line of the timeline; `closed` are the stretches in which no run may start."""

    name: str
    state: str
    tone: Tone
    past: tuple[Past, ...] = ()
    coming: tuple[Coming, ...] = ()
    closed: tuple[tuple[datetime, datetime], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A field that differs: what it was and what it is to be; `note` where it is neither."""

    field: str
    old: str = ""
    new: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A mistake in a file: where it is (`file:line:column`), what is wrong, and what mends it."""

    place: str
    text: str
    mend: str


class Act(StrEnum):
    """What a person can do on a page."""

    APPROVE = "approve"
    TRIGGER = "trigger"
    CANCEL = "cancel"
    SUSPEND = "suspend"
    RESUME = "resume"
    ADOPT = "adopt"
    LET_THROUGH = "let-through"  # a change or removal of very many at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a person asks for: an empty name is all of them; `binds` is what they were shown."""

    act: Act
    name: str = ""
    operation: str = ""
    binds: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All that is known of one item.

    `faults` are the mistakes in its file that are shown, and `more_faults` how many more there are.
    `now` is what is about to be done, `following` what time and others bring, `done` what
    was, `log` the end of a failed run's log, `advice` commands and what each does. `binds` is what
    an approval is for and `approves` the same in words, `run_id` what a cancel is of; `acts` are
    those that make sense now, the most fitting first. `meant` says which of the `operations` the
    empty one is, and `runs` what the button does that starts one. `since` is when it came to stand
    so, None where it does only from this moment on.
    """

    item: Item
    since: datetime | None = None
    path: str = ""
    faults: tuple[Fault, ...] = ()
    more_faults: int = 0
    now: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    done: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    following: tuple[str, ...] = ()
    advice: tuple[tuple[str, str], ...] = ()
    history: tuple[tuple[datetime, str, int], ...] = ()
    needs: tuple[Item, ...] = ()
    needed_by: tuple[Item, ...] = ()
    lane: Lane | None = None
    acts: tuple[Act, ...] = ()
    operations: tuple[str, ...] = ()
    meant: str = ""
    runs: str = "Run now"
    binds: str = ""
    approves: str = ""
    run_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """What the next pass does about one spec, or what holds it."""

    item: Item
    does: tuple[str, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Very many changes or removals at once, which wait for a person."""

    id: str
    message: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """What would be done, and how many are as they should be.

    Of the `suspended` ones those that differ from what was deployed are among the rows, and
    `differing` counts them; `new` those that never were.
    """

    rows: tuple[PlanRow, ...] = ()
    held: tuple[Held, ...] = ()
    settled: int = 0
    suspended: int = 0
    differing: int = 0
    new: int = 0

    @property
    def tally(self) -> tuple[str, ...]:
        """What is not done, counted, in sentences."""
        found = [_counted(self.settled, "is as it should be", "are as they should be")]
        if self.suspended:
            parts = []
            if self.differing:
                from_it = "from what was deployed"
                parts.append(_counted(self.differing, f"differs {from_it}", f"differ {from_it}"))
            if self.new:
                parts.append(_counted(self.new, "was never deployed", "were never deployed"))
            told = _counted(self.suspended, "is suspended", "are suspended")
            found.append(": ".join([told, ", ".join(parts)]) if parts else told)
        return tuple(f"{sentence}." for sentence in found)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """A part of a log; an empty token says that nothing more will come."""

    lines: tuple[LogLine, ...]
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A deployment to be shown: of which item it is, and what it is for, where that is known.

    `usual` is how long others of its kind took, None where nobody knows; `reason` why it did not
    succeed, where that is remembered.
    """

    item: Item
    deployment: Deployment
    cause: str = ""
    reason: str = ""
    usual: timedelta | None = None
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
