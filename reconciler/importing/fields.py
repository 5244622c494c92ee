"""Takes the fields of an object one by one; what nobody took is not lost in silence. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from reconciler.api.wire import Pointer
from reconciler.importing.draft import SHELL_OPEN, Draft

__all__ = ["NO_REASONS", "Fields", "is_nothing"]

NO_REASONS: Final[Mapping[str, str]] = MappingProxyType({})
# Kubernetes reads YAML 1.1, where these are booleans too.
_TRUE: Final = frozenset({"true", "yes", "on", "y"})
_FALSE: Final = frozenset({"false", "no", "off", "n"})


def is_nothing(value: object) -> bool:
    """Whether a value says nothing: null, false, empty, or only such values."""
    match value:
        case None | False | "":
            return True
        case dict():
            return all(is_nothing(below) for below in value.values())
        case list():
            return not value
    return False


class Fields:
    """The fields of one object of the input, at `at`."""

    def __init__(self, draft: Draft, value: object, at: Pointer) -> None:
        self.draft = draft
        self.at = at
        self.left: dict[str, object] = {}
        if isinstance(value, dict):
            self.left = {str(key): below for key, below in value.items()}
        elif not is_nothing(value):
            draft.lose(at, "is no object")

    def take(self, key: str) -> object:
        """Return whatever stands at a key; None where nothing does."""
        return self.left.pop(key, None)

    def place(self, key: str) -> Pointer:
        """Return where a key stands."""
        return (*self.at, key)

    def below(self, key: str) -> Fields:
        """Return the fields of an object below."""
        return Fields(self.draft, self.take(key), self.place(key))

    def text(self, key: str) -> str:
        """Return a text; a number or boolean as it is written, and empty where there is none."""
        return self.as_text(self.take(key), self.place(key))

    def as_text(self, value: object, at: Pointer) -> str:
        """Read a text that stands at a place."""
        match value:
            case None:
                return ""
            case bool():
                return str(value).lower()
            case int():
                return str(value)
            case str():
                if SHELL_OPEN in value:
                    self.draft.lose(at, "a shell would have put a value here; write it in the spec")
                    return ""
                return value
        self.draft.lose(at, "is no text")
        return ""

    def texts(self, key: str) -> list[str]:
        """Return a list of texts."""
        value = self.take(key)
        at = self.place(key)
        if isinstance(value, list):
            found = [self.as_text(item, (*at, index)) for index, item in enumerate(value)]
            return [text for text in found if text]
        if not is_nothing(value):
            self.draft.lose(at, "is no list")
        return []

    def flag(self, key: str) -> bool:
        """Return a boolean; false where there is none."""
        return self.choice(key) is True

    def choice(self, key: str) -> bool | None:
        """Return a boolean; None where there is none."""
        value = self.take(key)
        if value is None or isinstance(value, bool):
            return value
        word = value.lower() if isinstance(value, str) else ""
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        self.draft.lose(self.place(key), "is neither true nor false")
        return None

    def number(self, key: str) -> int:
        """Return a number from 0 upwards; 0 where there is none."""
        text = self.text(key)
        if text and not (text.isascii() and text.isdigit() and len(text) < 10):  # noqa: PLR2004
            self.draft.lose(self.place(key), "is no number from 0 to 999999999")
            return 0
        return int(text or 0)

    def close(self, why: Mapping[str, str] = NO_REASONS) -> None:
        """Say of each field that is left that it is lost; `why` by its key where that is known."""
        for key, value in self.left.items():
            if not is_nothing(value):
                self.draft.lose(self.place(key), why.get(key, "is not known here"))
        self.left = {}
