"""Who looks: the token in a cookie, and the proof that a form comes from one of our own pages.

The cookie is out of reach for scripts and is sent by our own pages only. Each form carries a
word that follows from the token, which no other page can know; beside that the browser itself
says where a request comes from.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from reconciler.console.pages import BASE
from reconciler.console.ports import Denied, Gate
from reconciler.console.values import Viewer
from reconciler.engine.service import AnswerError

__all__ = [
    "Session",
    "check_form",
    "enter",
    "from_elsewhere",
    "inside",
    "keep",
    "leave",
    "read_form",
    "session_of",
    "within",
]

COOKIE: Final = "reconciler-console"
# A form of ours is a few hundred bytes.
LARGEST_FORM: Final = 64 * 1024
MOST_FIELDS: Final = 32
LONGEST_TOKEN: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A viewer who was let in; `proof` is the word that their forms carry."""

    viewer: Viewer
    proof: str = field(repr=False)


def session_of(request: Request, gate: Gate) -> Session | Denied:
    """Return who looks, by the cookie; Denied where there is none, or no good one."""
    return enter(request, gate, request.cookies.get(COOKIE, ""))


def enter(request: Request, gate: Gate, token: str) -> Session | Denied:
    """Return whose token this is."""
    if len(token) > LONGEST_TOKEN:
        token = ""
    peer = "" if request.client is None else request.client.host
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    found = gate.admit(token, (peer, forwarded), f"{request.method} {request.url.path}")
    if isinstance(found, Denied):
        return found
    return Session(viewer=found, proof=_proof(token))


def keep(response: Response, token: str, *, secure: bool) -> None:
    """Have the browser keep a token until it is closed; `secure`: never send it in the clear."""
    response.set_cookie(
        COOKIE,
        token,
        path=BASE,
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def leave(response: Response) -> None:
    """Have the browser forget it."""
    response.delete_cookie(COOKIE, path=BASE, httponly=True, samesite="strict")


def from_elsewhere(request: Request) -> bool:
    """Whether a link of another site was followed: the browser left the cookie at home then."""
    return request.headers.get("sec-fetch-site", "") == "cross-site"


async def read_form(request: Request) -> Mapping[str, str]:
    """Read a form; AnswerError 413 or 400 for what is none of ours."""
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > LARGEST_FORM:
            raise AnswerError(413, "this form is larger than any of the console's")
    try:
        pairs = parse_qsl(
            content.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"
        )
    except ValueError:
        raise AnswerError(400, "this is no form of the console's") from None
    return dict(pairs)


def check_form(request: Request, form: Mapping[str, str], session: Session | None) -> None:
    """Refuse with 403 a form that another site has sent, or one without the proof."""
    said = request.headers.get("sec-fetch-site", "")
    origin = request.headers.get("origin", "")
    same = said == "same-origin" if said else within(origin, request.headers.get("host", ""))
    proven = session is None or hmac.compare_digest(
        form.get("proof", "").encode(), session.proof.encode()
    )
    if not (same and proven):
        message = "this was not sent by a page of the console; open the page again, and try there"
        raise AnswerError(403, message)


def within(origin: str, host: str) -> bool:
    """Whether an Origin header names this host; a browser that says neither is not believed."""
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def inside(place: str) -> str:
    """Return where to go on to, within the console; its first page for anything else."""
    fine = place.startswith(f"{BASE}/") and place.isprintable() and "\\" not in place
    return place if fine and "//" not in place else f"{BASE}/"


def _proof(token: str) -> str:
    key = token.encode("utf-8", "surrogatepass")
    return hmac.new(key, b"a form of the console", hashlib.sha256).hexdigest()
