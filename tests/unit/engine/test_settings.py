"""Settings: JSON merge patches, what a create inherits, and what settings may hold."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.create_body import request_from_json, wire_secret
from reconciler.api.dialects import Dialect
from reconciler.api.types import DeploymentRequest, Secret
from reconciler.api.wire import Pointer, pointer_text
from reconciler.engine.settings import (
    as_create,
    change_secrets,
    from_request,
    in_one_form,
    in_one_spelling,
    inherit,
    merge_patch,
)

# ---------------------------------------------------------------- merge patches

# The test cases of RFC 7396, appendix A.
RFC_7396: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "expected"), RFC_7396)
def test_a_merge_patch_is_that_of_the_rfc(target: object, patch: object, expected: object) -> None:
    """Each of the RFC's own cases comes out as it says."""
    assert merge_patch(target, patch) == expected


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values, json_values)
def test_a_merge_patch_applied_twice_changes_nothing_more(target: object, patch: object) -> None:
    """Patching is idempotent, and neither the target nor the patch is changed by it."""
    before = copy.deepcopy((target, patch))
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once
    assert (target, patch) == before


# ---------------------------------------------------------------- what a create inherits

SETTINGS: dict[str, object] = {
    "sourceContext": {
        "git": {
            "repoUrl": "https://example.com/a.git",
            "branch": "main",
            "repoDir": "infra",
            "gitAuth": {"accessToken": {"secret": "token"}},
        }
    },
    "operationContext": {
        "preRunCommands": ["make"],
        "environmentVariables": {"A": "a", "B": {"secret": "b"}},
        "options": {"skipInstallDependencies": True},
        "oidc": {"aws": {"roleArn": "arn:settings", "sessionName": "s", "duration": "1h"}},
    },
    "executorContext": {
        "executorImage": {
            "reference": "registry.example.com/a",
            "credentials": {"username": "u", "password": {"secret": "p"}},
        }
    },
    "cacheOptions": {"enable": True},
}
GIT: Any = SETTINGS["sourceContext"]["git"]  # type: ignore[index]


def git(**asked: object) -> Any:
    """Return the source that a create with this one gets."""
    merged: Any = inherit(SETTINGS, {"sourceContext": {"git": asked}})
    return merged["sourceContext"]["git"]


def context(**asked: object) -> Any:
    """Return the operation context that a create with this one gets."""
    return inherit(SETTINGS, {"operationContext": asked})["operationContext"]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"operationContext": None, "sourceContext": None, "executorContext": None},
        {"sourceContext": {"git": None, "template": None}, "cacheOptions": {}},
        # as the CLI writes what it has no value for
        {
            "executorContext": {"workingDirectory": ""},
            "sourceContext": {"git": {"repoUrl": "", "branch": "", "repoDir": ""}},
            "operationContext": {
                "preRunCommands": [],
                "operation": "",
                "environmentVariables": {},
                "options": None,
            },
            "agentPoolID": None,
        },
    ],
)
def test_a_create_that_says_nothing_inherits_everything(asked: dict[str, object]) -> None:
    """What is absent, null or empty says nothing: all of the settings are in the request."""
    merged = inherit(SETTINGS, asked)
    for block, under in SETTINGS.items():
        assert isinstance(under, dict)
        found = merged[block]
        assert isinstance(found, dict)
        assert found | under == found


def test_the_source_is_inherited_in_parts() -> None:
    """Of the same repository: the directory by itself, revision and credentials each as one."""
    assert git(repoDir="web") == GIT | {"repoDir": "web"}
    for revision in ({"branch": "next"}, {"commit": "a" * 40}, {"tag": "v1"}):
        rest = {key: value for key, value in GIT.items() if key != "branch"}
        assert git(**revision) == rest | revision
    ssh = {"sshAuth": {"sshPrivateKey": {"secret": "k"}}}
    assert git(gitAuth=ssh) == GIT | {"gitAuth": ssh}
    assert git(repoUrl=GIT["repoUrl"]) == GIT


def test_what_is_empty_and_of_another_kind_is_left_for_the_reader() -> None:
    """An object where a text belongs is not quietly replaced by the settings' text."""
    assert git(repoDir={}) == GIT | {"repoDir": {}}
    assert git(repoDir=[])["repoDir"] == []
    assert context(preRunCommands={})["preRunCommands"] == {}
    kinds: list[Any] = ["", [], 0, False]
    for empty in kinds:
        merged: Any = inherit(SETTINGS, {"sourceContext": {"git": empty}, "cacheOptions": empty})
        assert merged["sourceContext"]["git"] == empty
        assert merged["cacheOptions"] == empty
        assert context(options=empty, oidc=empty)["options"] == empty
        assert context(environmentVariables=empty)["environmentVariables"] == empty
        assert git(gitAuth=empty)["gitAuth"] == empty


