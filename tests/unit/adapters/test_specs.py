from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from reconciler.adapters import spec_schema, spec_walk
from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.spec_secrets import looks_secret
from reconciler.adapters.spec_times import parse_duration, parse_moment
from reconciler.adapters.spec_together import check_together
from reconciler.adapters.specs import SpecReader, read_file, scan
from reconciler.api.oidc import AwsOidc
from reconciler.api.types import EnvironmentVariable, Operation, Options, StackRef
from reconciler.mistakes import Mistake
from reconciler.model import (
    Catalog,
    MissedRuns,
    OnDelete,
    OnDependency,
    OnRotate,
    Overlap,
    Response,
    Retry,
    Schedule,
    SecretReference,
    Spec,
    WhileRunning,
    Window,
)
from tools.reference.of_schemas import keys

RULES = SecretRules()
SCHEDULES = (
    Schedule(
        name="nightly", cron="H 3 * * *", time_zone="Europe/Berlin", operation=Operation.REFRESH
    ),
    Schedule(
        name="drift",
        cron="0 * * * *",
        operation=Operation.DETECT_DRIFT,
        overlap=Overlap.SKIP,
        starting_deadline=timedelta(minutes=10),
    ),
    Schedule(name="once", at=datetime(2027, 1, 1, 7, tzinfo=UTC), time_zone="Europe/Berlin"),
)
FULL = """\
stack: acme/web/prod
sourceContext:
  git:
    repoUrl: https://example.com/acme/infra.git
    branch: refs/heads/main
    repoDir: web
    gitAuth: {accessToken: {secret: {fromEnv: RECONCILER_SECRET_GIT}}}
executorContext:
  executorImage: pulumi/pulumi-nodejs:latest
operationContext:
  operation: update
  preRunCommands: ["echo HELLO=world >PULUMI_ENV"]
  environmentVariables:
    AWS_REGION: us-west-2
    DB_PASSWORD: {secret: {fromFile: db/password}}
  options:
    skipInstallDependencies: true
    skipIntermediateDeployments: true
    shell: /bin/sh
    deleteAfterDestroy: true
    remediateIfDriftDetected: true
  oidc: {aws: {roleArn: arn:aws:iam::123456789000:role/deploy, sessionName: web}}
inheritSettings: true
notSecret: [BUILD_HASH]
labels: {team: web}
schedules:
  - {name: nightly, cron: "H 3 * * *", timeZone: Europe/Berlin, operation: refresh}
  - {name: drift, cron: 0 * * * *, operation: detect-drift, overlap: skip, startingDeadline: 10m}
  - {name: once, at: "2027-01-01T08:00:00", timeZone: Europe/Berlin}
reconcile:
  suspend: true
  dependsOn: [network-prod]
  onDependency: run
  onChange: [spec]
  sourcePaths: [web/**, shared/*.yaml]
  pin: false
  whileRunning: cancel
  onDelete: destroy
  destroyAfter: 7d
  onDrift: update
  onForeign: update
  approval: required
  dryRun: true
  missedRuns: skip
  windows:
    - {days: mon-fri, from: "08:00", to: "18:00", timeZone: Europe/Berlin}
    - {days: "sat-mon, wed", from: "22:00", to: "06:00"}
    - {}
  timeout: 1h30m
  retry: {limit: 5, backoff: 10s, maxBackoff: 1h}
"""
DEFAULTS = """\
stack: acme/web/prod
sourceContext: {git: {repoUrl: .., branch: main}}
schedules: [{name: a, cron: 0 3 * * *, overlap: queue, startingDeadline: 1h}]
reconcile:
  suspend: false
  onDependency: none
  onChange: [spec, source]
  sourcePaths: ["**"]
  pin: true
  whileRunning: wait
  onDelete: keep
  destroyAfter: null
  onDrift: report
  onForeign: report
  approval: none
  dryRun: false
  confirm: null
  missedRuns: latest
  windows: []
operationContext:
  options: {skipIntermediateDeployments: false, shell: bash, deleteAfterDestroy: false}
inheritSettings: false
"""


