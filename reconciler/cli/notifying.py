"""Puts together who is told of what happens, as the host's config says."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from reconciler import log_output
from reconciler.adapters.credentials import SecretReader
from reconciler.clock import SystemClock
from reconciler.errors import SecretUnavailableError

if TYPE_CHECKING:
    from reconciler.adapters.courier import Sender
    from reconciler.adapters.host_news import Target
    from reconciler.api.types import Secret
    from reconciler.cli.wiring import Place
    from reconciler.model import News

__all__ = ["sending"]

# How long a command that ends waits for what it has to tell; the rest goes with the next one.
DRAIN = timedelta(seconds=20)


@contextmanager
def sending(where: Place, *, drain: bool) -> Iterator[None]:
    """Send what is in the outbox within; with `drain` wait at the end for what was put in."""
    if not where.config.targets:
        yield
        return
    from reconciler.adapters.courier import Courier, Surroundings  # noqa: PLC0415 - seldom needed

    outbox, clock = where.outbox(), SystemClock()
    reader = SecretReader(where.rules, os.environ, clock)
    log_output.hide(reader.values)
    senders = {t.name: _Lazy(t, reader) for t in where.config.targets}
    outbox.keep_only(senders)
    around = Surroundings(outbox=outbox, clock=clock, meter=where.meter, jitter=random.random)
    courier = Courier(senders, around)
    where.meter.ask(courier.readings)
    courier.start()
    try:
        yield
    finally:
        courier.close(DRAIN if drain else timedelta(0))


class _Lazy:
    """A sender whose libraries are loaded when it first sends."""

    def __init__(self, target: Target, reader: SecretReader) -> None:
        self._target = target
        self._reader = reader
        self._sender: Sender | None = None

    def send(self, news: News) -> None:
        """Send."""
        if self._sender is None:
            self._sender = _sender(self._target, self._secret)
        self._sender.send(news)

    def _secret(self) -> Secret:
        from reconciler.adapters.courier import NotSentError  # noqa: PLC0415 - loaded by now

        try:
            return self._reader.read(self._target.secret)
        except SecretUnavailableError as error:
            raise NotSentError(str(error)) from None


def _sender(target: Target, secret: Callable[[], Secret]) -> Sender:
    if target.service == "apprise":
        from reconciler.adapters.news_apprise import Apprise  # noqa: PLC0415 - takes 20 MB

        return Apprise(url=secret, texts=target.texts)
    from reconciler.adapters.news_http import GitHub, GitLab, Webhook  # noqa: PLC0415 - 100 ms

    if target.service == "webhook":
        return Webhook(url=target.url, secret=secret)
    forge = GitHub if target.service == "github" else GitLab
    return forge(url=target.url, token=secret, repository=target.repository, context=target.context)
