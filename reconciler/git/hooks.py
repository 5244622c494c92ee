"""What a forge's webhook says: whether it is genuine, and which repositories it is about. Pure.

GitHub signs a body (`X-Hub-Signature-256: sha256=…`), as do Gitea and Forgejo, also under a name
of their own and without the prefix; GitLab sends the secret itself (`X-Gitlab-Token`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs

from reconciler.git.urls import identity

__all__ = ["genuine", "repositories"]

_SIGNATURES = ("x-hub-signature-256", "x-gitea-signature", "x-forgejo-signature")
_TOKEN = "x-gitlab-token"  # noqa: S105 - a header's name
# Where forges say how a repository is reached.
_PARTS = ("repository", "project")
_KEYS = (
    "clone_url", "git_url", "ssh_url", "html_url", "url", "web_url", "homepage",
    "git_http_url", "git_ssh_url", "http_url",
)  # fmt: skip


def genuine(headers: Mapping[str, str], body: bytes, secrets: Iterable[bytes]) -> bool:
    """Whether whoever sent it knows one of the secrets; `headers` have names in lower case.

    Takes as long for a wrong signature as for a right one.
    """
    given = [headers.get(name, "").removeprefix("sha256=") for name in _SIGNATURES]
    token = headers.get(_TOKEN, "")
    found = False
    for secret in secrets:
        wanted = hmac.new(secret, body, hashlib.sha256).hexdigest().encode()
        for signature in given:
            found |= hmac.compare_digest(signature.encode(), wanted)
        found |= hmac.compare_digest(token.encode(), secret)
    return found


def repositories(content_type: str, body: bytes) -> frozenset[str]:
    """Return the identities (`urls.identity`) of what was pushed to; empty where none is told."""
    try:
        if content_type.startswith("application/x-www-form-urlencoded"):
            body = parse_qs(body.decode()).get("payload", [""])[0].encode()
        event = json.loads(body)
    except (ValueError, RecursionError):
        return frozenset()
    if not isinstance(event, dict):
        return frozenset()
    found = set()
    for inside in (event.get(part) for part in _PARTS):
        if not isinstance(inside, dict):
            continue
        for value in (inside.get(key) for key in _KEYS):
            if isinstance(value, str):
                # GitHub's `git_url` is of a scheme that is not asked, and names the same.
                found.add(identity(value.replace("git://", "https://", 1)))
    return frozenset(found - {""})
