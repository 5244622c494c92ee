from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.create_body import (
    is_relative_url,
    request_from_json,
    request_to_json,
    wire_secret,
)
from reconciler.api.dialects import Dialect
from reconciler.api.oidc import AzureOidc, Oidc
from reconciler.api.types import (
    BasicAuth,
    DeploymentRequest,
    EnvironmentVariable,
    GitAuth,
    GitSource,
    Operation,
    Options,
    Secret,
    SshAuth,
    map_secrets,
)
from reconciler.api.wire import Fault, Pointer, pointer_text

GIT: dict[str, object] = {"repoUrl": "https://example.com/r.git", "branch": "main"}
CANARY = "canary-51f0c2"
AZURE = AzureOidc(client_id="c", tenant_id="t", subscription_id="s")


def today(git: Mapping[str, object] = GIT, **more: object) -> dict[str, object]:
    """Return a body of today's dialect."""
    return {"operation": "update", "sourceContext": {"git": dict(git)}, **more}


def read(body: object, dialect: Dialect | None = Dialect.TODAY) -> DeploymentRequest[Secret]:
    found = request_from_json(body, wire_secret, dialect)
    assert not isinstance(found, tuple), found
    return found


def faults(body: object, dialect: Dialect | None = Dialect.TODAY) -> dict[str, str]:
    """Return what is wrong, by place."""
    found = request_from_json(body, wire_secret, dialect)
    assert isinstance(found, tuple), "it was accepted"
    places: dict[str, str] = {}
    for fault in found:
        place = pointer_text(fault.pointer)
        places[place] = f"{places.get(place, '')} {fault.message}"
    return places


# ---------------------------------------------------------------- round trips

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
some = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
secrets = texts.map(Secret)
values = st.one_of(texts, secrets)
# On the wire a password that is a plain string reads as a secret: it can be nothing else.
basics: st.SearchStrategy[BasicAuth[Secret]] = st.builds(
    BasicAuth, user_name=values, password=secrets
)
keys: st.SearchStrategy[SshAuth[Secret]] = st.builds(
    SshAuth, private_key=secrets, password=st.one_of(st.none(), secrets)
)
auths: st.SearchStrategy[GitAuth[Secret] | None] = st.one_of(
    st.none(),
    st.builds(GitAuth, access_token=secrets),
    st.builds(GitAuth, basic=basics),
    st.builds(GitAuth, ssh=keys),
)
refs = st.from_regex(r"[a-z]([a-z0-9]|[/_-][a-z0-9]){0,20}", fullmatch=True)
revisions = st.one_of(
    refs.map(lambda name: {"branch": name}),
    refs.map(lambda name: {"branch": f"refs/heads/{name}"}),
    refs.map(lambda name: {"tag": name}),
    st.from_regex(r"[0-9a-fA-F]{7,64}", fullmatch=True).map(lambda commit: {"commit": commit}),
)
folders = st.sampled_from(["", ".", "infra", "infra/web", "a b", "..x", "x.."])


@st.composite
def sources(draw: st.DrawFn) -> GitSource[Secret]:
    return GitSource(
        repo_url="https://example.com/r.git",
        repo_dir=draw(folders),
        auth=draw(auths),
        **draw(revisions),
    )


@st.composite
def variables(draw: st.DrawFn) -> tuple[EnvironmentVariable[Secret], ...]:
    names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
    found = draw(st.dictionaries(names, values, max_size=4))
    return tuple(EnvironmentVariable(name=n, value=v) for n, v in sorted(found.items()))


@st.composite
def requests(draw: st.DrawFn) -> DeploymentRequest[Secret]:
    image = draw(st.one_of(st.just(""), some))
    return DeploymentRequest(
        operation=draw(st.sampled_from(Operation)),
        source=draw(sources()),
        executor_image=image,
        image_credentials=draw(st.one_of(st.none(), basics)) if image else None,
        pre_run_commands=tuple(draw(st.lists(texts, max_size=3))),
        environment=draw(variables()),
        skip_install_dependencies=draw(st.booleans()),
        options=Options(
            skip_intermediate=draw(st.booleans()),
            shell=draw(st.sampled_from(["", "sh", "/bin/zsh"])),
            delete_after_destroy=draw(st.booleans()),
            remediate_drift=draw(st.booleans()),
        ),
        oidc=draw(st.sampled_from([Oidc(), Oidc(azure=AZURE)])),
        inherit_settings=draw(st.booleans()),
    )


