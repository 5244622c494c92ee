"""What is remembered after something happened: from one status to the next. Pure.

The planner's twin: it says what to do, this says what to remember of what was done. Every
function takes the status and gives the next one; writing it is up to the caller.
"""

from reconciler.planning.transitions.creates import (
    RunName,
    Wanted,
    abandoned,
    accepted,
    adopted,
    asked_by,
    begun,
    lost,
    refused,
)
from reconciler.planning.transitions.events import (
    asked,
    clock_marked,
    double_canceled,
    double_not_canceled,
    granted,
    noticed,
    prepared,
    removal_marked,
    skipped,
    slot_taken_up,
    taken_over,
)
from reconciler.planning.transitions.notes import handled, same, stamped
from reconciler.planning.transitions.remember import remembered
from reconciler.planning.transitions.runs import (
    cancel_unanswered,
    canceling,
    concluded,
    followed,
)
from reconciler.planning.transitions.standing import set_aside, verdict

__all__ = [
    "RunName",
    "Wanted",
    "abandoned",
    "accepted",
    "adopted",
    "asked",
    "asked_by",
    "begun",
    "cancel_unanswered",
    "canceling",
    "clock_marked",
    "concluded",
    "double_canceled",
    "double_not_canceled",
    "followed",
    "granted",
    "handled",
    "lost",
    "noticed",
    "prepared",
    "refused",
    "remembered",
    "removal_marked",
    "same",
    "set_aside",
    "skipped",
    "slot_taken_up",
    "stamped",
    "taken_over",
    "verdict",
]