def test_an_image_is_left_out_in_each_of_its_kinds() -> None:
    """An image may be a text or an object: an empty one of either says nothing."""
    for under in ("registry.example.com/a", {"reference": "registry.example.com/a"}):
        kinds: list[Any] = ["", {}, None]
        for empty in kinds:
            asked: dict[str, object] = {"executorContext": {"executorImage": empty}}
            merged: Any = inherit({"executorContext": {"executorImage": under}}, asked)
            assert merged["executorContext"]["executorImage"] == under


def test_another_repository_inherits_nothing_of_the_source() -> None:
    """The credentials of one repository are not shown to another."""
    asked = {"repoUrl": "https://elsewhere.example.com/b.git", "branch": "main"}
    assert git(**asked) == asked


def test_variables_are_inherited_by_name() -> None:
    """The request's own are over the settings'; an empty one is a value, and a null takes out."""
    assert context(environmentVariables={"B": "x", "C": ""})["environmentVariables"] == {
        "A": "a",
        "B": "x",
        "C": "",
    }
    assert context(environmentVariables={"A": None})["environmentVariables"] == {
        "B": {"secret": "b"}
    }


def test_commands_options_clouds_and_images_are_inherited_each_as_one() -> None:
    """A list, an option, a cloud's configuration and an image are taken whole or not at all."""
    assert context(preRunCommands=["a", "b"])["preRunCommands"] == ["a", "b"]
    options = context(options={"skipInstallDependencies": False, "shell": "sh"})["options"]
    assert options == {"skipInstallDependencies": False, "shell": "sh"}
    aws = {"roleArn": "arn:asked", "sessionName": "t"}
    assert context(oidc={"aws": aws})["oidc"] == {"aws": aws}
    gcp = {"projectId": "1"}
    assert context(oidc={"gcp": gcp})["oidc"] == {
        "aws": SETTINGS["operationContext"]["oidc"]["aws"],  # type: ignore[index]
        "gcp": gcp,
    }
    for image in ("b", {"reference": "registry.example.com/b"}):
        merged: Any = inherit(SETTINGS, {"executorContext": {"executorImage": image}})
        assert merged["executorContext"]["executorImage"] == image
    assert inherit(SETTINGS, {"cacheOptions": {"enable": False}})["cacheOptions"] == {
        "enable": False
    }


def test_what_is_malformed_is_left_for_the_reader() -> None:
    """A block of another kind is not covered up by the settings: it will be refused."""
    asked: dict[str, object] = {"sourceContext": 5, "operationContext": {"options": "x"}}
    merged: Any = inherit(SETTINGS, asked)
    assert merged["sourceContext"] == 5
    assert merged["operationContext"]["options"] == "x"


secret_values = st.one_of(
    st.text(st.characters(codec="ascii"), max_size=3).filter(lambda t: "\0" not in t),
    st.text("xyz", max_size=3).map(lambda text: {"secret": text}),
)
maybe = st.one_of(st.none(), st.booleans())


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, object]:
    """Draw settings, or what a create says beside its operation: each field or none."""
    some = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "sourceContext": st.fixed_dictionaries(
                    {
                        "git": st.fixed_dictionaries(
                            {},
                            optional={
                                "repoUrl": st.sampled_from(["https://a.example/r", "", None]),
                                "repoDir": st.sampled_from(["", "infra", "web"]),
                                "gitAuth": st.sampled_from(
                                    [None, {"accessToken": {"secret": "t"}}]
                                ),
                            },
                        )
                    }
                ),
                "operationContext": st.fixed_dictionaries(
                    {},
                    optional={
                        "preRunCommands": st.lists(st.sampled_from("ab"), max_size=2),
                        "environmentVariables": st.dictionaries(
                            st.sampled_from("ABC"), secret_values
                        ),
                        "options": st.fixed_dictionaries(
                            {}, optional={"skipInstallDependencies": maybe}
                        ),
                    },
                ),
                "executorContext": st.sampled_from([None, {}]),
                "cacheOptions": st.fixed_dictionaries({}, optional={"enable": maybe}),
            },
        )
    )
    revision = draw(
        st.sampled_from([{}, {"branch": "main"}, {"commit": "a" * 40}, {"tag": "v1", "branch": ""}])
    )
    if "sourceContext" in some:
        source: Any = some["sourceContext"]
        source["git"].update(revision)
    return dict(some)