@given(requests(), st.sampled_from(Dialect))
def test_what_is_written_reads_the_same(
    request: DeploymentRequest[Secret], dialect: Dialect
) -> None:
    """A request that goes over the wire, as JSON text, is the same request on the other side."""
    if dialect is Dialect.PREVIEW:
        # That dialect has no such thing.
        request = replace(request, inherit_settings=False, operation=Operation.UPDATE)
    body = json.loads(json.dumps(request_to_json(request, dialect)))
    assert read(body, dialect) == request


@given(requests())
def test_secrets_never_show(request: DeploymentRequest[Secret]) -> None:
    """Neither the repr nor the str of a request holds the value of a secret."""
    marked = map_secrets(request, lambda _: Secret(CANARY))
    assert CANARY not in repr(marked)
    assert CANARY not in str(marked)
    count = json.dumps(request_to_json(marked, Dialect.TODAY)).count(CANARY)
    found: list[str] = []
    map_secrets(marked, lambda secret: found.append(secret.value))
    assert count == len(found)


@pytest.mark.parametrize("shell", ["bash -c", "-c", "a b", "sh\n", "$SHELL", "x" * 300])
def test_a_shell_is_one_program(shell: str) -> None:
    """What is no name or path of a program is refused as a shell, by its path."""
    body = {
        "operation": "update",
        "sourceContext": {"git": {"repoUrl": "https://example.com/r.git", "branch": "main"}},
        "operationContext": {"options": {"shell": shell}},
    }
    faults = request_from_json(body, wire_secret, Dialect.TODAY)
    assert isinstance(faults, tuple)
    assert [f.pointer for f in faults] == [("operationContext", "options", "shell")]


def test_the_api_of_2022_has_no_drift_operations() -> None:
    """`detect-drift` is an operation of today's dialect, and of no other."""
    source = {"git": {"repoUrl": "https://example.com/r.git", "branch": "main"}}
    today = {"operation": "detect-drift", "sourceContext": source}
    found = request_from_json(today, wire_secret, Dialect.TODAY)
    assert isinstance(found, DeploymentRequest)
    assert found.operation is Operation.DETECT_DRIFT
    preview = {"operationContext": {"operation": "detect-drift"}, "sourceContext": source}
    faults = request_from_json(preview, wire_secret, Dialect.PREVIEW)
    assert isinstance(faults, tuple)
    assert "none of update, preview, refresh and destroy" in faults[0].message


def test_the_dialects_write_their_own_names() -> None:
    """The same request has each dialect's own spelling of operation, URL and SSH key."""
    request: DeploymentRequest[Secret] = DeploymentRequest(
        operation=Operation.REFRESH,
        source=GitSource(
            repo_url="https://example.com/r.git",
            branch="main",
            auth=GitAuth(ssh=SshAuth(private_key=Secret("k"))),
        ),
    )
    assert request_to_json(request, Dialect.PREVIEW) == {
        "sourceContext": {
            "git": {
                "repoURL": "https://example.com/r.git",
                "branch": "main",
                "gitAuth": {"sshAuth": {"privateKey": {"secret": "k"}}},
            }
        },
        "operationContext": {"operation": "refresh"},
    }
    assert request_to_json(request, Dialect.TODAY) == {
        "operation": "refresh",
        "inheritSettings": False,
        "sourceContext": {
            "git": {
                "repoUrl": "https://example.com/r.git",
                "branch": "main",
                "gitAuth": {"sshAuth": {"sshPrivateKey": {"secret": "k"}}},
            }
        },
        "operationContext": {},
    }


# ---------------------------------------------------------------- what is read


def test_a_body_as_the_pulumi_cli_sends_it() -> None:
    """Empty texts, nulls and unknown keys are what they are for the API: nothing."""
    found = read(
        {
            "operation": "update",
            "inheritSettings": True,
            "executorContext": {"workingDirectory": ""},
            "sourceContext": {"git": {**GIT, "repoDir": "."}},
            "operationContext": {
                "preRunCommands": [],
                "operation": "",
                "environmentVariables": {"A": "b", "S": {"secret": "x"}},
            },
            "agentPoolID": None,
        }
    )
    assert found.inherit_settings
    assert [v.name for v in found.environment] == ["A", "S"]
    assert found.environment[1].value == Secret("x")


@pytest.mark.parametrize(
    ("given", "secret"),
    [
        ("plain", "plain"),
        ({"secret": "x"}, Secret("x")),
        ({"isSecret": True, "value": "x"}, Secret("x")),
        ({"isSecret": False, "value": "x"}, "x"),
        (None, ""),
    ],
)
def test_the_forms_of_a_value(given: object, secret: Secret | str) -> None:
    """A variable is plain or, in either of two forms, a secret."""
    body = today(operationContext={"environmentVariables": {"A": given}})
    assert read(body).environment[0].value == secret