def small(stack: str = "acme/web/prod", depends_on: str = "") -> str:
    text = f"stack: {stack}\nsourceContext: {{git: {{repoUrl: .., branch: main}}}}\n"
    return text + (f"reconcile: {{dependsOn: [{depends_on}]}}\n" if depends_on else "")


def write(directory: Path, **files: str) -> None:
    for name, content in files.items():
        (directory / f"{name}.yaml").write_text(content)


def only(directory: Path, content: str) -> Spec:
    write(directory, web=content)
    spec = read_file(directory / "web.yaml", directory, RULES)
    assert isinstance(spec, Spec), spec
    return spec


def lines(catalog: Catalog, directory: Path) -> list[str]:
    return [str(problem).replace(f"{directory}/", "") for problem in catalog.problems]


def test_of_several_mistakes_the_most_helpful_is_told(tmp_path: Path) -> None:
    """A key that is almost the one that is missing says more than that one is missing."""
    text = "stack: acme/web/prod\nsourceContxt: {git: {repoUrl: ./x}}\n"
    write(tmp_path, web=text, bare="stack: acme/bare/prod\n")
    catalog = scan(tmp_path, RULES)
    told = str(catalog.broken["web"].problem)
    assert told.endswith("/sourceContxt: is no key of a spec; did you mean 'sourceContext'?")
    assert "/sourceContext: is required" in str(catalog.broken["bare"].problem)
    assert len(catalog.problems) == 2


def test_a_whole_spec_is_read(tmp_path: Path) -> None:
    """Every key comes out as the value it says."""
    spec = only(tmp_path, FULL)
    request = spec.request
    assert (spec.name, spec.stack) == ("web", StackRef("acme", "web", "prod"))
    assert request.operation is Operation.UPDATE
    assert request.source.branch_name == "main"
    assert request.source.auth is not None
    assert request.source.auth.access_token == SecretReference("fromEnv", "RECONCILER_SECRET_GIT")
    assert request.executor_image == "pulumi/pulumi-nodejs:latest"
    assert request.pre_run_commands == ("echo HELLO=world >PULUMI_ENV",)
    assert request.environment == (
        EnvironmentVariable(name="AWS_REGION", value="us-west-2"),
        EnvironmentVariable(name="DB_PASSWORD", value=SecretReference("fromFile", "db/password")),
    )
    assert request.skip_install_dependencies
    assert request.options == Options(  # noqa: S604 - the shell is a field
        skip_intermediate=True, shell="/bin/sh", delete_after_destroy=True, remediate_drift=True
    )
    assert request.inherit_settings
    assert request.oidc.aws == AwsOidc(
        role_arn="arn:aws:iam::123456789000:role/deploy", session_name="web"
    )
    assert spec.not_secret == {"BUILD_HASH"}
    assert spec.labels == {"team": "web"}
    assert spec.schedules == SCHEDULES
    assert spec.suspended
    assert spec.depends_on == ("network-prod",)
    assert (spec.on_spec_change, spec.on_source_change) == (True, False)
    assert spec.timeout == timedelta(minutes=90)
    assert spec.retry == Retry(
        limit=5, backoff=timedelta(seconds=10), max_backoff=timedelta(hours=1)
    )
    assert spec.base == tmp_path


