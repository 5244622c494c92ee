"""Who runs what, a row a deployment: a worker, and a number that fences off those before it.

Whoever takes a deployment, to run it or to settle what a lost worker has left, counts its
fence up. All that is written of a run afterwards carries the fence, and is refused when it is
no longer the newest: a worker that was believed lost and is not can change nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from reconciler.engine.store.columns import METADATA
from reconciler.errors import ReconcilerError

__all__ = ["Claim", "FencedError", "check_claim", "claim_of", "is_newest", "take_claim"]

_claims = sa.Table(
    "claims",
    METADATA,
    sa.Column("deployment", sa.Text, primary_key=True),
    sa.Column("worker", sa.BigInteger, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A deployment in the hands of a worker; worker 0 is an engine that is alone."""

    deployment_id: str
    worker: int = 0
    fence: int = 0


class FencedError(ReconcilerError):
    """A deployment was taken over by another worker: this one may write nothing more of it."""


def claim_of(connection: sa.Connection, deployment_id: str) -> Claim:
    """Return the newest claim; fence 0 where there was none yet."""
    row = connection.execute(
        sa.select(_claims).where(_claims.c.deployment == deployment_id)
    ).one_or_none()
    if row is None:
        return Claim(deployment_id=deployment_id)
    return Claim(deployment_id=deployment_id, worker=row.worker, fence=row.fence)


def take_claim(connection: sa.Connection, deployment_id: str, worker: int) -> Claim:
    """Give a deployment to a worker. The caller has locked the deployment's row."""
    before = claim_of(connection, deployment_id)
    values = {"worker": worker, "fence": before.fence + 1}
    if before.fence:
        connection.execute(
            sa.update(_claims).where(_claims.c.deployment == deployment_id).values(values)
        )
    else:
        connection.execute(sa.insert(_claims).values(deployment=deployment_id, **values))
    return Claim(deployment_id=deployment_id, worker=worker, fence=before.fence + 1)


def check_claim(connection: sa.Connection, claim: Claim) -> None:
    """FencedError where the claim is not the newest. The caller has locked the deployment's row."""
    newest = claim_of(connection, claim.deployment_id)
    if newest != claim:
        raise FencedError(
            f"deployment {claim.deployment_id} was taken over by worker {newest.worker}"
        )


def is_newest(claim: Claim) -> sa.ColumnElement[bool]:
    """Return the condition that a claim is the newest, for a statement of its own."""
    return sa.exists().where(
        _claims.c.deployment == claim.deployment_id,
        _claims.c.worker == claim.worker,
        _claims.c.fence == claim.fence,
    )
