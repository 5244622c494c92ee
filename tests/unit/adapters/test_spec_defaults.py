"""What a `_defaults.yaml` says counts for all specs below it, and every mistake has its file."""

from __future__ import annotations

import random
from pathlib import Path

import jsonschema
import pytest
import yaml

from reconciler.adapters import yaml_reader
from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.spec_layers import lay_over, pointer_of
from reconciler.adapters.spec_schema import SPEC
from reconciler.adapters.spec_together import check_together
from reconciler.adapters.specs import Explained, SpecReader, explain, read_file, scan
from reconciler.adapters.yaml_plain import read_plain
from reconciler.model import Catalog, SecretReference, Spec
from tests.unit.adapters.test_specs import DEFAULTS, FULL, RULES, small
from tools.make_schemas import made

TOP = """\
sourceContext:
  git: {repoUrl: .., branch: main}
operationContext:
  environmentVariables:
    REGION: us
    LEVEL: info
    DB: {secret: {fromFile: db}}
labels: {team: web, tier: one}
schedules:
  - {name: nightly, cron: 0 3 * * *}
reconcile: {timeout: 2h, retry: {limit: 5}}
"""
EU = """\
operationContext:
  environmentVariables: {REGION: eu}
labels: {tier: null}
"""
WEB = """\
stack: acme/web/prod
sourceContext: {git: {repoDir: web}}
operationContext:
  environmentVariables:
    LEVEL: null
    DB: {secret: {fromEnv: RECONCILER_SECRET_DB}}
schedules: []
reconcile: {retry: {backoff: 10s}}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a directory with defaults in two of its folders, and a spec below both."""
    specs = tmp_path / "specs"
    (specs / "eu" / "west").mkdir(parents=True)
    (specs / "_defaults.yaml").write_text(TOP)
    (specs / "eu" / "_defaults.yaml").write_text(EU)
    (specs / "eu" / "west" / "web.yaml").write_text(WEB)
    return specs


def lines(catalog: Catalog, directory: Path) -> list[str]:
    return [str(problem).replace(f"{directory}/", "") for problem in catalog.problems]


def test_defaults_are_merged(tree: Path) -> None:
    """Objects merge, lists and scalars replace, null removes, a secret is replaced as one."""
    (spec,) = scan(tree, RULES).specs
    assert spec.name == "eu/west/web"
    variables = {v.name: v.value for v in spec.request.environment}
    assert variables == {"REGION": "eu", "DB": SecretReference("fromEnv", "RECONCILER_SECRET_DB")}
    assert spec.labels == {"team": "web"}
    assert spec.schedules == ()
    assert (spec.retry.limit, spec.retry.backoff.total_seconds()) == (5, 10)
    assert spec.timeout.total_seconds() == 7200
    assert spec.request.source.branch == "main"
    assert spec.request.source.repo_dir == "web"


def test_a_relative_url_is_relative_to_its_file(tree: Path) -> None:
    """The repository that the defaults name by a path is the same one for every spec below."""
    (tree / "near.yaml").write_text("stack: acme/near/prod\n")
    deep, near = scan(tree, RULES).specs
    assert near.request.source.repo_url == ".."
    assert (deep.base / deep.request.source.repo_url).resolve() == tree.parent.resolve()


