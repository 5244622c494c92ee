"""Schemathesis, with all of its checks, over the engine's own document and the official one.

Every operation is called with what its entry allows and with what it forbids: values at their
borders, wrong types, missing and unknown keys, other methods, no and wrong tokens. Each answer
is held to the statuses, the content type and the schema that the document says.
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.api.dialects import Dialect
from reconciler.engine.http.app import OPERATIONS
from reconciler.engine.http.deployments import LARGEST_COUNT, LARGEST_PAGE
from reconciler.engine.http.document import build
from reconciler.engine.http.reading import LARGEST_NUMBER
from reconciler.engine.http.schemas import SCHEMAS
from tests.openapi.narrowing import narrowed
from tests.openapi.schemathesis_runs import (
    RULES_BEYOND_THE_SCHEMA,
    STACK_FOR_CREATES,
    STACK_FOR_SETTINGS,
    Target,
    run,
    run_accepted,
    target,
)

# A machine under load takes a while for thousands of calls.
pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

API = Path(__file__).resolve().parents[2] / "docs/api.md"
VARIABLE = "RECONCILER_OPENAPI"

# The official schema of this body does not say that there has to be a secret in it.
UNSAID = ("EncryptDeploymentSettingsSecret",)

# Bounds of numbers, which stand in the official descriptions alone, or nowhere.
BOUNDS = {
    "page": (1, LARGEST_NUMBER // LARGEST_PAGE),
    "pageSize": (1, LARGEST_PAGE),
    **dict.fromkeys(("offset", "step"), (0, LARGEST_NUMBER)),
    "job": (0, 0),
    "count": (1, LARGEST_COUNT[Dialect.TODAY]),
}

# The paths of each part of our own document, and how many cases it has at least: two thousand
# and more in all.
PARTS = {
    "preview": (r"/api/preview/", 600),
    "settings": (r"/api/stacks/.*/settings", 500),
    "stacks": (r"/api/stacks/(?!.*/settings)", 700),
    "rest": (r"(?!/api/preview/|/api/stacks/)", 200),
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """An engine for one worker's tests."""
    with target(tmp_path_factory.mktemp("engine")) as made:
        yield made


def part(document: Any, pattern: str) -> Any:
    """Return a document with those paths only."""
    paths = {path: entry for path, entry in document["paths"].items() if re.match(pattern, path)}
    return {**document, "paths": paths}


def test_the_parts_are_the_whole() -> None:
    """Each path of our document is in exactly one part."""
    for operation in OPERATIONS:
        found = [name for name, (pattern, _) in PARTS.items() if re.match(pattern, operation.path)]
        assert len(found) == 1, operation.path


@pytest.mark.parametrize("name", PARTS)
def test_our_own_document(name: str, engine: Target, tmp_path: Path) -> None:
    """What our document allows is accepted, what it forbids is refused, and answers fit it."""
    pattern, least = PARTS[name]
    document = json.loads(json.dumps(build(OPERATIONS, SCHEMAS, "1")))
    report = run(engine, part(document, pattern), tmp_path)
    assert report["test_cases"]["generated"] >= least


def test_what_our_own_document_allows_is_accepted(engine: Target, tmp_path: Path) -> None:
    """Bodies of creates, settings and schedules, of good values where a schema cannot say which."""
    document = json.loads(json.dumps(build(OPERATIONS, SCHEMAS, "1")))
    assert calls_accepted(engine, document, tmp_path, RULES_BEYOND_THE_SCHEMA) >= 100


def calls_accepted(engine: Target, document: Any, place: Path, operations: tuple[str, ...]) -> int:
    """Call these operations with bodies that are all to be accepted; return how many calls."""
    settings = tuple(name for name in operations if "Settings" in name)
    others = tuple(name for name in operations if name not in settings)
    return sum(
        run_accepted(engine, narrowed(document, names), place / stack.rpartition("/")[2], stack)
        for names, stack in ((settings, STACK_FOR_SETTINGS), (others, STACK_FOR_CREATES))
    )


def test_the_official_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The operations of the official document that are served, called by that document."""
    where = os.environ.get(VARIABLE)
    if not where:
        with capsys.disabled():
            sys.stdout.write(f"\n{VARIABLE} is not set: the official document is left out\n")
        return
    official = json.loads(Path(where).read_bytes())
    document, unserved = served_part(official)
    assert unserved == told_unserved()
    beyond = (*RULES_BEYOND_THE_SCHEMA, *UNSAID)
    with target(tmp_path / "engine") as engine:
        report = run(engine, document, tmp_path / "all", beyond)
        more = calls_accepted(engine, document, tmp_path, beyond)
    cases, operations = report["test_cases"]["generated"], report["operations"]["tested"]
    with capsys.disabled():
        sys.stdout.write(f"\n{operations} official operations, {cases} cases, no failure; ")
        sys.stdout.write(f"of bodies that are accepted {more}\n")
    assert cases >= 2000
    assert more >= 100


def served_part(official: Any) -> tuple[Any, set[str]]:
    """Return the official document with what is served here, and the ids of all else."""
    served = {operation.id for operation in OPERATIONS}
    document = copy.deepcopy(official)
    unserved: set[str] = set()
    for path, entry in official["paths"].items():
        for method, operation in entry.items():
            if operation["operationId"] not in served:
                unserved.add(operation["operationId"])
                del document["paths"][path][method]
    document["paths"] = {path: entry for path, entry in document["paths"].items() if entry}
    correct(document)
    return document, unserved


def correct(document: Any) -> None:
    """Say what the official clients send and read where the document says something else."""
    schemas = document["components"]["schemas"]
    # Both read one text; to both a list of them is an error.
    schemas["SecretValue"]["properties"]["ciphertext"] = {"type": "string"}
    # The CLI writes these two as texts as well.
    for name in ("SecretValue", "DockerImageRequest"):
        schemas[name] = {"anyOf": [schemas[name], {"type": "string"}]}
    # In a merge patch null removes a variable (RFC 7396), and of what a create inherits as well.
    for name in ("OperationContext", "OperationContextRequest"):
        variables = schemas[name]["properties"]["environmentVariables"]
        variables["additionalProperties"] = {
            "anyOf": [variables["additionalProperties"], {"enum": [None]}]
        }
    for entry in document["paths"].values():
        for operation in entry.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "query" and parameter["name"] in BOUNDS:
                    least, most = BOUNDS[parameter["name"]]
                    parameter["schema"] |= {"minimum": least, "maximum": most}
    # The Python client writes null for all that it leaves out, the CLI for the agent pool.
    for schema in schemas.values():
        for part in (schema, *schema.get("allOf", ()), *schema.get("anyOf", ())):
            for key, inner in part.get("properties", {}).items():
                part["properties"][key] = {"anyOf": [inner, {"enum": [None]}]}


def told_unserved() -> set[str]:
    """Return the ids that docs/api.md says are not served."""
    section = API.read_text().partition("## What is not served")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))


def test_what_is_told_to_be_unserved_is() -> None:
    """Each operation that docs/api.md gives a reason against is indeed not served."""
    told = told_unserved()
    assert told
    assert told & {operation.id for operation in OPERATIONS} == set()
