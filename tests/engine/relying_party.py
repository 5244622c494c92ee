"""Whoever trusts the engine's identity tokens: a relying party, and the three clouds' forms of it.

It knows an issuer by its URL alone: the keys are those that the issuer serves.
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import requests
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

__all__ = ["RefusedError", "RelyingParty", "aws", "azure", "gcp", "strict_sts"]

LIMIT_S = 30.0


class RefusedError(Exception):
    """The token is not accepted; the message says by which check."""


@dataclass(frozen=True, kw_only=True)
class RelyingParty:
    """Accepts tokens of one issuer, for one audience, about matching subjects.

    `longest_s` is the longest life a token may have, as Google bounds it; `conditions` are
    claims that must have these values.
    """

    issuer: str
    audience: str
    subject: str
    longest_s: float = 24 * 3600
    conditions: Mapping[str, str] = field(default_factory=dict)

    def check(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that is accepted; RefusedError for every other."""
        try:
            decoded = jwt.decode(token, self._keys(), algorithms=["RS256"])
        except (JoseError, ValueError, TypeError) as error:
            raise RefusedError(f"signature: {error}") from error
        claims = decoded.claims
        now = datetime.now(UTC).timestamp()
        if claims.get("iss") != self.issuer:
            raise RefusedError("issuer")
        if claims.get("aud") != self.audience:
            raise RefusedError("audience")
        if not fnmatch.fnmatchcase(str(claims.get("sub")), self.subject):
            raise RefusedError("subject")
        if not claims.get("iat", now + 1) <= now + 5:
            raise RefusedError("issued in the future")
        if claims.get("nbf", 0) > now + 5:
            raise RefusedError("not valid yet")
        if not now < claims.get("exp", 0) <= claims["iat"] + self.longest_s:
            raise RefusedError("expiry")
        if any(claims.get(name) != value for name, value in self.conditions.items()):
            raise RefusedError("condition")
        return dict(claims)

    def _keys(self) -> KeySet:
        """Fetch the keys, as the issuer's discovery document says where they are."""
        found = self._get(f"{self.issuer}/.well-known/openid-configuration")
        if found["issuer"] != self.issuer:
            raise RefusedError("the document is another issuer's")
        assert found["id_token_signing_alg_values_supported"] == ["RS256"]
        return KeySet.import_key_set(self._get(found["jwks_uri"]))

    def _get(self, url: str) -> Any:
        answer = requests.get(url, timeout=LIMIT_S)
        answer.raise_for_status()
        return answer.json()


def aws(issuer: str, organization: str, subject: str) -> RelyingParty:
    """An IAM OIDC provider and a role's trust policy: StringEquals aud, StringLike sub."""
    return RelyingParty(issuer=issuer, audience=organization, subject=subject, longest_s=12 * 3600)


def azure(issuer: str, organization: str, subject: str) -> RelyingParty:
    """A federated credential: issuer, subject and audience must be equal, with no pattern."""
    assert "*" not in subject
    return RelyingParty(issuer=issuer, audience=organization, subject=subject)


def gcp(issuer: str, organization: str, **conditions: str) -> RelyingParty:
    """A workload identity provider: an allowed audience, and conditions on attributes."""
    return RelyingParty(issuer=issuer, audience=organization, subject="*", conditions=conditions)


@contextmanager
def strict_sts(moto_url: str, party: RelyingParty) -> Iterator[str]:
    """Serve an STS that looks at the token first, as AWS does, and hands on to moto's, which
    takes any.
    """  # noqa: D205 - one sentence

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            token = parse_qs(body.decode())["WebIdentityToken"][0]
            try:
                party.check(token)
            except RefusedError as error:
                named = "InvalidIdentityToken" if "subject" not in str(error) else "AccessDenied"
                self.answer(
                    400,
                    f"<ErrorResponse><Error><Type>Sender</Type><Code>{named}</Code><Message>"
                    f"{escape(f'Not authorized: {error}')}</Message></Error></ErrorResponse>",
                )
                return
            answer = requests.post(
                moto_url, data=body, headers=dict(self.headers.items()), timeout=LIMIT_S
            )
            self.answer(answer.status_code, answer.text)

        def answer(self, status: int, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
