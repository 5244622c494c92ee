"""The list of all items: which of them are shown, on which page, and how many stand how. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reconciler.console.values import Item, Tone

__all__ = ["Asked", "Count", "Overview", "chosen", "overview"]

# Fits a few screens, and is written within milliseconds.
PAGE_SIZE: Final = 50

# Longer ones find nothing that a shorter one would not.
LONGEST_QUERY: Final = 200

_NEEDS: Final = "needs a person"
_BENEATH: Final = "suspended, and needs a person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person looks for: words, a state or what needs a person, and which page, from 1."""

    words: str = ""
    state: str = ""
    page: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many stand so; `state` is empty for all of them."""

    label: str
    state: str
    number: int
    tone: Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A page of the list. `found` is how many fit what was asked for, of `total`."""

    asked: Asked
    counts: tuple[Count, ...]
    rows: tuple[Item, ...]
    found: int
    total: int
    pages: int

    @property
    def first(self) -> int:
        """The place of the first row, from 1; 0 where there is none."""
        return (self.asked.page - 1) * PAGE_SIZE + 1 if self.rows else 0

    @property
    def last(self) -> int:
        """The place of the last row."""
        return self.first + len(self.rows) - 1 if self.rows else 0


def overview(items: Sequence[Item], asked: Asked) -> Overview:
    """Return the page that was asked for; the last one where there are fewer."""
    found = chosen(items, asked)
    pages = max(-(-len(found) // PAGE_SIZE), 1)
    page = min(max(asked.page, 1), pages)
    begin = (page - 1) * PAGE_SIZE
    return Overview(
        asked=Asked(words=asked.words, state=asked.state, page=page),
        counts=_counts(items),
        rows=tuple(found[begin : begin + PAGE_SIZE]),
        found=len(found),
        total=len(items),
        pages=pages,
    )


def chosen(items: Sequence[Item], asked: Asked) -> Sequence[Item]:
    """Return the items that fit: of the state, and with each of the words somewhere in them."""
    found = items
    if asked.state == _NEEDS:
        found = [item for item in found if item.tone is Tone.PERSON]
    elif asked.state == _BENEATH:
        found = [item for item in found if item.beneath]
    elif asked.state:
        found = [item for item in found if item.state == asked.state]
    for word in asked.words[:LONGEST_QUERY].casefold().split():
        found = [item for item in found if _has(item, word)]
    return found


def _has(item: Item, word: str) -> bool:
    return (
        word in item.name.casefold()
        or word in item.stack.casefold()
        or word in item.reason.casefold()
        or word in {item.state.casefold(), item.beneath.casefold()}
    )


def _counts(items: Sequence[Item]) -> tuple[Count, ...]:
    """Count each item once by its state; beside that, those that need a person, or would."""
    tones: dict[str, Tone] = {}
    numbers: Counter[str] = Counter()
    needing = 0
    for item in items:
        numbers[item.state] += 1
        if item.tone is Tone.PERSON:
            needing += 1
        else:
            tones.setdefault(item.state, item.tone)
    order = tuple(Tone)
    states = sorted(numbers, key=lambda s: (order.index(tones.get(s, Tone.PERSON)), s))
    counts = [Count(label="All", state="", number=len(items), tone=Tone.RESTS)]
    if needing:
        counts.append(Count(label="Needs you", state=_NEEDS, number=needing, tone=Tone.PERSON))
    beneath = sum(1 for item in items if item.beneath)
    if beneath:
        label = "Suspended, and would need you"
        counts.append(Count(label=label, state=_BENEATH, number=beneath, tone=Tone.PERSON))
    counts += (
        Count(label=s, state=s, number=numbers[s], tone=tones.get(s, Tone.PERSON)) for s in states
    )
    return tuple(counts)