def test_where_each_value_comes_from(tree: Path) -> None:
    """Each part of the merged spec has the file and the line that said it."""
    found = explain(tree / "eu/west/web.yaml", tree)
    assert isinstance(found, Explained)
    told = {
        pointer_of(pointer): f"{origin.path.relative_to(tree)}:{origin.line}"
        for pointer, origin in found.origins.leaves(found.tree)
    }
    assert told == {
        "/sourceContext/git/repoUrl": "_defaults.yaml:2",
        "/sourceContext/git/branch": "_defaults.yaml:2",
        "/sourceContext/git/repoDir": "eu/west/web.yaml:2",
        "/operationContext/environmentVariables/REGION": "eu/_defaults.yaml:2",
        "/operationContext/environmentVariables/DB/secret/fromEnv": "eu/west/web.yaml:6",
        "/labels/team": "_defaults.yaml:8",
        "/stack": "eu/west/web.yaml:1",
        "/schedules": "eu/west/web.yaml:7",
        "/reconcile/timeout": "_defaults.yaml:11",
        "/reconcile/retry/limit": "_defaults.yaml:11",
        "/reconcile/retry/backoff": "eu/west/web.yaml:8",
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("labels: [a]\n", "eu/_defaults.yaml:1:1: /labels: is a list; an object belongs here"),
        (
            "stack: a/b/c\n",
            (
                "eu/_defaults.yaml:1:1: /stack: is no key of the defaults of a directory; known "
                "here: sourceContext, executorContext, operation, operationContext, "
                "inheritSettings, notSecret, labels, schedules, reconcile"
            ),
        ),
        (
            "reconcile: {confirm: destroy}\n",
            (
                "eu/_defaults.yaml:1:13: /reconcile/confirm: is no key of the defaults of a "
                "directory; known here: suspend, dependsOn, onChange, timeout, retry, "
                "onDependency, sourcePaths, pin, whileRunning, onDelete, destroyAfter, onDrift, …"
            ),
        ),
        (
            "# nothing\n",
            (
                "eu/_defaults.yaml:2:1: is empty; what all specs of this directory say belongs "
                "here: sourceContext, labels, …"
            ),
        ),
        (
            "labels: &a {}\n",
            (
                "eu/_defaults.yaml:1:9: /labels: an anchor (&) is not allowed; write the value "
                "out, or quote it if it is text"
            ),
        ),
        (
            "schedules:\n  - {name: a, cron: 0 3 * * *, timeZone: Mars/Base}\n",
            (
                "eu/_defaults.yaml:2:42: /schedules/0/timeZone: 'Mars/Base' is no time zone of "
                "the IANA's; such as Europe/Berlin or UTC"
            ),
        ),
        (
            "operationContext: {environmentVariables: {DB_PASSWORD: hunter2}}\n",
            (
                "eu/_defaults.yaml:1:56: /operationContext/environmentVariables/DB_PASSWORD: looks "
                "like a secret in the clear; name where it comes from instead: {secret: {fromEnv: "
                "RECONCILER_SECRET_…}}, or list it in notSecret if it is none"
            ),
        ),
        (
            "sourceContext: {git: {branch: 'a b'}}\n",
            (
                "eu/_defaults.yaml:1:31: /sourceContext/git/branch: 'a b' cannot be the name of a "
                "branch"
            ),
        ),
        (
            "operationContext: {environmentVariables: {A: {secret: {fromFile: /etc/shadow}}}}\n",
            (
                "eu/_defaults.yaml:1:66: /operationContext/environmentVariables/A/secret/fromFile: "
                "may not be read: only files below /run/secrets may (--secrets-dir adds one)"
            ),
        ),
    ],
)
def test_a_mistake_in_defaults_is_told_once(content: str, expected: str, tree: Path) -> None:
    """Its line is that of the defaults; every spec below is held by it, and no other one."""
    (tree / "eu/_defaults.yaml").write_text(content)
    (tree / "eu/two.yaml").write_text("stack: acme/two/prod\n")
    (tree / "top.yaml").write_text("stack: acme/top/prod\n")
    catalog = scan(tree, RULES)
    assert lines(catalog, tree) == [expected]
    assert set(catalog.broken) == {"eu/two", "eu/west/web"}
    assert [str(broken.stack) for broken in catalog.broken.values()] == [
        "acme/two/prod",
        "acme/web/prod",
    ]
    assert [spec.name for spec in catalog.specs] == ["top"]
    assert "hunter2" not in f"{catalog}"


def test_what_only_the_whole_lacks_is_the_specs(tree: Path) -> None:
    """What neither says, or contradicts what the other says, is told of the spec's own file."""
    (tree / "_defaults.yaml").write_text("labels: {a: b}\n")
    (tree / "eu/west/web.yaml").write_text("stack: acme/web/prod\nlabels: {zone: null}\n")
    assert lines(scan(tree, RULES), tree) == [
        (
            "eu/west/web.yaml:1:1: /sourceContext: is required: Where the program is, as the "
            "Deployments API says it"
        ),
        (
            "eu/west/web.yaml:2:16: /labels/zone: is null; write '' for an empty text, or leave "
            "the key out"
        ),
    ]
    (tree / "_defaults.yaml").write_text(TOP)
    (tree / "eu/west/web.yaml").write_text(
        "stack: acme/web/prod\nsourceContext: {git: {commit: abcdef0}}\n"
    )
    assert lines(scan(tree, RULES), tree) == [
        (
            "eu/west/web.yaml:2:31: /sourceContext/git/commit: 'branch' and 'commit' exclude one "
            "another; keep one of them"
        )
    ]


def test_two_files_of_defaults(tree: Path) -> None:
    """`_defaults.yaml` and `_defaults.yml` in one folder cannot both count."""
    (tree / "eu/_defaults.yml").write_text(EU)
    assert lines(scan(tree, RULES), tree) == [
        ("eu/_defaults.yaml:1:1: _defaults.yaml and _defaults.yml are both here; keep one of them")
    ]


def test_defaults_that_lead_out_are_refused(tree: Path) -> None:
    """Defaults that are a link to elsewhere hold what is below, and tell nothing of it."""
    (tree.parent / "outside").write_text("labels: {canary: hunter2}\n")
    (tree / "eu/_defaults.yaml").unlink()
    (tree / "eu/_defaults.yaml").symlink_to(tree.parent / "outside")
    catalog = scan(tree, RULES)
    assert "cannot be read: leads out of" in lines(catalog, tree)[0]
    assert set(catalog.broken) == {"eu/west/web"}
    assert "hunter2" not in f"{catalog}"


