from __future__ import annotations

import hashlib
import hmac
import json
from urllib.parse import urlencode

import pytest

from reconciler.git.hooks import genuine, repositories

SECRET = b"0123456789abcdef0123"
BODY = b'{"repository": {"clone_url": "https://example.com/Acme/Infra.git"}}'
SIGNED = hmac.new(SECRET, BODY, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-hub-signature-256": f"sha256={SIGNED}"}, True),
        ({"x-gitea-signature": SIGNED}, True),
        ({"x-forgejo-signature": SIGNED}, True),
        ({"x-gitlab-token": SECRET.decode()}, True),
        ({}, False),
        ({"x-hub-signature-256": ""}, False),
        ({"x-hub-signature-256": "sha256="}, False),
        ({"x-hub-signature-256": f"sha256={SIGNED[:-1]}0"}, False),
        ({"x-hub-signature-256": f"sha256={SIGNED.upper()}x"}, False),
        ({"x-hub-signature": f"sha1={SIGNED}"}, False),
        ({"x-gitea-signature": "ä" * 64}, False),
        ({"x-gitlab-token": SECRET.decode()[:-1]}, False),
        ({"x-gitlab-token": ""}, False),
        ({"x-gitlab-token": SIGNED}, False),
    ],
)
def test_who_signs_is_heard(headers: dict[str, str], expected: bool) -> None:  # noqa: FBT001 - data
    """Each forge's signature is taken where it is right, and nothing else is."""
    assert genuine(headers, BODY, (b"another secret of ours", SECRET)) is expected
    assert not genuine(headers, BODY + b" ", (SECRET,)) or "x-gitlab-token" in headers
    assert not genuine(headers, BODY, (b"another secret of ours",))


@pytest.mark.parametrize(
    "event",
    [
        {"repository": {"clone_url": "https://example.com/Acme/Infra.git"}},
        {"repository": {"git_url": "git://example.com/acme/infra.git"}},
        {"repository": {"ssh_url": "git@example.com:acme/infra.git", "id": 1}},
        {"project": {"git_http_url": "https://example.com/acme/infra/"}, "repository": 1},
        {"repository": {"url": "ssh://git@example.com:2222/acme/infra"}},
    ],
)
def test_all_urls_of_a_repository_are_one(event: object) -> None:
    """Whatever form a forge gives the URL in, it names the same repository."""
    expected = {"example.com/acme/infra"}
    assert repositories("application/json", json.dumps(event).encode()) == expected
    form = urlencode({"payload": json.dumps(event)}).encode()
    assert repositories("application/x-www-form-urlencoded; charset=x", form) == expected


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"1", b"null", b"\xff", b'{"repository": null}', b'{"repository": {"url": "x"}}',
     b"[" * 200_000, b'{"repository": {"url": ["https://example.com/x"]}}', b'{"a": NaN}'],
)  # fmt: skip
def test_what_says_nothing(body: bytes) -> None:
    """A body that names no repository is none, however odd it is."""
    assert repositories("application/json", body) == frozenset()
    assert repositories("application/x-www-form-urlencoded", body) == frozenset()
