"""What docs/importing.md shows is run, and comes out as it is shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.spec_together import check_together
from reconciler.adapters.specs import scan
from reconciler.cli.parser import run

PAGE = Path(__file__).resolve().parents[1] / "docs/importing.md"
BLOCK = re.compile(r"(?:^`([\w./-]+)`[^\n]*:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_is_true(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are imported by its commands; each line it shows is printed, each spec written."""
    monkeypatch.chdir(tmp_path)
    printed = ""
    ran = specs = 0
    for name, kind, text in BLOCK.findall(PAGE.read_text()):
        if kind == "sh":
            for line in text.splitlines():
                assert run(shlex.split(line)[1:]) == 0, line
                ran += 1
            printed = capsys.readouterr().out
        elif name.startswith("deployments.d/"):
            assert text in (tmp_path / name).read_text(), name
            specs += 1
        elif name:
            (tmp_path / name).write_text(text)
        else:
            for line in text.splitlines():
                assert line in printed, line
    assert (ran, specs) == (4, 3)
    catalog = scan(tmp_path / "deployments.d", SecretRules())
    assert (catalog.problems, check_together(catalog.specs)) == ((), ())
    assert len(catalog.specs) == 4
