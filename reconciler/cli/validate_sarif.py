"""What `reconciler validate` finds, in SARIF 2.1.0 (OASIS): for code scanning and editors."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from reconciler import __version__
from reconciler.cli.validate_forms import plain, relative_to
from reconciler.mistakes import HELP, Mistake
from reconciler.model import Problem

__all__ = ["as_sarif"]

VERSION: Final = "2.1.0"
SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
# What relative places are relative to: by this name GitHub and others know the repository.
ROOT_ID: Final = "%SRCROOT%"
# Another way to make fingerprints gets another version, so that nobody compares the two.
FINGERPRINT: Final = "reconcilerMistake/v1"
FINGERPRINT_LENGTH: Final = 32

Object = dict[str, Any]


def as_sarif(problems: Sequence[Problem], root: Path) -> str:
    """Return a log with one run; `root` is what the files' places are told from.

    Its path is not in there: the log is the same on every machine.
    """
    seen: Counter[str] = Counter()
    log: Object = {
        "$schema": SCHEMA,
        "version": VERSION,
        "runs": [
            {
                "tool": {"driver": _driver()},
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {ROOT_ID: {"description": _text("The repository's root.")}},
                "results": [_result(problem, root, seen) for problem in problems],
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=False)


def _driver() -> Object:
    return {
        "name": "reconciler validate",
        "version": __version__,
        "rules": [_rule(mistake) for mistake in Mistake],
    }


def _rule(mistake: Mistake) -> Object:
    told = HELP[mistake]
    return {
        "id": str(mistake),
        "name": str(mistake),
        "shortDescription": _text(told.wrong),
        "fullDescription": _text(told.wrong),
        "help": _text(told.mend),
        "defaultConfiguration": {"level": "error"},
    }


def _result(problem: Problem, root: Path, seen: Counter[str]) -> Object:
    at = f"{problem.pointer}: " if problem.pointer else ""
    where = _artifact(problem.path, root)
    physical: Object = {"artifactLocation": where}
    if problem.line:
        physical["region"] = {
            "startLine": problem.line,
            "startColumn": max(problem.column, 1),
        }
    location: Object = {"physicalLocation": physical}
    if problem.pointer:
        location["logicalLocations"] = [{"fullyQualifiedName": plain(problem.pointer)}]
    return {
        "ruleId": str(problem.kind),
        "ruleIndex": list(Mistake).index(problem.kind),
        "level": "error",
        "message": _text(plain(at + problem.message)),
        "locations": [location],
        "partialFingerprints": {FINGERPRINT: _fingerprint(problem, where["uri"], seen)},
    }


def _artifact(path: Path, root: Path) -> Object:
    place = relative_to(path, root)
    escaped = quote(place.encode(errors="surrogateescape"))
    if place.startswith("/"):  # outside the repository
        return {"uri": f"file://{escaped}"}
    return {"uri": escaped, "uriBaseId": ROOT_ID}


def _fingerprint(problem: Problem, uri: str, seen: Counter[str]) -> str:
    """Name a mistake so that it is known again when lines above it come or go.

    The message is not in it, which may tell of a value or of another file. Of several that are
    the same but for that, each has its number.
    """
    what = "\n".join((str(problem.kind), uri, plain(problem.pointer)))
    seen[what] += 1
    whole = f"{what}\n{seen[what]}"
    return hashlib.sha256(whole.encode()).hexdigest()[:FINGERPRINT_LENGTH]


def _text(text: str) -> Object:
    return {"text": text}
