"""The spec of a name whose file is gone, out of what its status remembers. Pure."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from reconciler.api.types import DeploymentRequest, GitSource, Operation, StackRef
from reconciler.jsonform import from_text, to_text
from reconciler.model import OnDelete, SecretReference, Spec, Status
from reconciler.values import replace

__all__ = ["dependencies", "may_be_there", "spec_of", "text_as_deployed", "text_of"]


def text_of(spec: Spec) -> str:
    """Write what a removed spec is destroyed by; empty where its stack would be kept."""
    return to_text(spec) if spec.on_delete is OnDelete.DESTROY else ""


def text_as_deployed(spec: Spec, known: str) -> str:
    """Write the same with the request in `known`, what is remembered by now.

    An edit of which nothing was made yet fits neither the stack nor the commit it is at.
    """
    text = text_of(spec)
    if not text or not known or text == known:
        return text
    request = _read(known).request
    return text if request == spec.request else to_text(replace(spec, request=request))


def spec_of(status: Status) -> Spec:
    """Return the spec of a name whose file is gone: what its stack was last made of.

    Where the stack is to be kept, only its name is known, and nothing can be run from it.
    """
    if status.last_good_spec:
        spec = _read(status.last_good_spec)
        destroys = replace(spec.request, operation=Operation.DESTROY)
        return replace(spec, request=destroys, schedules=(), pin=True)
    request: DeploymentRequest[SecretReference] = DeploymentRequest(
        operation=Operation.DESTROY, source=GitSource(repo_url="")
    )
    stack = StackRef.parse(status.stack)
    return Spec(name=status.name, path=Path(f"{status.name}.yaml"), stack=stack, request=request)


def dependencies(status: Status) -> tuple[str, ...]:
    """Return the names that a removed spec depended on, as far as that matters for a destroy."""
    if not status.last_good_spec:
        return ()
    return _read(status.last_good_spec).depends_on


def may_be_there(status: Status) -> bool:
    """Whether a run of ours may have made something of the stack: one that was accepted, or may be.

    One that failed half-way has made the first half. After a destroy the stack is not there, but
    that `destroyed` says.
    """
    under_way = (status.run, status.intent)
    return (
        bool(status.applied)
        or status.made
        or any(one is not None and one.operation.brings_up for one in under_way)
    )


# A pass over removed specs asks for each several times.
@lru_cache(maxsize=1024)
def _read(text: str) -> Spec:
    return from_text(Spec, text)
