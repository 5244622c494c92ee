"""Reading an organization's audit log."""

from __future__ import annotations

from reconciler.engine.service.errors import may
from reconciler.engine.store import AuditQuery, Link
from reconciler.engine.tokens import Caller, Role
from reconciler.engine.tools import Tools

__all__ = ["Audit"]


class Audit:
    """The audit log, for admins."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def page(self, caller: Caller, query: AuditQuery) -> tuple[Link, ...]:
        """Return entries of the organization that the query names, the newest first."""
        may(caller, query.organization, Role.ADMIN)
        return self._tools.store.audit.entries(query)