def test_how_a_whole_spec_is_kept(tmp_path: Path) -> None:
    """Every key below `reconcile` that is no default comes out as the value it says."""
    spec = only(tmp_path, FULL)
    assert spec.on_dependency is OnDependency.RUN
    assert spec.source_paths == ("web/**", "shared/*.yaml")
    assert not spec.pin
    assert spec.while_running is WhileRunning.CANCEL
    assert spec.on_delete is OnDelete.DESTROY
    assert spec.destroy_after == timedelta(days=7)
    assert (spec.on_drift, spec.on_foreign) == (Response.UPDATE, Response.UPDATE)
    assert (spec.needs_approval, spec.dry_run) == (True, True)
    assert spec.missed_runs is MissedRuns.SKIP
    assert spec.windows == (
        Window(
            days=frozenset({0, 1, 2, 3, 4}), start=8 * 60, end=18 * 60, time_zone="Europe/Berlin"
        ),
        Window(days=frozenset({5, 6, 0, 2}), start=22 * 60, end=6 * 60),
        Window(start=0, end=24 * 60),
    )


def test_only_places_that_are_told_of_later_are_kept(tmp_path: Path) -> None:
    """What is wrong between specs has its line; other places are not kept in memory."""
    spec = only(tmp_path, FULL)
    assert list(spec.places) == ["/stack", "/reconcile/dependsOn", "/reconcile/dependsOn/0"]
    assert spec.problem("/reconcile/dependsOn/0", "x", Mistake.WRONG_VALUE).line == 32


@pytest.mark.parametrize(
    ("kind", "name"),
    [("fromEnv", "RECONCILER_SECRET_A"), ("fromFile", "a/b"), ("fromCredential", "db-password")],
)
def test_where_secrets_come_from(kind: str, name: str, tmp_path: Path) -> None:
    """Each kind of reference is read, and what a rotation of it does."""
    inside = f"{{{kind}: {name}, onRotate: ignore}}"
    text = small() + f"operationContext: {{environmentVariables: {{A: {{secret: {inside}}}}}}}\n"
    (variable,) = only(tmp_path, text).request.environment
    assert variable.value == SecretReference(kind, name, OnRotate.IGNORE)
    (variable,) = only(tmp_path, text.replace("ignore", "run")).request.environment
    assert variable.value == SecretReference(kind, name)


def test_a_default_may_be_written(tmp_path: Path) -> None:
    """A key with the value that it would have anyway changes nothing but the shell's name."""
    spec = only(tmp_path, DEFAULTS)
    plain = only(tmp_path, small() + "schedules: [{name: a, cron: 0 3 * * *}]\n")
    assert spec.request.options == Options(shell="bash")  # noqa: S604 - the shell is a field
    assert replace(spec, request=plain.request) == plain


def test_a_schema_says_what_the_model_says(tmp_path: Path) -> None:
    """Each default of the schema is the value that the model has where the key is left out."""
    schema = json.loads(Path("schemas/deployment.schema.json").read_text())
    known = schema["$defs"]["reconcile"]["properties"]
    given = {key: below["default"] for key, below in known.items() if "default" in below}
    assert given.keys() == known.keys() - {"retry"}
    text = small() + yaml.safe_dump({"reconcile": given})
    assert only(tmp_path, text) == only(tmp_path, small())


@pytest.mark.parametrize(
    "text",
    ["0123", "on", "12:30:45", "12e4567", "1_000", "true", "1.0", "2024-13-45", "0x1F", "~x"],
)
def test_a_text_is_read_as_written(text: str, tmp_path: Path) -> None:
    """A variable's value is the text that stands there, whatever YAML would make of it."""
    spec = only(tmp_path, small() + f"operationContext: {{environmentVariables: {{A: {text} }}}}\n")
    assert spec.request.environment[0].value == text


@pytest.mark.parametrize("commit", ["1234567", "12e4567", "0123456", "deadbeef"])
def test_a_commit_of_digits_is_a_text(commit: str, tmp_path: Path) -> None:
    """A commit's hash that looks like a number stays the hash."""
    text = f"stack: a/b/c\nsourceContext: {{git: {{repoUrl: .., commit: {commit}}}}}\n"
    assert only(tmp_path, text).request.source.commit == commit


