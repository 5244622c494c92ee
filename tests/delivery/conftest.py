"""The wheel, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.package import build_wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel's path; the clone that it was built from is `source` beside its folder."""
    return build_wheel(tmp_path_factory.mktemp("package"))
