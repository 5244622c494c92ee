"""What is worth telling people of, and what a message about it may say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = ["News", "NewsKind"]


class NewsKind(StrEnum):
    """What has happened."""

    FAILED = "failed"  # a run failed, the first since one succeeded
    STALLED = "stalled"  # a person is needed: nothing more is tried, or it cannot be
    DRIFT = "drift"  # what is there is other than the state says
    APPROVAL = "approval"  # a person is asked to approve something
    RECOVERED = "recovered"  # what was told of by one of the first three is over
    SUCCEEDED = "succeeded"  # a run brought a stack to what its spec wants


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """One thing to tell. Never holds a secret.

    `id` is the same whenever the same thing is found again. `name` and `stack` are empty where
    it is about many specs; `message` is for a person. `repository` is the host and path of the
    spec's repository, empty where it has none of a forge.
    """

    id: str
    kind: NewsKind
    name: str
    stack: str
    at: datetime
    state: str
    reason: str
    message: str
    version: int = 0
    operation: str = ""
    commit: str = ""
    url: str = ""
    repository: str = ""

    def words(self) -> Mapping[str, str]:
        """Return what a template may name, each with its text."""
        organization, _, rest = self.stack.partition("/")
        project, _, stack = rest.partition("/")
        return {
            "id": self.id,
            "kind": str(self.kind),
            "name": self.name or "several specs",
            "stack": self.stack,
            "organization": organization,
            "project": project,
            "stackName": stack,
            "at": f"{self.at:%Y-%m-%d %H:%M:%S}Z",
            "state": self.state,
            "reason": self.reason,
            "message": self.message,
            "version": str(self.version) if self.version else "",
            "operation": self.operation,
            "commit": self.commit,
            "shortCommit": self.commit[:12],
            "url": self.url,
        }
