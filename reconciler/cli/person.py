"""Who runs a command, for what is kept of it: an approval, a trigger, an audit entry."""

from __future__ import annotations

import os
import pwd
import re
from typing import Final

__all__ = ["who"]

_UID: Final = re.compile("[0-9]{1,10}")


def who() -> str:
    """Return the name of the person who runs this command, or the number where they have none.

    As root it is the one who called `sudo`. No other variable is asked: whoever runs a command
    could set one to another name.
    """
    uid = os.environ.get("SUDO_UID", "") if os.getuid() == 0 else ""
    number = int(uid) if _UID.fullmatch(uid) else os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except (KeyError, OverflowError):
        return str(number)