def test_a_tab_inside_a_text_is_kept(tmp_path: Path) -> None:
    """Only indentation must not use tabs: a text may hold one."""
    text = (
        small()
        + "operationContext:\n  preRunCommands:\n    - |\n      cat <<-E\n      \tx\n      E\n"
    )
    assert only(tmp_path, text).request.pre_run_commands == ("cat <<-E\n\tx\nE\n",)


@pytest.mark.parametrize("url", [".", "..", "./a", "../a"])
def test_a_relative_url_needs_no_branch(url: str, tmp_path: Path) -> None:
    """What is checked out beside the spec can be followed as it is."""
    spec = only(tmp_path, f"stack: a/b/c\nsourceContext: {{git: {{repoUrl: {url}}}}}\n")
    assert spec.request.source.repo_url == url


def test_both_dialects_are_read(tmp_path: Path) -> None:
    """The preview API's spelling of fields is as good as today's."""
    spec = only(
        tmp_path,
        "stack: a/b/c\noperation: refresh\n"
        "sourceContext: {git: {repoURL: https://example.com/x.git, tag: v1}}\n",
    )
    assert spec.request.source.tag == "v1"
    assert spec.request.operation is Operation.REFRESH


def test_destroy_with_confirmation(tmp_path: Path) -> None:
    """A spec that says twice that it wants the stack destroyed is believed."""
    spec = only(tmp_path, small() + "operation: destroy\nreconcile: {confirm: destroy}\n")
    assert spec.request.operation is Operation.DESTROY


def test_ssh_with_a_commit(tmp_path: Path) -> None:
    """Where nothing has to be followed, an ssh URL is passed on."""
    text = "stack: a/b/c\nsourceContext: {git: {repoUrl: 'git@example.com:x.git', commit: abcdef0}}"
    assert only(tmp_path, text).request.source.commit == "abcdef0"


def test_names_and_order(tmp_path: Path) -> None:
    """A spec is named by its path below the directory, and specs come sorted by name."""
    (tmp_path / "team" / "a").mkdir(parents=True)
    (tmp_path / "team" / "a" / "web.prod.yml").write_text(small("a/b/c"))
    write(tmp_path, zoo=small("a/b/d"), app=small("a/b/e"))
    catalog = scan(tmp_path, RULES)
    assert [spec.name for spec in catalog.specs] == ["app", "team/a/web.prod", "zoo"]
    assert catalog.problems == ()
    assert catalog.complete


@pytest.mark.parametrize(
    "name",
    [".web.yaml", "web.yaml~", ".web.yaml.swp", "#web.yaml#", "4913", "web.status.json", "x.tmp",
     "README.md", "web.yaml.swx"],
)  # fmt: skip
def test_other_files_are_passed_over(name: str, tmp_path: Path) -> None:
    """Editors' temporary files, status files and everything else are no specs."""
    (tmp_path / name).write_text("stack: [")
    assert scan(tmp_path, RULES) == Catalog()


def test_a_bad_name(tmp_path: Path) -> None:
    """A file whose name could not be a status file's, or plain in a message, is refused."""
    (tmp_path / "a b\n.yaml").write_text(small())
    (tmp_path / ("x" * 210 + ".yaml")).write_text(small())
    messages = [problem.message for problem in scan(tmp_path, RULES).problems]
    assert [message.split(";")[0] for message in messages] == [
        "cannot be the name of a spec",
        "has a name of more than 200 bytes",
    ]


def test_one_name_twice(tmp_path: Path) -> None:
    """`a.yaml` and `a.yml` are one name, so neither is acted on."""
    (tmp_path / "a.yaml").write_text(small())
    (tmp_path / "a.yml").write_text(small())
    catalog = scan(tmp_path, RULES)
    assert catalog.specs == ()
    assert set(catalog.broken) == {"a"}
    assert lines(catalog, tmp_path) == [
        "a.yml:1:1: has the same name as a.yaml; rename one of them"
    ]