@pytest.mark.parametrize("key", ["repoURL", "repoUrl"])
@pytest.mark.parametrize("ssh_key", ["privateKey", "sshPrivateKey"])
@pytest.mark.parametrize("dialect", Dialect)
def test_both_spellings_are_read(key: str, ssh_key: str, dialect: Dialect) -> None:
    """Where two spellings cannot be confused, both dialects read both."""
    git = {key: "https://x/r", "branch": "b", "gitAuth": {"sshAuth": {ssh_key: "k"}}}
    inner = {"operation": "destroy"}
    body: dict[str, object] = {"sourceContext": {"git": git}, "operationContext": inner}
    if dialect is Dialect.TODAY:
        body = {"sourceContext": {"git": git}, **inner}
    found = read(body, dialect)
    assert found.operation is Operation.DESTROY
    assert found.source.repo_url == "https://x/r"
    assert found.source.auth == GitAuth(ssh=SshAuth(private_key=Secret("k")))


WRONG: list[tuple[str, Any, str, str]] = [
    ("no object", [], "", "JSON object"),
    ("no URL", today({"branch": "main"}), "sourceContext.git.repoUrl", "required"),
    ("no source", {"operation": "update"}, "sourceContext.git.repoUrl", "required"),
    ("another source", {"operation": "update", "sourceContext": {"template": {}}},
     "sourceContext.git", "only source"),
    ("neither branch nor commit", today({"repoUrl": "https://x/r"}), "sourceContext.git",
     "'branch', 'commit' and 'tag'"),
    ("branch and commit", today({**GIT, "commit": "abcdef0"}), "sourceContext.git.commit",
     "exclude"),
    ("branch and tag", today({**GIT, "tag": "v1"}), "sourceContext.git.tag", "exclude"),
    ("no operation", {"sourceContext": {"git": GIT}}, "operation", "required"),
    ("another operation", {**today(), "operation": "upgrade"}, "operation", "none of"),
    ("two operations", today(operationContext={"operation": "update"}),
     "operationContext.operation", "twice"),
    ("a misplaced operation",
     {"sourceContext": {"git": GIT}, "operationContext": {"operation": "update"}},
     "operationContext.operation", "top level"),
    ("a commit that is none", today({"repoUrl": "https://x/r", "commit": "HEAD~1"}),
     "sourceContext.git.commit", "hexadecimal"),
    ("a number for a name", today({**GIT, "branch": 5}), "sourceContext.git.branch", "a number"),
    ("two credentials",
     today({**GIT, "gitAuth": {"accessToken": "x", "basicAuth": {"userName": "u",
                                                                 "password": "p"}}}),
     "sourceContext.git.gitAuth", "only one"),
    ("no credentials", today({**GIT, "gitAuth": {"other": 1}}), "sourceContext.git.gitAuth",
     "needs one of"),
    ("no user", today({**GIT, "gitAuth": {"basicAuth": {"password": "p"}}}),
     "sourceContext.git.gitAuth.basicAuth.userName", "required"),
    ("a ciphertext", today(operationContext={"environmentVariables": {"A": {"ciphertext": "x"}}}),
     "operationContext.environmentVariables.A", "ciphertext"),
    ("an empty object", today(operationContext={"environmentVariables": {"A": {}}}),
     "operationContext.environmentVariables.A", "'secret'"),
    ("a secret number", today(operationContext={"environmentVariables": {"A": {"secret": 5}}}),
     "operationContext.environmentVariables.A.secret", "string"),
    ("a bad variable", today(operationContext={"environmentVariables": {"1A": "x"}}),
     "operationContext.environmentVariables.1A", "variable's name"),
    ("a NUL", today(operationContext={"environmentVariables": {"A": "x\0"}}),
     "operationContext.environmentVariables.A", "NUL"),
    ("commands that are none", today(operationContext={"preRunCommands": ["a", 5]}),
     "operationContext.preRunCommands[1]", "a number"),
    ("a text for a list", today(operationContext={"preRunCommands": "a"}),
     "operationContext.preRunCommands", "a list of strings"),
    ("a text for a flag",
     today(operationContext={"options": {"skipInstallDependencies": "yes"}}),
     "operationContext.options.skipInstallDependencies", "true or false"),
]  # fmt: skip


@pytest.mark.parametrize("row", WRONG, ids=[row[0] for row in WRONG])
def test_what_is_wrong_is_named_with_its_place(row: tuple[str, Any, str, str]) -> None:
    """A fault says where it is and what would be right."""
    _, body, place, words = row
    found = faults(body)
    assert words in found[place]


def test_the_preview_operation_has_its_own_place() -> None:
    """The preview dialect wants the operation in operationContext, and says so."""
    assert "operationContext" in faults(today(), Dialect.PREVIEW)["operation"]
    missing = faults({"sourceContext": {"git": GIT}}, Dialect.PREVIEW)
    assert "required" in missing["operationContext.operation"]


