"""What `reconciler show` prints of a spec."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.cli import parser

DEFAULTS = """\
sourceContext:
  git: {repoUrl: https://example.com/infra.git, commit: abcdef0123}
operationContext:
  environmentVariables: {REGION: us, DB: {secret: {fromFile: db}}}
"""
WEB = """\
stack: acme/web/prod
sourceContext: {git: {repoDir: web}}
operationContext:
  environmentVariables: {REGION: eu, NOTE: "yes # no"}
schedules: [{name: nightly, cron: H 3 * * *}]
"""
SHOWN = """\
stack: acme/web/prod                        # eu/web.yaml:1
sourceContext:
  git:
    repoUrl: https://example.com/infra.git  # _defaults.yaml:2
    commit: abcdef0123                      # _defaults.yaml:2
    repoDir: web                            # eu/web.yaml:2
operationContext:
  environmentVariables:
    REGION: eu                              # eu/web.yaml:4
    DB:
      secret:
        fromFile: db                        # _defaults.yaml:4
    NOTE: "yes # no"                        # eu/web.yaml:4
schedules:
  - name: nightly                           # eu/web.yaml:5
    cron: "H 3 * * *"                       # eu/web.yaml:5

POST /api/stacks/acme/web/prod/deployments
"""
BODY = {
    "sourceContext": {
        "git": {
            "repoUrl": "https://example.com/infra.git",
            "commit": "abcdef0123",
            "repoDir": "web",
        }
    },
    "operationContext": {
        "environmentVariables": {
            "DB": {"secret": "[secret: fromFile db]"},
            "NOTE": "yes # no",
            "REGION": "eu",
            "RECONCILER_RUN_<owner>_<run>_<digest>": "1",
        }
    },
    "operation": "update",
    "inheritSettings": False,
}


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    directory = tmp_path / "specs"
    (directory / "eu").mkdir(parents=True)
    (directory / "_defaults.yaml").write_text(DEFAULTS)
    (directory / "eu" / "web.yaml").write_text(WEB)
    return directory


def test_a_spec_is_shown_with_its_origins(specs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole spec, each value with the file and line that said it, and the request."""
    assert parser.run(["show", "eu/web", "--directory", str(specs)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(SHOWN)
    assert json.loads(text.removeprefix(SHOWN)) == BODY


def test_a_spec_is_shown_as_json(specs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for programs; the preview dialect has its own path and body."""
    arguments = ["show", "eu/web", "--directory", str(specs), "-o", "json"]
    assert parser.run(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["stack"]) == ("eu/web", "acme/web/prod")
    assert found["spec"]["operationContext"]["environmentVariables"]["REGION"] == "eu"
    assert found["origins"]["/sourceContext/git/commit"] == f"{specs}/_defaults.yaml:2"
    assert found["request"]["body"] == BODY
    assert parser.run([*arguments, "--dialect", "preview"]) == 0
    request = json.loads(capsys.readouterr().out)["request"]
    assert request["path"] == "/api/preview/acme/web/prod/deployments"
    assert request["body"]["operationContext"]["operation"] == "update"


def test_a_faulty_spec_is_not_shown(specs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its mistakes are told instead, and no value of it: one may be a secret."""
    (specs / "eu/web.yaml").write_text(WEB + "labels: [hunter2]\n")
    assert parser.run(["show", "eu/web", "--directory", str(specs)]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert "eu/web.yaml:6:1: /labels: is a list" in error
    assert "hunter2" not in error


def test_a_dry_run_asks_for_a_preview(specs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is shown is what would be sent: with dryRun a preview."""
    (specs / "eu/web.yaml").write_text(WEB + "reconcile: {dryRun: true}\n")
    assert parser.run(["show", "eu/web", "--directory", str(specs), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["request"]["body"]["operation"] == "preview"


def test_a_commit_that_cannot_be_looked_up(specs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The branch is shown in its place, and why it is not known what it points to."""
    (specs / "_defaults.yaml").write_text("sourceContext: {git: {repoUrl: ./none, branch: main}}\n")
    assert parser.run(["show", "eu/web", "--directory", str(specs), "-o", "json"]) == 0
    out, error = capsys.readouterr()
    git = json.loads(out)["request"]["body"]["sourceContext"]["git"]
    assert git["branch"] == "main"
    assert git["repoUrl"] == f"file://{specs}/none"
    assert error.startswith("the commit cannot be looked up: ")


@pytest.mark.parametrize(("name", "said"), [("none", "there is no spec named 'none'")])
def test_a_name_that_is_none(
    name: str, said: str, specs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name without a file is a mistake of the command line."""
    assert parser.run(["show", name, "--directory", str(specs)]) == 2
    assert said in capsys.readouterr().err