@pytest.mark.parametrize(
    "content",
    ["stack: acme/web/prod\nsourceContext: {}\n", "stack: 'acme/web/prod'\nsourceContext: [\n"],
)
def test_a_broken_file_keeps_its_stack(content: str, tmp_path: Path) -> None:
    """The stack of a broken file is known, so that nobody else takes it."""
    write(tmp_path, web=content)
    assert scan(tmp_path, RULES).broken["web"].stack == StackRef("acme", "web", "prod")


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_what_cannot_be_listed(kind: str, tmp_path: Path) -> None:
    """A directory that cannot be listed is a problem, and nothing counts as gone."""
    directory = tmp_path / "specs"
    if kind == "a file":
        directory.write_text("")
    catalog = scan(directory, RULES)
    assert not catalog.complete
    assert "a directory of specs belongs here" in catalog.problems[0].message


def test_links_inside_are_followed(tmp_path: Path) -> None:
    """A volume of Kubernetes, where each file is a link into a hidden directory, is read."""
    (tmp_path / "..2026").mkdir()
    write(tmp_path / "..2026", web=small())
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "web.yaml").symlink_to("..data/web.yaml")
    assert [spec.name for spec in scan(tmp_path, RULES).specs] == ["web"]


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    """A link to a file or directory elsewhere is a problem that tells nothing of what it holds."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    write(outside, web="stack: hunter2")
    (inside / "web.yaml").symlink_to(outside / "web.yaml")
    (inside / "folder").symlink_to(outside)
    (inside / "dangling.yaml").symlink_to(outside / "nothing.yaml")
    catalog = scan(inside, RULES)
    assert set(catalog.broken) == {"web", "dangling"}
    text = "\n".join(lines(catalog, inside))
    assert "hunter2" not in text
    assert "web.yaml:1:1: cannot be read: leads out of" in text
    assert "folder:1:1: is a link to a directory, which is not followed" in text


def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    """A second scan gives the very same values; a changed file, even of equal size, a new one."""
    write(tmp_path, one=small("a/b/one"), two=small("a/b/two"))
    reader = SpecReader(tmp_path, RULES)
    first = reader.scan()
    second = reader.scan()
    assert first == second
    assert all(a is b for a, b in zip(first.specs, second.specs, strict=True))
    fresh = tmp_path / "fresh"
    fresh.write_text(small("a/b/owt"))
    fresh.rename(tmp_path / "two.yaml")
    third = reader.scan()
    assert third.specs[0] is first.specs[0]
    assert third.specs[1].stack == StackRef("a", "b", "owt")
    (tmp_path / "one.yaml").unlink()
    assert [spec.name for spec in reader.scan().specs] == ["two"]


def test_a_look_at_single_files(tmp_path: Path) -> None:
    """A look reads the named files alone, and the next scan knows what it has found."""
    write(tmp_path, one=small("a/b/one"), two=small("a/b/two"))
    reader = SpecReader(tmp_path, RULES)
    first = reader.scan()
    write(tmp_path, one=small("a/b/other"), three=small("a/b/three"))
    found = reader.look(["one.yaml", "two.yaml", "three.yaml", ".one.yaml", "one.txt"])
    assert found is not None
    assert [str(spec.stack) for spec in found] == ["a/b/other", "a/b/three"]
    assert reader.look(["one.yaml"]) == ()
    second = reader.scan()
    assert [spec.name for spec in second.specs] == ["one", "three", "two"]
    assert second.specs[0] is found[0]
    assert second.specs[2] is first.specs[1]
    assert reader.scan() is second


def test_what_a_look_cannot_tell(tmp_path: Path) -> None:
    """What is gone, broken, doubled, a link or defaults needs a scan, which then finds it."""
    write(tmp_path, one=small("a/b/one"), two=small("a/b/two"))
    (tmp_path / "link.yaml").symlink_to("one.yaml")
    reader = SpecReader(tmp_path, RULES)
    reader.scan()
    (tmp_path / "two.yaml").unlink()
    write(tmp_path, bad="stack: [", _defaults="labels: {team: web}")
    (tmp_path / "one.yml").write_text(small("a/b/three"))
    for path in ("two.yaml", "bad.yaml", "_defaults.yaml", "one.yml", "link.yaml"):
        assert reader.look([path]) is None, path
    catalog = reader.scan()
    assert set(catalog.broken) == {"bad", "one"}
    assert catalog == scan(tmp_path, RULES)


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit nothing more is read, and nothing counts as gone."""
    monkeypatch.setattr(spec_walk, "MAX_FILES", 2)
    write(tmp_path, a=small("a/b/c"), b=small("a/b/d"), c=small("a/b/e"))
    catalog = scan(tmp_path, RULES)
    assert [spec.name for spec in catalog.specs] == ["a", "b"]
    assert not catalog.complete


