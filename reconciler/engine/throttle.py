"""Says how long somebody has to wait who has failed too often. Pure: the time is given.

For each address one number is kept, the moment until which its failures so far are paid for;
a failure costs the same however they are spread.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from ipaddress import IPv6Address, IPv6Network, ip_address

__all__ = ["Throttle", "neighbourhood"]

# So many addresses are remembered, a megabyte; who has more of them meets the limit over all.
MOST_ADDRESSES = 10_000

# How much all addresses together may fail, of what one may.
ALL_OVER_ONE = 10

# Nobody owes more: where somebody does, the clock was set back.
LARGEST_DEBT = timedelta(minutes=2)

_ALL = "*"


class Throttle:
    """Counts failures, by address and in all; not for several threads at once."""

    def __init__(self, per_minute: int) -> None:
        """Let each address fail so often in a minute, at once or spread."""
        self._costs = {
            True: timedelta(minutes=1) / per_minute,
            False: timedelta(minutes=1) / (per_minute * ALL_OVER_ONE),
        }
        self._paid_at: OrderedDict[str, datetime] = OrderedDict()

    def failed(self, address: str, now: datetime) -> None:
        """Count one more failure."""
        for key in (address, _ALL):
            paid_at = max(self._paid_at.get(key, now), now)
            paid_at += self._costs[key != _ALL]
            self._paid_at[key] = min(paid_at, now + LARGEST_DEBT)
            self._paid_at.move_to_end(key)
        if len(self._paid_at) > MOST_ADDRESSES:
            self._paid_at.popitem(last=False)

    def wait(self, address: str, now: datetime) -> timedelta:
        """Return how long this address has to wait before it may fail again; zero: not."""
        longest = timedelta()
        for key in (address, _ALL):
            debt = self._paid_at.get(key, now) - now
            if debt > LARGEST_DEBT:
                del self._paid_at[key]
                continue
            allowed = timedelta(minutes=1) - self._costs[key != _ALL]
            longest = max(longest, debt - allowed)
        return longest


def neighbourhood(address: str) -> str:
    """Return what counts as one address: for IPv6 the network that one customer is given."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(IPv6Network((found, 64), strict=False))
    return str(found)
