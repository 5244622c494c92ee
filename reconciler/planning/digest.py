"""What of a request counts as a change, as a canonical form, its digest and its differences.

Pure. The form is flat: the field's name as in the spec → its text. A secret is a keyed hash
in it, so a rotated one is seen and never shown. What only lets us in (`gitAuth`, registry and
OIDC credentials) is not in it, nor what is at its default, so writing a default changes nothing,
nor an option that does nothing here, such as the shell of no commands.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from reconciler.api.types import MARKER_PREFIX, DeploymentRequest, Operation
from reconciler.model import SecretReference

__all__ = [
    "FORM",
    "FORM_VERSION",
    "SECRET_PREFIX",
    "changes",
    "digest",
    "fields",
    "with_operation",
]

# The name of the field that says which version of the form this is, and that version. Another
# one makes every digest another, so whoever raises it has to compare in both forms.
FORM: Final = "form"
FORM_VERSION: Final = "1"

_OPERATION: Final = "operation"

# What a secret's keyed hash begins with; a plain text that begins so gets another one before it.
SECRET_PREFIX: Final = "secret:"  # noqa: S105 - no secret itself
# A longer value is cut in a sentence about it.
MAX_SHOWN: Final = 80

# What runs the commands where the request names no shell.
_DEFAULT_SHELL: Final = "bash"
_NUMBERS: Final = re.compile(r"(\d+)")


def fields(
    request: DeploymentRequest[SecretReference], secret_hash: Callable[[SecretReference], str]
) -> dict[str, str]:
    """Return the canonical form of a request: field → text, `secret_hash` for each secret.

    Raises what `secret_hash` raises.
    """
    source = request.source
    texts = {
        _OPERATION: str(request.operation),
        "sourceContext.git.repoUrl": source.repo_url,
        "sourceContext.git.branch": source.branch_name,
        "sourceContext.git.commit": source.commit,
        "sourceContext.git.tag": source.tag,
        "sourceContext.git.repoDir": source.repo_dir,
        "executorContext.executorImage": request.executor_image,
    }
    form = {FORM: FORM_VERSION} | {name: text for name, text in texts.items() if text}
    for index, command in enumerate(request.pre_run_commands):
        form[f"operationContext.preRunCommands[{index}]"] = command
    for variable in request.environment:
        if variable.name.startswith(MARKER_PREFIX):
            continue
        value = variable.value
        form[f"operationContext.environmentVariables.{variable.name}"] = (
            _plain(value) if isinstance(value, str) else SECRET_PREFIX + secret_hash(value)
        )
    if request.skip_install_dependencies:
        form["operationContext.options.skipInstallDependencies"] = "true"
    options = request.options
    if options.shell and options.shell != _DEFAULT_SHELL and request.pre_run_commands:
        form["operationContext.options.shell"] = options.shell
    if options.delete_after_destroy and request.operation is Operation.DESTROY:
        form["operationContext.options.deleteAfterDestroy"] = "true"
    if request.inherit_settings:
        form["inheritSettings"] = "true"
    return form


def with_operation(form: Mapping[str, str], operation: Operation) -> dict[str, str]:
    """Return the form of the same request but for its operation."""
    return {**form, _OPERATION: str(operation)}


def _plain(text: str) -> str:
    """Keep a plain text from being taken for a secret's hash."""
    return f"{_PLAIN_PREFIX}{text}" if text.startswith((SECRET_PREFIX, _PLAIN_PREFIX)) else text


_PLAIN_PREFIX: Final = "text:"


def digest(form: Mapping[str, str]) -> str:
    """Return the digest of a canonical form: SHA-256, 64 hexadecimal digits."""
    text = json.dumps(dict(form), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[str, ...]:
    """Say field by field what differs, as sentences; never a secret or its hash."""
    return tuple(_sentences(old, new))


def _sentences(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys(), key=_natural):
        before, after = old.get(name), new.get(name)
        if before == after or name == FORM:
            continue
        secret = any(
            text is not None and text.startswith(SECRET_PREFIX) for text in (before, after)
        )
        if before is None or after is None:
            verb, text = ("added", after) if before is None else ("removed", before)
            yield f"{name}: {verb} (secret)" if secret else f"{name}: {verb} {_shown(text or '')}"
        elif secret:
            yield f"{name}: changed (secret)"
        else:
            yield f"{name}: {_shown(before)} → {_shown(after)}"


def _natural(name: str) -> tuple[object, ...]:
    """Sort `preRunCommands[10]` after `preRunCommands[9]`."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in _NUMBERS.split(name))


def _shown(text: str) -> str:
    text = text.removeprefix(_PLAIN_PREFIX)
    if not text:
        return "(empty)"
    if len(text) > MAX_SHOWN:
        text = text[:MAX_SHOWN] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