def test_specs_are_checked_together(tmp_path: Path) -> None:
    """One stack twice, a missing dependency and a circle each have their place and their names."""
    write(
        tmp_path,
        a=small("a/b/a", "b"),
        b=small("a/b/b", "a"),
        one=small("a/b/x"),
        two=small("a/b/x", "a, network2"),
        network=small("a/b/n"),
    )
    found = check_together(scan(tmp_path, RULES).specs)
    assert [str(problem).replace(f"{tmp_path}/", "") for problem in found] == [
        "one.yaml:1:8: /stack: a/b/x also belongs to two.yaml; a stack belongs to one spec",
        "two.yaml:1:8: /stack: a/b/x also belongs to one.yaml; a stack belongs to one spec",
        (
            "two.yaml:3:28: /reconcile/dependsOn/1: there is no spec named 'network2'; "
            "did you mean 'network'?"
        ),
        "a.yaml:3:13: /reconcile/dependsOn: depends on itself: a → b → a; take one of them out",
        "b.yaml:3:13: /reconcile/dependsOn: depends on itself: b → a → b; take one of them out",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("10m", 600), ("1h", 3600), ("1h30m", 5400), ("7d", 604800), ("1d1s", 86401)],
)
def test_durations(text: str, seconds: int) -> None:
    """A duration is days, hours, minutes and seconds, in this order."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "1", "h", "1h 30m", "30m1h", "-1h", "1.5h", "0s", "1y", "٣h"])
def test_bad_durations(text: str) -> None:
    """Anything else is none."""
    with pytest.raises(ValueError, match=r"duration|between"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "zone", "hour"),
    [
        ("2027-01-01T08:00:00Z", "", 8),
        ("2027-01-01T08:00Z", "Europe/Berlin", 8),
        ("2027-01-01T08:00:00+03:00", "", 5),
        ("2027-07-01T08:00:00", "Europe/Berlin", 6),
        ("2027-03-28T02:30:00", "Europe/Berlin", 1),
        ("2027-10-31T02:30:00", "Europe/Berlin", 0),
    ],
)
def test_moments(text: str, zone: str, hour: int) -> None:
    """A time has an offset, or is one of its zone, also where the clocks change."""
    moment = parse_moment(text, zone)
    assert (moment.hour, moment.tzinfo) == (hour, UTC)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "2027-01-01", "2027-01-01 08:00Z", "2027-13-01T08:00:00Z", "0001-01-01T00:00:00Z",
     "9999-12-31T23:00:00-23:00", "2027-01-01T08:00:00", "2027-01-01T24:30:00Z",
     "٢٠٢٧-01-01T08:00Z"],
)  # fmt: skip
def test_bad_moments(text: str) -> None:
    """What is no time, or without an offset and a zone, is none."""
    with pytest.raises(ValueError, match=r"is no|says no|is a time that|is not between"):
        parse_moment(text)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DB_PASSWORD", "x", True),
        ("dbPassword", "x", True),
        ("API_KEY", "x", True),
        ("GITHUB_TOKEN", "x", True),
        ("MYSECRET", "x", False),
        ("KEYBOARD", "x", False),
        ("DB_PASSWORD_FILE", "/run/secrets/db", False),
        ("AWS_ACCESS_KEY_ID", "x", False),
        ("AWS_ACCESS_KEY_ID", "AKIA" + "A" * 16, True),
        ("DATABASE_URL", "postgres://u:p@host/db", True),
        ("DATABASE_URL", "postgres://host/db", False),
        ("CERT", "-----BEGIN RSA PRIVATE KEY-----", True),
        ("BUILD_HASH", "0" * 40, False),
    ],
)
def test_what_looks_like_a_secret(name: str, value: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """Names of secrets and forms of tokens are found, references to secrets are not."""
    assert looks_secret(name, value) is expected


def test_not_secret_lets_a_value_through(tmp_path: Path) -> None:
    """What is listed in notSecret may look like a secret."""
    text = (
        "operationContext: {environmentVariables: {PUBLIC_TOKEN: x}}\nnotSecret: [PUBLIC_TOKEN]\n"
    )
    assert only(tmp_path, small() + text).request.environment[0].value == "x"


@pytest.mark.parametrize("content", [FULL, DEFAULTS, small()])
def test_editors_agree(content: str) -> None:
    """A plain YAML reader and the schema, which is what editors have, take what we take."""
    schema = json.loads(Path("schemas/deployment.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(content), schema)


def test_every_key_has_an_example() -> None:
    """Each key says by an example, a default or its choices what may stand there, and may it."""
    schema = spec_schema._schema("deployment.schema.json")
    enough = {"examples", "default", "enum", "const", "properties"}
    bare = []
    for key in keys(schema, schema):
        name = key.schema.get("$ref", "").rpartition("/")[2]
        part = {**schema["$defs"].get(name, {}), **key.schema}
        if not enough & part.keys() and part.get("type") != "boolean":
            bare.append(key.path)
        for example in part.get("examples", ()):
            jsonschema.validate(example, {**part, "$defs": schema["$defs"]})
    assert bare == []


def described(schema: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the keys of a schema, and those that an editor has no words for.

    It looks for words at the key itself: which of those behind a `$ref` or a choice are meant,
    one editor sees and another one does not.
    """
    found: list[str] = []
    bare: list[str] = []

    def look(part: dict[str, Any], at: str, within: tuple[str, ...]) -> None:
        reference = part.get("$ref", "")
        if reference and reference not in within:
            look(schema["$defs"][reference.removeprefix("#/$defs/")], at, (*within, reference))
        for word in ("anyOf", "oneOf", "allOf"):
            for choice in part.get(word, []):
                look(choice, at, within)
        for word, sign in (("items", "[]"), ("additionalProperties", ".*")):
            if isinstance(part.get(word), dict):
                look(part[word], f"{at}{sign}", within)
        for key, below in part.get("properties", {}).items():
            found.append(f"{at}.{key}")
            if not below.get("description", "").strip():
                bare.append(found[-1])
            look(below, found[-1], within)

    look(schema, "", ())
    return found, bare


@pytest.mark.parametrize(
    ("file", "least"),
    [
        ("deployment.schema.json", 90),
        ("editor.schema.json", 90),
        ("defaults.schema.json", 90),
        ("status.schema.json", 130),
        ("config.schema.json", 30),
    ],
)
def test_every_key_says_what_it_is_for(file: str, least: int) -> None:
    """Each key of ours has a description, for editors and for the documentation."""
    text = resources.files("reconciler").joinpath(f"schemas/{file}").read_text()
    found, bare = described(json.loads(text))
    assert len(found) >= least
    assert bare == []


def test_what_is_costly_is_loaded_late() -> None:
    """Reading no spec loads no schema validator, and reading specs no watcher and no HTTP."""
    program = (
        "import reconciler.adapters.specs, reconciler.adapters.watcher, sys; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"jsonschema", "jsonschema_rs", "inotify_simple", "requests"} & set(loaded)
