"""The command line as a page: each command with its arguments and options."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from tools.reference.markdown import MADE, anchor, code, escaped, lines, table

__all__ = ["commands", "page"]

_PLAIN = ("positional arguments", "options")
_HEAD = ("option", "what it says")
_Rows = tuple[tuple[str, str], ...]


def commands(
    parser: argparse.ArgumentParser, name: str = "reconciler"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command that does something, with its parser."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]  # noqa: SLF001 - argparse tells it nowhere else
    if not below:
        yield name, parser
    for action in below:
        for word, inner in action.choices.items():
            yield from commands(inner, f"{name} {word}")


def page(parser: argparse.ArgumentParser) -> str:
    """Return the page of a whole command line."""
    every = list(commands(parser))
    shared = _shared([found for _, found in every])
    parts: list[str | list[str]] = [
        "# Commands",
        MADE,
        (
            "What each command takes, as `--help` says it. What they are for, how they end "
            "and which variables they look at: [Operating](../operating.md)."
        ),
        (
            "A TIME is a number with `s`, `m`, `h` or `d`, such as `90s`. A SIZE is a number with "
            "`KiB`, `MiB`, `GiB` or `TiB`."
        ),
    ]
    for name, found in every:
        parts += [f"## {name}", *_command(name, found, shared)]
    parts += ["## Options of several commands"]
    for (title, rows), heading in shared.items():
        said = escaped(title[:1].upper() + title[1:])
        parts += [f"### {heading}", f"{said}:", table(_HEAD, rows)]
    return lines(*parts)


def _command(
    name: str, parser: argparse.ArgumentParser, shared: dict[tuple[str, _Rows], str]
) -> list[str | list[str]]:
    usage = [name]
    rows: list[tuple[str, str]] = []
    rest: list[str | list[str]] = []
    for group in parser._action_groups:  # noqa: SLF001 - argparse tells it nowhere else
        found = _rows(group)
        if not found:
            continue
        if group.title in _PLAIN:
            rows += found
        elif heading := shared.get((str(group.title), found)):
            rest += [f"And [{heading.lower()}](#{anchor(heading)})."]
        else:
            rest += [f"**{escaped(str(group.title))}**", table(_HEAD, found)]
    optional = any(row[0].startswith("`-") for row in rows) or bool(rest)
    usage += ["[OPTION…]"] if optional else []
    usage += [
        _argument(action)
        for action in parser._actions  # noqa: SLF001 - argparse tells it nowhere else
        if not action.option_strings
    ]
    said = escaped((parser.description or "").strip())
    return [said, ["```text", " ".join(usage), "```"], table(_HEAD, rows) if rows else "", *rest]


def _argument(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    match action.nargs:
        case "?":
            return f"[{name}]"
        case "*":
            return f"[{name}…]"
        case "+":
            return f"{name}…"
        case _:
            return name


def _rows(group: argparse._ArgumentGroup) -> _Rows:
    return tuple(
        (_invocation(action), escaped(_help(action)))
        for action in group._group_actions  # noqa: SLF001 - argparse tells it nowhere else
        if action.help is not argparse.SUPPRESS and "--help" not in action.option_strings
    )


def _invocation(action: argparse.Action) -> str:
    if not action.option_strings:
        return code(_argument(action).strip("[]"))
    names = ", ".join(action.option_strings)
    if action.nargs == 0:
        return code(names)
    choices = "|".join(map(str, action.choices or ()))
    value = str(action.metavar or choices or action.dest.upper())
    return code(f"{names} [{value}]" if action.nargs == "?" else f"{names} {value}")


def _help(action: argparse.Action) -> str:
    facts = {**vars(action), "prog": "reconciler"}
    said = (action.help or "") % facts
    if action.choices and "default" not in said and action.default not in (None, argparse.SUPPRESS):
        said += ("; " if said else "") + f"default: {action.default}"
    return said


def _shared(parsers: list[argparse.ArgumentParser]) -> dict[tuple[str, _Rows], str]:
    """Return the titled groups of options that more than one command has, with a heading each."""
    counted: dict[tuple[str, _Rows], int] = {}
    for parser in parsers:
        for group in parser._action_groups:  # noqa: SLF001 - argparse tells it nowhere else
            if group.title not in _PLAIN and (rows := _rows(group)):
                key = (str(group.title), rows)
                counted[key] = counted.get(key, 0) + 1
    found: dict[tuple[str, _Rows], str] = {}
    for key in (key for key, count in counted.items() if count > 1):
        words = key[0].split(",")[0]
        heading = f"Options of {words}"
        number = sum(other.startswith(heading) for other in found.values()) + 1
        found[key] = heading if number == 1 else f"{heading}, {number}"
    return found
