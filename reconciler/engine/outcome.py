"""What an operation's end means: drift found, remediated and kept, a stack that is to go.

`execution` lends its hands; whether the deployment has succeeded is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from reconciler import pulumi_output
from reconciler.api.types import Operation, Options
from reconciler.engine import drift
from reconciler.engine.model import Record
from reconciler.engine.store import Phase
from reconciler.engine.tools import Tools

__all__ = ["Hands", "operate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What is done for a deployment.

    `run` runs an operation on its stack and returns its exit code, None where it was not begun;
    `tail` is the end of what that printed. `remove` deletes the stack from its backend. `note`
    writes to the log. `keep` makes something durable, however long that cannot be done.
    """

    run: Callable[[Operation], int | None]
    tail: Callable[[], str]
    remove: Callable[[], bool]
    note: Callable[[str], None]
    keep: Callable[[Callable[[], None]], None]


def operate(tools: Tools, record: Record, options: Options, hands: Hands) -> bool:
    """Run the deployment's operation and what follows from its end; whether all succeeded."""
    match record.operation:
        case Operation.DETECT_DRIFT:
            return _detect(tools, record, options, hands)
        case Operation.REMEDIATE_DRIFT:
            return _remediate(tools, record, hands)
        case Operation.DESTROY if options.delete_after_destroy:
            return hands.run(record.operation) == 0 and _delete(tools, record, hands)
        case _:
            return hands.run(record.operation) == 0


def _detect(tools: Tools, record: Record, options: Options, hands: Hands) -> bool:
    found = drift.found(hands.run(Operation.DETECT_DRIFT), hands.tail())
    changes = pulumi_output.summary(hands.tail())
    phase = Phase(
        succeeded=found is not None,
        detected=bool(found),
        changes=changes,
        at=tools.clock.now(),
    )
    hands.keep(partial(tools.store.drift.record, record.id, phase, remediates=False))
    if not found:
        return found is False
    hands.note(f"Drift: {pulumi_output.told(changes) or 'changes'}")
    return not options.remediate_drift or _remediate(tools, record, hands)


def _remediate(tools: Tools, record: Record, hands: Hands) -> bool:
    succeeded = hands.run(Operation.REMEDIATE_DRIFT) == 0
    phase = Phase(
        succeeded=succeeded, changes=pulumi_output.summary(hands.tail()), at=tools.clock.now()
    )
    hands.keep(partial(tools.store.drift.record, record.id, phase, remediates=True))
    return succeeded


def _delete(tools: Tools, record: Record, hands: Hands) -> bool:
    # Forgotten before it is gone: in between, a state without resources does no harm, and a
    # stack without its state would.
    hands.keep(partial(tools.store.stacks.mark_uninitialized, record.stack))
    if not hands.remove():
        hands.note("the stack could not be deleted; its resources are destroyed")
        return False
    hands.keep(partial(tools.store.forget_stack, record.stack, record.version))
    hands.note("the stack was deleted")
    return True
