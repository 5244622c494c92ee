"""News by apprise: Slack, Teams, mail and everything else that it knows. Its one user.

It is loaded when the first news are sent: with its hundred services it takes 20 MB.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import apprise

from reconciler.adapters.courier import NotSentError
from reconciler.adapters.news_texts import Texts
from reconciler.api.types import Secret
from reconciler.model import News, NewsKind

__all__ = ["Apprise"]

# Its services' own limits are for each try and each address.
_LIMIT_S: Final = 25.0

_TYPES: Final = {
    NewsKind.FAILED: apprise.NotifyType.FAILURE,
    NewsKind.STALLED: apprise.NotifyType.FAILURE,
    NewsKind.DRIFT: apprise.NotifyType.WARNING,
    NewsKind.APPROVAL: apprise.NotifyType.WARNING,
    NewsKind.RECOVERED: apprise.NotifyType.SUCCESS,
    NewsKind.SUCCEEDED: apprise.NotifyType.SUCCESS,
}

# It tells of each sending, with parts of addresses in it; what counts we say ourselves.
logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Apprise:
    """Sends to one of apprise's URLs, which as a whole is a secret."""

    url: Callable[[], Secret]
    texts: Texts

    def send(self, news: News) -> None:
        """Send it; NotSentError, which apprise gives no reason for."""
        sender = apprise.Apprise(asset=apprise.AppriseAsset(app_id="reconciler", app_desc=""))
        if not sender.add(self.url().value.strip()):
            raise NotSentError("apprise does not understand the URL")
        result = sender.notify(
            body=self.texts.body_of(news),
            title=self.texts.title_of(news),
            notify_type=_TYPES[news.kind],
            body_format=apprise.NotifyFormat.TEXT,
            interpret_escapes=False,
            timeout=_LIMIT_S,
        )
        result.close()
        if not result:
            raise NotSentError(f"apprise could not send it ({sender[0].service_name})")
