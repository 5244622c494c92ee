"""What every route reads of a request: who asks, for which stack, with which body."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from reconciler.api.types import StackRef
from reconciler.engine.http import body
from reconciler.engine.service import AnswerError
from reconciler.engine.tokens import Caller

__all__ = [
    "LARGEST_NUMBER",
    "caller_of",
    "check_names",
    "number_in",
    "organization_of",
    "read_body",
    "stack_of",
    "whole",
]

# Beyond this no list and no log goes; SQLite's integers go further.
LARGEST_NUMBER = 2**53


def caller_of(request: Request) -> Caller:
    """Return who asks: whom the guard has let in."""
    caller: Caller = request.state.caller
    return caller


async def read_body(request: Request) -> bytes:
    """Read the whole body of a request, within the limits."""
    try:
        return await body.read(
            request.stream(),
            request.headers.get("content-length", ""),
            request.headers.get("content-encoding", ""),
        )
    except ClientDisconnect:
        raise AnswerError(400, "the client went away before its body was all here") from None


def stack_of(request: Request) -> StackRef:
    """Return the stack of the path; one with an impossible name does not exist."""
    path = request.path_params
    stack = StackRef(path["organization"], path["project"], path["stack"])
    check_names(stack)
    return stack


def organization_of(request: Request) -> str:
    """Return the organization of the path; one with an impossible name does not exist."""
    name = str(request.path_params["organization"])
    if not StackRef.is_name(name):
        raise AnswerError(404, "not found")
    return name


def check_names(stack: StackRef) -> None:
    """Answer 404 for a stack with an impossible name."""
    if not all(map(StackRef.is_name, (stack.organization, stack.project, stack.stack))):
        raise AnswerError(404, "not found")


def whole(request: Request, name: str, default: int, bounds: tuple[int, int]) -> int:
    """Read a whole number from the query; 400 where it is none or out of bounds."""
    text = request.query_params.get(name)
    if text is None:
        return default
    low, high = bounds
    found = number_in(text, low, high)
    if found is not None:
        return found
    wanted = f"{low}" if low == high else f"a whole number from {low} to {high}"
    raise AnswerError(400, f"{name}: {text[:40]!r} is not {wanted}")


def number_in(text: str, low: int, high: int) -> int | None:
    """Return the whole number that a text is; None where it is none, or out of bounds."""
    # Whoever writes more digits than the largest has does not mean a number.
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(LARGEST_NUMBER)):
        return None
    return int(text) if low <= int(text) <= high else None