def test_a_change_reads_again_only_what_is_below(tree: Path) -> None:
    """An edit of a folder's defaults gives new specs below it and leaves all others as they are."""
    (tree / "top.yaml").write_text("stack: acme/top/prod\n")
    (tree / "asia").mkdir()
    (tree / "asia/web.yaml").write_text("stack: acme/asia/prod\n")
    reader = SpecReader(tree, RULES)
    before = {spec.name: spec for spec in reader.scan().specs}
    assert reader.scan() is reader.scan()
    (tree / "eu/_defaults.yaml").write_text("labels: {tier: two}\n")
    after = {spec.name: spec for spec in reader.scan().specs}
    assert after["eu/west/web"].labels == {"team": "web", "tier": "two"}
    assert all(after[name] is before[name] for name in ("top", "asia/web"))
    (tree / "eu/_defaults.yaml").unlink()
    assert reader.scan().specs[1].labels == {"team": "web", "tier": "one"}
    (tree / "_defaults.yaml").unlink()
    assert set(reader.scan().broken) == {"asia/web", "eu/west/web", "top"}


def test_a_dependency_that_the_defaults_name(tree: Path) -> None:
    """A missing dependency is told where it is written, in the defaults too."""
    (tree / "eu/_defaults.yaml").write_text("reconcile: {dependsOn: [network]}\n")
    found = check_together(scan(tree, RULES).specs)
    assert [str(problem).replace(f"{tree}/", "") for problem in found] == [
        "eu/_defaults.yaml:1:25: /reconcile/dependsOn/0: there is no spec named 'network'"
    ]


def test_one_file_is_read_with_its_defaults(tree: Path) -> None:
    """A single file of a directory is read as the whole directory would read it."""
    spec = read_file(tree / "eu/west/web.yaml", tree, RULES)
    assert isinstance(spec, Spec)
    assert spec == scan(tree, RULES).specs[0]


def test_the_schemas_for_editors_are_those_that_are_made() -> None:
    """What editors use was written by the tool, after the last change of the keys."""
    for path, schema in made().items():
        assert yaml.safe_load(path.read_text()) == schema, "run python -m tools.make_schemas"
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("content", [TOP, EU])
def test_editors_take_defaults(content: str) -> None:
    """A plain YAML reader and the defaults' schema take what we take, nulls too."""
    schema = yaml.safe_load(Path("schemas/defaults.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(content), schema)
    schema = yaml.safe_load(Path("schemas/deployment.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(WEB), schema)


def test_both_readers_make_the_same_tree() -> None:
    """Whatever is done to a good file, the fast reader says what the other does, or nothing."""
    dice = random.Random(11)
    goods = [text.encode() for text in (FULL, DEFAULTS, TOP, WEB, small())]
    letters = b"\t\n :-[]{}&*!|>'\"%@`#,?~\\0a1\xc3\xff"
    fast = 0
    for turn in range(3000):
        content = bytearray(goods[turn % len(goods)])
        for _ in range(dice.randint(0, 3)):
            at = dice.randrange(len(content))
            content[at : at + dice.randint(0, 2)] = bytes([dice.choice(letters)])
        plain = read_plain(bytes(content), SPEC.shape)
        if plain is None:
            continue
        fast += 1
        whole = yaml_reader.read(bytes(content), SPEC.shape)
        assert isinstance(whole, yaml_reader.Document), bytes(content)
        assert plain.tree == whole.tree
        for at_pointer, place in plain.places:
            assert whole.places[at_pointer] == place
    assert fast > 1000


def test_laying_over_nothing_changes_nothing() -> None:
    """A spec over no defaults is the spec; a null that has nothing to remove is kept to be told."""
    tree = {"labels": {"a": "b"}, "reconcile": {"confirm": None}}
    assert lay_over({}, tree, SPEC.shape) == tree
    assert lay_over({}, tree, SPEC.shape, drop_nulls=True) == {
        "labels": {"a": "b"},
        "reconcile": {},
    }


def test_a_variable_may_be_called_secret(tmp_path: Path) -> None:
    """Only a reference is replaced as one, not an object that happens to have such a key."""
    (tmp_path / "_defaults.yaml").write_text(
        "operationContext: {environmentVariables: {secret: a, other: b}}\n"
    )
    (tmp_path / "web.yaml").write_text(
        small() + "operationContext: {environmentVariables: {secret: c}}\nnotSecret: [secret]\n"
    )
    (tmp_path / "_defaults.yaml").write_text(
        "operationContext: {environmentVariables: {secret: a, other: b}}\nnotSecret: [secret]\n"
    )
    (spec,) = scan(tmp_path, SecretRules()).specs
    assert {v.name: v.value for v in spec.request.environment} == {"secret": "c", "other": "b"}
