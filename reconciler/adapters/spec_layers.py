"""A spec and the defaults above it, laid over one another: the whole, and what came from where.

Objects merge key by key, lists and scalars replace, a null removes. A secret's reference is
replaced as one, since half of one and half of another is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from posixpath import normpath
from typing import Any, NamedTuple

from reconciler.adapters.yaml_reader import ANYTHING, Document, Shape, escape
from reconciler.api.create_body import is_relative_url
from reconciler.api.wire import Pointer

__all__ = ["Layer", "Origin", "Origins", "lay_over", "one_level_down", "pointer_of"]

Tree = Mapping[str, Any]

_URLS: tuple[str, ...] = ("repoUrl", "repoURL")


class Origin(NamedTuple):
    """Where something stands; line and column from 1, 0 where the file as a whole is meant."""

    path: Path
    line: int
    column: int


class Layer(NamedTuple):
    """One file, with its places, and the tree that counts: relative URLs from where it is used."""

    path: Path
    document: Document
    tree: Tree


def pointer_of(pointer: Pointer) -> str:
    """Write a place as a JSON pointer."""
    return "".join("/" + escape(str(part)) for part in pointer)


def lay_over(below: Tree, above: Tree, shape: Shape, *, drop_nulls: bool = False) -> Tree:
    """Return what `above` says, and where it says nothing what `below` does.

    A null that has nothing to remove stays, for the schema to tell of, but with `drop_nulls`.
    """
    merged = dict(below)
    for key, value in above.items():
        inner = shape.keys.get(key) or shape.other or ANYTHING
        if value is None:
            if key in below or drop_nulls:
                merged.pop(key, None)
            else:
                merged[key] = None
        elif isinstance(value, dict) and not _whole(value, inner):
            given = merged.get(key)
            keep = given if isinstance(given, dict) and not _whole(given, inner) else {}
            merged[key] = lay_over(keep, value, inner, drop_nulls=drop_nulls)
        else:
            merged[key] = value
    return merged


def _whole(value: Tree, shape: Shape) -> bool:
    return shape.whole and not value.keys().isdisjoint(shape.keys)


def one_level_down(tree: Tree) -> Tree:
    """Return defaults as a folder below them sees them: a relative URL is from there."""
    source = tree.get("sourceContext")
    git = source.get("git") if isinstance(source, dict) else None
    if not isinstance(git, dict):
        return tree
    urls = {key: normpath(f"../{git[key]}") for key in _URLS if _relative(git.get(key))}
    if not urls or not isinstance(source, dict):
        return tree
    return {**tree, "sourceContext": {**source, "git": {**git, **urls}}}


def _relative(url: object) -> bool:
    return isinstance(url, str) and is_relative_url(url)


class Origins:
    """Tells where each part of a merged spec stands; the last layer is the spec itself."""

    def __init__(self, layers: Sequence[Layer], shape: Shape) -> None:
        self._layers = layers
        self._owners: dict[str, int] = {"": len(layers) - 1}
        # Where a layer replaces as one what those before it say below.
        self._closed: set[str] = set()
        for index, layer in enumerate(layers):
            self._claim(layer.tree, "", shape, index)

    def _claim(self, tree: Tree, at: str, shape: Shape, index: int) -> None:
        for key, value in tree.items():
            here = f"{at}/{escape(key)}"
            inner = shape.keys.get(key) or shape.other or ANYTHING
            self._owners[here] = index
            if isinstance(value, dict) and not _whole(value, inner):
                self._closed.discard(here)
                self._claim(value, here, inner, index)
            else:
                self._closed.add(here)

    def of(self, pointer: Pointer, *, key: bool = False) -> Origin:
        """Return where a place stands, or the nearest above it; with `key` where its key does."""
        path, document = self._owner(pointer)
        text = pointer_of(pointer)
        if key and text in document.keys:
            return Origin(path, *document.keys[text])
        while text not in document.places and pointer:
            pointer = pointer[:-1]
            text = pointer_of(pointer)
        return Origin(path, *document.places.get(text, (1, 1)))

    def _owner(self, pointer: Pointer) -> tuple[Path, Document]:
        at, owner = "", self._owners[""]
        for part in pointer:
            at = f"{at}/{escape(str(part))}"
            if at not in self._owners:
                break
            owner = self._owners[at]
            if at in self._closed:
                break
        layer = self._layers[owner]
        return layer.path, layer.document

    def leaves(self, tree: object, pointer: Pointer = ()) -> Iterator[tuple[Pointer, Origin]]:
        """Yield every scalar and every empty list or object of the merged tree, with its place."""
        if isinstance(tree, dict) and tree:
            for name, below in tree.items():
                yield from self.leaves(below, (*pointer, name))
        elif isinstance(tree, list) and tree:
            for index, below in enumerate(tree):
                yield from self.leaves(below, (*pointer, index))
        else:
            yield pointer, self.of(pointer)