def read(body: dict[str, object]) -> DeploymentRequest[Secret]:
    found = request_from_json(as_create(body), wire_secret, Dialect.TODAY)
    assert isinstance(found, DeploymentRequest), found
    return found


@given(bodies())
def test_settings_are_the_request_that_says_nothing_else(body: dict[str, object]) -> None:
    """Inheriting into nothing, and from nothing, changes nothing of what is asked for."""
    assert read(inherit(body, {})) == read(body)
    assert read(inherit({}, body)) == read(body)
    assert read(inherit(body, body)) == read(body)


@given(bodies(), bodies())
def test_every_field_is_the_request_s_or_the_settings(
    under: dict[str, object], asked: dict[str, object]
) -> None:
    """Nothing comes from anywhere else, and what the request says is never lost."""
    before = copy.deepcopy((under, asked))
    merged, low, high = read(inherit(under, asked)), read(under), read(asked)
    assert (under, asked) == before
    for name in ("repo_url", "repo_dir", "auth", "branch", "commit", "tag"):
        found = getattr(merged.source, name)
        assert found in (getattr(low.source, name), getattr(high.source, name))
    assert merged.pre_run_commands == (high.pre_run_commands or low.pre_run_commands)
    names = {v.name: v.value for v in low.environment} | {v.name: v.value for v in high.environment}
    assert {v.name: v.value for v in merged.environment} == names
    if any(v.name for v in high.environment):
        assert set(high.environment) <= set(merged.environment)


@given(bodies())
def test_settings_have_one_form(body: dict[str, object]) -> None:
    """What is kept says the same as what was given, and is kept as it is when given again."""
    kept = from_request(read(body))
    assert read(kept) == read(body)
    assert from_request(read(kept)) == kept


# ---------------------------------------------------------------- forms of secrets


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("plain", "plain"),
        ({"secret": "s"}, {"secret": "s"}),
        ({"isSecret": True, "value": "s"}, {"secret": "s"}),
        ({"isSecret": False, "value": "p"}, "p"),
        # as the official Python client writes them
        ({"plaintext": None, "secret": "s", "ciphertext": None}, {"secret": "s"}),
        ({"plaintext": "p", "secret": "", "ciphertext": None}, "p"),
        ({"secret": "", "ciphertext": "c"}, {"secret": "", "ciphertext": "c"}),
        # what the engine itself shows, given back
        ({"isSecret": False, "value": "p", "plaintext": "p", "secret": ""}, "p"),
        (5, 5),
        ({"else": 1}, {"else": 1}),
    ],
)
def test_a_secret_has_one_form(value: object, form: object) -> None:
    """A text where there is no secret, `{secret}` where there is one, and all else as it was."""
    assert in_one_form(value) == form


def test_every_place_of_a_secret_is_known() -> None:
    """Each secret of a body is changed, with its path, and nothing else is."""
    body = {
        "sourceContext": {
            "git": {
                "repoUrl": "u",
                "gitAuth": {
                    "accessToken": 1,
                    "sshAuth": {"sshPrivateKey": 2, "privateKey": 3, "password": 4},
                    "basicAuth": {"userName": 5, "password": 6},
                },
            }
        },
        "operationContext": {"environmentVariables": {"A": 7, "B": None}, "preRunCommands": ["x"]},
        "executorContext": {
            "executorImage": {"reference": "r", "credentials": {"username": 8, "password": 9}}
        },
    }
    seen: list[str] = []
    places: list[str] = []

    def change(value: object, at: Pointer) -> object:
        seen.append(str(value))
        places.append(pointer_text(at))
        return 0

    changed = change_secrets(body, change)
    assert sorted(seen) == [str(number) for number in range(1, 10)]
    assert "operationContext.environmentVariables.A" in places
    assert change_secrets(changed, lambda value, _: value) == changed
    odds: list[object] = [None, 5, [], {"sourceContext": 5}]
    for odd in odds:
        assert change_secrets(odd, lambda *_: "changed") == odd


def test_the_preview_s_spellings_become_today_s() -> None:
    """The keys repoURL and privateKey are renamed where they stand, and win over today's names."""
    spelled = in_one_spelling(
        {
            "sourceContext": {
                "git": {
                    "repoURL": "new",
                    "repoUrl": "old",
                    "gitAuth": {"sshAuth": {"privateKey": 1, "password": 2}},
                }
            },
            "repoURL": "elsewhere",
        }
    )
    assert spelled == {
        "sourceContext": {
            "git": {
                "repoUrl": "new",
                "gitAuth": {"sshAuth": {"sshPrivateKey": 1, "password": 2}},
            }
        },
        "repoURL": "elsewhere",
    }
