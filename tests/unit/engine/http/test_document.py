"""The OpenAPI document and the routes are one."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

from starlette.routing import Route

from reconciler.engine.http.app import OPERATIONS, build_app
from reconciler.engine.http.document import build
from reconciler.engine.http.schemas import SCHEMAS
from reconciler.engine.service import Service

DOCUMENT: Any = build(OPERATIONS, SCHEMAS, "1")
APP = build_app(cast("Service", None))


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield str(inner).removeprefix("#/components/schemas/")
            yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)


def test_every_route_is_in_the_document() -> None:
    """Each method of each route has its entry in an OPERATIONS beside it, and no other is there."""
    routes = [route for route in APP.routes if isinstance(route, Route)]
    served = Counter(f"{m} {r.path}" for r in routes for m in r.methods or () if m != "HEAD")
    assert Counter(f"{o.method} {o.path}" for o in OPERATIONS) == served


def test_operations_have_names_of_their_own() -> None:
    """No two operations have one id, by which `pulumi api` calls them."""
    counted = Counter(operation.id for operation in OPERATIONS)
    assert [name for name, count in counted.items() if count > 1] == []


def test_every_schema_is_used_and_there() -> None:
    """Each reference leads to a schema, and each schema is referred to."""
    used = set(references(DOCUMENT))
    assert used == set(DOCUMENT["components"]["schemas"])


def test_the_document_is_json_with_the_official_names_in_its_paths() -> None:
    """What is served can be written, and `pulumi api` finds the names it fills in."""
    text = json.dumps(DOCUMENT)
    assert "/api/stacks/{orgName}/{projectName}/{stackName}/deployments/{deploymentId}/logs" in text
    named = re.compile(r"\{(\w+)\}")
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            inside = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
            assert inside == named.findall(path)
