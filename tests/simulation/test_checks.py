"""What the simulation takes for granted: its short ways are the long ones, and its checks see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs
import pytest

from reconciler.adapters.status_form import render
from reconciler.api.dialects import Dialect, deployment_to_json, list_to_json
from tests.fakes.deployments_api import Record
from tests.simulation.simulation import Simulation

SCHEMA = json.loads(Path("schemas/status.schema.json").read_text())


@pytest.fixture(scope="module")
def history() -> Simulation:
    """A day with much in it."""
    one = Simulation(3, days=1)
    one.run()
    return one


def records(of: Simulation) -> list[Record]:
    return [record for found in of.world.api.records.values() for record in found]


def test_the_model_writes_what_the_dialects_do(history: Simulation) -> None:
    """What the model keeps of a deployment's JSON is what the dialects write, to the letter."""
    found = records(history)
    assert len(found) > 20
    for record in found:
        for _ in range(2):
            listed = list_to_json([record.shown], Dialect.TODAY, 10, 1)
            assert isinstance(listed, dict)
            assert record.written(Dialect.TODAY) == json.dumps(listed["deployments"][0])
            for dialect in Dialect:
                whole = deployment_to_json(record.shown, dialect) | {"latestVersion": 99}
                assert record.written(dialect, 99) == json.dumps(whole)


def spoiled(document: Any) -> Iterator[Any]:
    """Yield the document with one thing wrong in it, for each place and each kind of mistake."""
    if isinstance(document, dict):
        yield document | {"another": 1}
        for key, inner in document.items():
            yield {k: v for k, v in document.items() if k != key}
            for value in (None, 7, "text", [], {}, *spoiled(inner)):
                yield document | {key: value}
    if isinstance(document, list):
        for n, inner in enumerate(document):
            for value in (None, 7, "text", [], {}, *spoiled(inner)):
                yield [*document[:n], value, *document[n + 1 :]]


def test_the_quick_validator_is_as_strict(history: Simulation) -> None:
    """Status files with one mistake in them are refused by it where jsonschema refuses them."""
    slow = jsonschema.Draft202012Validator(SCHEMA)
    quick = jsonschema_rs.Draft202012Validator(SCHEMA)
    # The longest one says the most.
    document = max((json.loads(render(s)) for s in history.world.journal), key=len)
    verdicts = [(slow.is_valid(one), quick.is_valid(one)) for one in spoiled(document)]
    assert [one for one in verdicts if one[0] is not one[1]] == []
    assert sum(1 for valid, _ in verdicts if not valid) > 200
    assert slow.is_valid(document)
    assert quick.is_valid(document)
