"""What callers can do with an engine, a module an area, a method each; no HTTP and no SQL.

Whoever asks has been recognised; what they may not see does not exist for them. An
`AnswerError` carries the status and the words that they are answered with.
"""

from __future__ import annotations

from reconciler.engine.queue import Queue
from reconciler.engine.service.access import Access
from reconciler.engine.service.audit import Audit
from reconciler.engine.service.caches import Caches
from reconciler.engine.service.deployments import Deployments, ListedPage
from reconciler.engine.service.drift import Drift
from reconciler.engine.service.errors import AnswerError
from reconciler.engine.service.logs import Logs, StepWindow
from reconciler.engine.service.pauses import Pauses
from reconciler.engine.service.schedules import Schedules, ShownSchedule, Wanted
from reconciler.engine.service.settings import Settings, ShownSettings
from reconciler.engine.service.stacks import Stacks
from reconciler.engine.service.user_tokens import UserTokens
from reconciler.engine.tokens import Tokens
from reconciler.engine.tools import Tools

__all__ = [
    "AnswerError",
    "ListedPage",
    "Service",
    "ShownSchedule",
    "ShownSettings",
    "StepWindow",
    "Wanted",
]


class Service:
    """The use cases of one engine, by their areas. Any thread may call any method."""

    def __init__(self, tools: Tools, queue: Queue, tokens: Tokens) -> None:
        self.base_url = tools.base_url
        # Whether the database is a file of this process's own, and answers in microseconds.
        self.reads_at_once = not tools.store.shared
        self.issuer = None if tools.oidc is None else tools.oidc.issuer
        self.deployments = Deployments(tools, queue)
        self.drift = Drift(tools)
        self.caches = Caches(tools)
        self.logs = Logs(tools, self.deployments)
        self.pauses = Pauses(tools, queue, self.drift)
        self.settings = Settings(tools, self.deployments.policy)
        self.schedules = Schedules(tools, queue, self.settings, self.deployments.policy)
        self.stacks = Stacks(tools)
        self.access = Access(tools, tokens)
        self.tokens = UserTokens(tools, tokens)
        self.audit = Audit(tools)
