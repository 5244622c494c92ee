from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from reconciler.engine.runners import supervisor


def test_a_supervisor_starts_with_little() -> None:
    """It is started for every command, and brings no module that takes longer than itself."""
    directory = str(Path(supervisor.__file__).parent)
    script = (
        "import sys; sys.path.append(sys.argv[1]); import supervisor; "
        "print(*sorted({'typing', 're', 'subprocess', 'pathlib'} & set(sys.modules)))"
    )
    words = [sys.executable, "-I", "-S", "-c", script, directory]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == ""
