"""How long the other side is left alone, and how far clocks are believed: said once, for all."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

__all__ = ["CLOCK_TOLERANCE", "LOCK_LONGEST", "LONGEST_RETRY_AFTER", "PROBE_AFTER"]

# A token, an organization or a stack that was refused is tried again once a minute, where the
# API does not say itself when to come back; what it says is kept, up to an hour.
PROBE_AFTER: Final = timedelta(minutes=1)
LONGEST_RETRY_AFTER: Final = timedelta(hours=1)

# A lock is looked at again after 1, 2, 4 … minutes, up to this.
LOCK_LONGEST: Final = timedelta(minutes=30)

# Two machines' clocks, or one that is slewed, differ by less: more was a clock set back.
CLOCK_TOLERANCE: Final = timedelta(seconds=2)
