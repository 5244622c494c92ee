"""A `Status` as the JSON of its file, and back, exactly. Pure.

The keys are those of `schemas/status.schema.json`. Most are the fields of `model.Status`
under their own names; `observedDigest`, `observedCommit`, `observedSource` and `lastApplied`
are its `attempt`, `conditions` are in kstatus shape. `deployment` is for people and is not read
back, as is `checksum`, which tells a file that was edited or torn from one that we wrote.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from reconciler.jsonform import from_json, from_text, time_text, to_json
from reconciler.model import Run, Spec, Status

__all__ = [
    "Form",
    "OtherReleaseError",
    "checksum",
    "form_in",
    "form_of",
    "parse",
    "render",
    "status_from_json",
    "status_to_json",
]

# Another one is a file of a newer release, which an older one must not act on.
FORM_VERSION: Final = 1
_CHECKSUM: Final = "checksum"


class OtherReleaseError(ValueError):
    """A whole file, as it was written, that says more than this release knows: a newer one's."""


class Form(NamedTuple):
    """A status, what its file says, and the checksum in it: the same where all of it is."""

    status: Status
    content: bytes
    checksum: str


def render(status: Status) -> bytes:
    """Write the file's content: indented, UTF-8, with its checksum."""
    return form_of(status).content


def form_of(status: Status) -> Form:
    """Write the file's content, and tell its checksum."""
    body = status_to_json(status)
    body[_CHECKSUM] = _checksum(body)
    text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    return Form(status, text.encode("utf-8", "surrogatepass"), body[_CHECKSUM])


def parse(content: bytes) -> Status:
    """Read a file's content; ValueError where it is not one that `render` has written."""
    return form_in(content).status


def form_in(content: bytes) -> Form:
    """Read a file's content as `parse` does, and tell its checksum.

    Raises OtherReleaseError where it is as it was written, and not in this release's form.
    """
    body = json.loads(content.decode("utf-8", "surrogatepass"))
    if not isinstance(body, dict):
        raise ValueError("an object was expected")  # noqa: TRY004 - a torn file is no error of types
    found = body.pop(_CHECKSUM, "")
    if found != _checksum(body):
        raise ValueError("the checksum does not fit: the file was edited")
    try:
        status = status_from_json(body)
        if status.last_good_spec:  # what a removed spec is destroyed by, some day
            from_text(Spec, status.last_good_spec)
    except ValueError as error:
        raise OtherReleaseError(str(error)) from error
    return Form(status, content, found)


def checksum(status: Status) -> str:
    """Return the checksum that the status has in its file."""
    return _checksum(status_to_json(status))


def _checksum(body: Mapping[str, object]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def status_to_json(status: Status) -> dict[str, Any]:
    """Return the JSON object of a status."""
    plain: Any = to_json(status)
    attempt = plain.pop("attempt", None)
    conditions = plain.pop("conditions", [])
    body: dict[str, Any] = {"version": FORM_VERSION, "name": plain.pop("name")}
    for key in ("stack", "generation", "state", "reason"):
        if key in plain:
            body[key] = plain.pop(key)
    if attempt is not None:
        body["observedDigest"] = attempt["digest"]
        body["observedCommit"] = attempt["commit"]
        if "source" in attempt:
            body["observedSource"] = attempt["source"]
        body["lastApplied"] = attempt.get("fields", {})
    if conditions:
        body["conditions"] = [_condition_to_json(condition) for condition in conditions]
    shown = status.run or status.latest
    if shown is not None:
        body["deployment"] = _deployment(shown)
    body |= plain
    return body


def status_from_json(body: Mapping[str, Any]) -> Status:
    """Read what `status_to_json` wrote; ValueError where it is something else."""
    plain = dict(body)
    if plain.pop("version", None) != FORM_VERSION:
        raise ValueError("it was written by another release")
    plain.pop("deployment", None)
    if "observedDigest" in plain:
        plain["attempt"] = {
            "digest": plain.pop("observedDigest"),
            "commit": plain.pop("observedCommit", None),
            "source": plain.pop("observedSource", ""),
            "fields": plain.pop("lastApplied", None),
        }
    conditions = plain.pop("conditions", [])
    if not isinstance(conditions, list):
        raise ValueError("conditions are no list")  # noqa: TRY004 - a torn file is no error of types
    plain["conditions"] = [_condition_from_json(condition) for condition in conditions]
    return from_json(Status, plain)


def _condition_to_json(condition: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": condition["type"],
        "status": "True" if condition["status"] else "False",
        "reason": condition["reason"],
        "message": condition["message"],
        "lastTransitionTime": condition["lastTransition"],
    }


def _condition_from_json(condition: object) -> dict[str, Any]:
    plain = dict(condition) if isinstance(condition, dict) else {}
    plain["status"] = {"True": True, "False": False}.get(str(plain.get("status")))
    plain["lastTransition"] = plain.pop("lastTransitionTime", None)
    return plain


def _deployment(run: Run) -> dict[str, object]:
    body: dict[str, object] = {
        "id": run.id,
        "version": run.version,
        "operation": str(run.operation),
        "status": str(run.end or run.status),
        "url": run.url,
    }
    times = {"started": run.started, "finished": run.finished}
    return body | {key: time_text(moment) for key, moment in times.items() if moment is not None}
