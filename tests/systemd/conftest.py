"""A systemd of one's own needs root; without it, these tests are not among those that run."""

from __future__ import annotations

import os

collect_ignore = [] if os.geteuid() == 0 else ["test_build_host.py"]
