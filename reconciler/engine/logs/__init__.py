"""The logs of deployments: appended by whoever runs one, read by line or followed by token."""

from __future__ import annotations

from reconciler.engine.logs.files import FileLogs
from reconciler.engine.logs.lines import StepLog
from reconciler.engine.logs.pages import (
    BadTokenError,
    KeptLog,
    LogPage,
    LogStore,
    StepState,
    parse_token,
    tokens_after,
)
from reconciler.engine.logs.shared import SharedLogs

__all__ = [
    "BadTokenError",
    "FileLogs",
    "KeptLog",
    "LogPage",
    "LogStore",
    "SharedLogs",
    "StepLog",
    "StepState",
    "parse_token",
    "tokens_after",
]
