"""News over HTTP: webhooks signed as Pulumi Cloud signs its own, and commit statuses of forges.

A call has a limit in time and size, follows no redirect, and its errors never tell a URL's
inside or a secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import requests

from reconciler.adapters.courier import NotSentError
from reconciler.api.types import Secret
from reconciler.jsonform import time_text
from reconciler.model import News, NewsKind

__all__ = ["GitHub", "GitLab", "Webhook"]

CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 15.0
# Of an answer nothing but its status counts.
_MOST_READ: Final = 64 << 10
# These may be otherwise the next time; what else a server refuses, it refuses again.
_PASSING: Final = frozenset({401, 403, 407, 408, 409, 423, 425, 429})
_GOOD: Final = range(200, 300)
_SERVER_ERROR: Final = 500

# GitHub's limit of a status's description; GitLab's is 255.
_LONGEST_DESCRIPTION: Final = 140
_GITHUB: Final = {
    NewsKind.FAILED: "failure",
    NewsKind.STALLED: "error",
    NewsKind.APPROVAL: "pending",
    NewsKind.RECOVERED: "success",
    NewsKind.SUCCEEDED: "success",
}
_GITLAB: Final = {
    NewsKind.FAILED: "failed",
    NewsKind.STALLED: "failed",
    NewsKind.APPROVAL: "pending",
    NewsKind.RECOVERED: "success",
    NewsKind.SUCCEEDED: "success",
}

_Secret = Callable[[], Secret]


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Posts JSON; the signature is the HMAC-SHA256 of the body in hexadecimal."""

    url: str
    secret: _Secret

    def send(self, news: News) -> None:
        """Post it; NotSentError."""
        body = json.dumps(payload(news)).encode()
        key = self.secret().value.encode()
        headers = {
            "Content-Type": "application/json",
            "Pulumi-Webhook-ID": news.id,
            "Pulumi-Webhook-Kind": str(news.kind),
            "Pulumi-Webhook-Signature": hmac.new(key, body, hashlib.sha256).hexdigest(),
        }
        _post(self.url, body, headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHub:
    """Sets the status of the commit that a run was of; news without one are none for it.

    `repository` is `owner/name`, empty for the one that the spec's source is.
    """

    url: str
    token: _Secret
    repository: str
    context: str

    def send(self, news: News) -> None:
        """Set it; NotSentError."""
        where = self.repository or _path_of(news)
        body = _status_of(news, _GITHUB, "context", self.context)
        if not body or not where:
            return
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {_plain(self.token)}",
            "Content-Type": "application/json",
        }
        url = f"{self.url}/repos/{quote(where)}/statuses/{quote(news.commit)}"
        _post(url, json.dumps(body).encode(), headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLab:
    """The same for GitLab; `repository` is a project's path."""

    url: str
    token: _Secret
    repository: str
    context: str

    def send(self, news: News) -> None:
        """Set it; NotSentError."""
        where = self.repository or _path_of(news)
        body = _status_of(news, _GITLAB, "name", self.context)
        if not body or not where:
            return
        headers = {"PRIVATE-TOKEN": _plain(self.token), "Content-Type": "application/json"}
        project = quote(where, safe="")
        url = f"{self.url}/projects/{project}/statuses/{quote(news.commit)}"
        _post(url, json.dumps(body).encode(), headers)


def payload(news: News) -> Mapping[str, object]:
    """Return what a webhook is sent, in the words of Pulumi Cloud's where it has them."""
    words = news.words()
    return {
        "id": news.id,
        "kind": str(news.kind),
        "organization": {"name": words["organization"]},
        "projectName": words["project"],
        "stackName": words["stackName"],
        "spec": news.name,
        "state": news.state,
        "reason": news.reason,
        "message": news.message,
        "operation": news.operation,
        "version": news.version,
        "commit": news.commit,
        "deploymentUrl": news.url,
        "at": time_text(news.at),
    }


def _status_of(
    news: News, states: Mapping[NewsKind, str], key: str, context: str
) -> Mapping[str, str]:
    """Return a commit's status, whose context a forge calls `key`; empty where there is none."""
    state = states.get(news.kind)
    if state is None or not news.commit:
        return {}
    body = {
        "state": state,
        key: context.replace("$name", news.name),
        "description": _description(news),
    }
    if news.url.startswith(("http://", "https://")):
        body["target_url"] = news.url
    return body


def _description(news: News) -> str:
    return " ".join(news.message.split())[:_LONGEST_DESCRIPTION]


def _path_of(news: News) -> str:
    """Return a repository's path, without its host."""
    return news.repository.partition("/")[2]


def _plain(secret: _Secret) -> str:
    value = secret().value.strip()
    if not (value.isascii() and value.isprintable()):
        # The libraries below would say so with the token in their words.
        raise NotSentError("the token holds characters that no token has")
    return value


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    try:
        with requests.post(
            url,
            data=body,
            headers={**headers, "User-Agent": "reconciler"},
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            allow_redirects=False,
            stream=True,
            auth=_NoAuth(),
        ) as answer:
            answer.raw.read(_MOST_READ)
            status = answer.status_code
    except requests.RequestException as error:
        raise NotSentError(f"there was no answer ({type(error).__name__})") from None
    except OSError as error:
        raise NotSentError(f"there was no answer ({type(error).__name__})") from None
    if status not in _GOOD:
        final = status < _SERVER_ERROR and status not in _PASSING
        raise NotSentError(f"it was answered {status}", final=final)


class _NoAuth(requests.auth.AuthBase):
    """Keeps credentials of this host's files out of the call."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request
