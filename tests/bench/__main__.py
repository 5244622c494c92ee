"""Measures, as ratios in one run: `make bench`, or `make bench WHAT="deployments http"`.

Machines differ and are noisy, so nothing here is a test. Each figure stands beside a baseline
that was measured in turn with it, as the median of several rounds.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from reconciler.errors import ReconcilerError
from tests.bench import console, deployments, http, reconciler, shared, specs, startup, status
from tests.bench.figures import HEADING, Figure

Measure = Callable[[Path], Figure | tuple[Figure, ...]]

GROUPS: Mapping[str, tuple[Measure, ...]] = {
    "startup": startup.MEASURES,
    "deployments": deployments.MEASURES,
    "http": http.MEASURES,
    "shared": shared.MEASURES,
    "specs": specs.MEASURES,
    "status": status.MEASURES,
    "console": console.MEASURES,
    "reconciler": reconciler.MEASURES,
}


def main(names: list[str]) -> int:
    """Measure the groups in turn; 2 where a name is none of them."""
    unknown = sorted(set(names) - set(GROUPS))
    if unknown:
        print(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
        return 2
    print(HEADING)
    for name in names or GROUPS:
        for measure in GROUPS[name]:
            # The sandbox has a /tmp of its own, so repositories there would not be seen.
            with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
                try:
                    found = measure(Path(folder))
                    for figure in found if isinstance(found, tuple) else (found,):
                        print(figure, flush=True)
                except (ReconcilerError, subprocess.CalledProcessError) as error:
                    print(f"not measured: {error}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