def test_all_faults_at_once() -> None:
    """Nobody has to mend a body one fault at a time."""
    git = {"branch": "a b", "commit": "x", "repoDir": "../up"}
    found = faults({"operation": "x", "sourceContext": {"git": git}})
    assert set(found) == {
        "operation",
        "sourceContext.git.repoUrl",
        "sourceContext.git.branch",
        "sourceContext.git.commit",
        "sourceContext.git.repoDir",
    }


def test_a_fault_never_shows_a_secret() -> None:
    """What is wrong with a secret is said without its value."""
    body = today(
        {**GIT, "gitAuth": {"accessToken": {"secret": [CANARY]}}},
        operationContext={"environmentVariables": {"A": {"secret": CANARY + "\0"}}},
    )
    found = faults(body)
    assert len(found) == 2
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    "repo_dir",
    ["", ".", "./infra", "infra", "infra/web", "..x", "x..", "a/.../b", "a.git", "%2", "a b"],
)
def test_a_directory_of_the_repository(repo_dir: str) -> None:
    """What lies below the repository's root is taken as it is."""
    assert read(today({**GIT, "repoDir": repo_dir})).source.repo_dir == repo_dir


@pytest.mark.parametrize(
    "repo_dir",
    [
        *("..", "../x", "a/..", "a/../..", "a/../b", "/etc", "//x", "~", "~root/x", "-x"),
        *("..\\x", "a\\..\\b", "\\x", "%2e%2e/x", "a/%2E%2e", "..%2fx", "a%2f..%2fb", "..%5Cx"),
        *("\uff0e\uff0e/x", "\u2024\u2024/x", ".git", "a/.git", ".git/hooks", ".GIT", "x" * 1001),
    ],
)
def test_a_directory_that_climbs_out(repo_dir: str) -> None:
    """However it is written, what could leave the repository is refused at its place."""
    found = faults(today({**GIT, "repoDir": repo_dir}))
    assert "leaves the repository" in found["sourceContext.git.repoDir"]


@pytest.mark.parametrize("name", ["main", "refs/heads/main", "feature/x", "a.b", "v1.0", "ü"])
def test_names_that_git_allows(name: str) -> None:
    """A branch is kept as written, and its short name is without refs/heads/."""
    source = read(today({**GIT, "branch": name})).source
    assert source.branch == name
    assert source.branch_name == name.removeprefix("refs/heads/")


@pytest.mark.parametrize(
    "name",
    [
        *("-x", "--upload-pack=x", "a b", "a..b", "a~1", "a^", "a:b", "a?", "a*", "a[b", "a\\b"),
        *("a@{1}", "a//b", "a/.b", "a.lock", "a.lock/b", "/a", ".a", "a/", "a.", "a\nb", "a\x7f"),
        "x" * 501,
    ],
)
@pytest.mark.parametrize("kind", ["branch", "tag"])
def test_names_that_git_does_not_allow(name: str, kind: str) -> None:
    """What cannot be a ref, above all what git would take for an option, is refused."""
    found = faults(today({"repoUrl": "https://x/r", kind: name}))
    assert "cannot be the name" in found[f"sourceContext.git.{kind}"]


@pytest.mark.parametrize("url", [".", "..", "./x", "../x"])
def test_a_relative_url_needs_no_branch(url: str) -> None:
    """A spec's own repository is deployed as it is checked out, where no branch is named."""
    assert is_relative_url(url)
    assert read({"sourceContext": {"git": {"repoUrl": url}}}, None).source.repo_url == url


@pytest.mark.parametrize("url", ["https://x/.", "/x", "x", ".x", "file:///x", ""])
def test_other_urls_are_not_relative(url: str) -> None:
    """Only a path from the spec is relative."""
    assert not is_relative_url(url)


def test_another_reader_of_secrets() -> None:
    """Where references stand for secrets, the caller's reader takes them and may refuse them."""

    def reference(value: object, pointer: Pointer) -> tuple[str, object] | Fault:
        return ("ref", value) if isinstance(value, dict) else Fault(pointer, "a reference")

    body = today(operationContext={"environmentVariables": {"A": {"secret": {"fromEnv": "X"}}}})
    found = request_from_json(body, reference, None)
    assert not isinstance(found, tuple)
    assert found.environment[0].value == ("ref", {"fromEnv": "X"})
    body = today(operationContext={"environmentVariables": {"A": {"secret": "literal"}}})
    refused = request_from_json(body, reference, None)
    assert isinstance(refused, tuple)
    assert refused[0].message == "a reference"
