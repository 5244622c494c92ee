from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.types import (
    DeploymentRequest,
    EnvironmentVariable,
    GitSource,
    Operation,
    Secret,
    StackRef,
)
from reconciler.engine import steps
from reconciler.engine.steps import BadLine, Home, Layers, Programs, StepKind

PROGRAMS = Programs(pulumi="/opt/pulumi/pulumi", shell="/bin/bash")  # noqa: S604 - a path
STACK = StackRef("acme", "web", "prod")
CWD = Path("/deployment/source")


def make_request(*commands: str, **environment: Secret | str) -> DeploymentRequest[Secret]:
    return DeploymentRequest(
        source=GitSource(repo_url="https://example.com/r.git", branch="main"),
        pre_run_commands=commands,
        environment=tuple(
            EnvironmentVariable(name=name, value=value) for name, value in environment.items()
        ),
    )


def see(
    request: DeploymentRequest[Secret],
    exported: dict[str, str] | None = None,
    base: dict[str, str] | None = None,
) -> dict[str, str]:
    return steps.program_environment(
        Layers(
            base=base or {"PATH": "/bin"},
            passphrase="generated",
            request=request,
            exported=exported or {},
            reserved={"PULUMI_CI_BUILD_ID": "d1"},
        )
    )


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (
            make_request(),
            [
                "Download deployment executor",
                "Get source",
                "Download dependencies",
                "Pulumi operation",
            ],
        ),
        (
            replace(make_request("a", "b"), skip_install_dependencies=True),
            [
                "Download deployment executor",
                "Get source",
                "Pre-run command 1",
                "Pre-run command 2",
                "Pulumi operation",
            ],
        ),
    ],
)
def test_the_steps_are_those_of_the_api(
    request_: DeploymentRequest[Secret], names: list[str]
) -> None:
    """The steps have the API's names; dependencies can be left out; the operation is last."""
    built = steps.build(request_)
    assert [s.name for s in built] == names
    assert [s.name for s in steps.initial_steps(request_)] == names
    assert built[-1].kind is StepKind.OPERATION


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("Download deployment executor", "Download deployment executor"),
        ("Get source", "Get Source"),
        ("Download dependencies", "Download Dependencies"),
        ("Pulumi operation", "Pulumi operation"),
    ],
)
def test_log_headers_are_the_api_s(name: str, header: str) -> None:
    """Two headers of the log are spelled unlike the steps' names."""
    assert steps.header(name) == header


def test_only_harmless_variables_of_the_engine_are_passed_on() -> None:
    """Of the engine's own environment a deployment sees where programs are, and no secret."""
    engine = {
        "PATH": "/usr/bin",
        "LANG": "C.UTF-8",
        "LC_ALL": "C",
        "TZ": "UTC",
        "SSL_CERT_FILE": "/certs",
        "https_proxy": "http://proxy",
        "NO_PROXY": "localhost",
        "AWS_SECRET_ACCESS_KEY": "x",
        "PULUMI_ACCESS_TOKEN": "x",
        "PYTHONPATH": "x",
        "LD_PRELOAD": "x",
        "HOME": "/root",
        "PULUMI_CONFIG_PASSPHRASE": "x",
    }
    home = Home(home=Path("/h"), temporary=Path("/t"), pulumi_home=Path("/p"))
    base = steps.base_environment(engine, home, before="/opt/pulumi", after="/venv/bin")
    assert base == {
        "PATH": "/opt/pulumi:/usr/bin:/venv/bin",
        "LANG": "C.UTF-8",
        "LC_ALL": "C",
        "TZ": "UTC",
        "SSL_CERT_FILE": "/certs",
        "https_proxy": "http://proxy",
        "NO_PROXY": "localhost",
        "HOME": "/h",
        "TMPDIR": "/t",
        "PULUMI_HOME": "/p",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def test_layers_of_the_environment() -> None:
    """Reserved names are over PULUMI_ENV, which is over the request, which is over the base."""
    request = make_request(
        A="request", B="request", PULUMI_CI_BUILD_ID="mine", PATH="request", S=Secret("s")
    )
    seen = see(request, exported={"B": "exported", "PULUMI_CI_BUILD_ID": "theirs"})
    assert seen == {
        "PATH": "request",
        "A": "request",
        "B": "exported",
        "S": "s",
        "PULUMI_CI_BUILD_ID": "d1",
        "PULUMI_CONFIG_PASSPHRASE": "generated",
    }


def test_the_marker_does_not_reach_the_program() -> None:
    """Who asked for a deployment is no business of the program, exported or not."""
    seen = see(make_request(RECONCILER_RUN_a_b_c="1"), exported={"RECONCILER_RUN_x": "1"})
    assert not [name for name in seen if name.startswith("RECONCILER_RUN_")]


@pytest.mark.parametrize("name", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
def test_a_stack_s_own_passphrase_comes_first(name: str) -> None:
    """The generated passphrase is for stacks that bring none."""
    own: dict[str, Secret | str] = {name: "own"}
    seen = see(make_request(**own))
    assert seen[name] == "own"
    assert "generated" not in seen.values()


def test_values_are_literal() -> None:
    """Nothing expands a value: `$X` is two characters."""
    assert see(make_request(A="$HOME `id`"))["A"] == "$HOME `id`"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", {}),
        ("\n\n", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1\r\n", {"A": "1"}),
        ("A= x = y \n", {"A": " x = y "}),
        ("A=\n", {"A": ""}),
        ("A=1\nA=2\n", {"A": "2"}),
        ('A="q"\n', {"A": '"q"'}),
        ("export A=1\n", BadLine(1)),
        ("A=1\nnonsense\n", BadLine(2)),
        ("1A=1\n", BadLine(1)),
        ("=1\n", BadLine(1)),
        ("A=\0\n", BadLine(1)),
    ],
)
def test_pulumi_env_lines(content: str, found: dict[str, str] | BadLine) -> None:
    """PULUMI_ENV holds NAME=value lines, the value verbatim; anything else is a bad line."""
    assert steps.parse_pulumi_env(content) == found


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0")),
    )
)
def test_what_is_written_to_pulumi_env_is_read(variables: dict[str, str]) -> None:
    """Every variable without line ends survives PULUMI_ENV unchanged."""
    content = "".join(f"{name}={value}\n" for name, value in variables.items())
    assert steps.parse_pulumi_env(content) == variables


@pytest.mark.parametrize(
    ("operation", "begins"),
    [
        (Operation.UPDATE, ("up", "--yes", "--skip-preview")),
        (Operation.PREVIEW, ("preview",)),
        (
            Operation.REFRESH,
            ("refresh", "--yes", "--skip-preview", "--clear-pending-creates"),
        ),
        (Operation.DESTROY, ("destroy", "--yes", "--skip-preview")),
    ],
)
def test_operations_are_pulumi_commands(operation: Operation, begins: tuple[str, ...]) -> None:
    """Each operation is one pulumi command on the stack, without prompts or progress dots."""
    command = steps.operation_command(PROGRAMS, (operation, STACK), CWD, {"A": "1"})
    assert command.argv == (
        "/opt/pulumi/pulumi",
        *begins,
        "--suppress-progress",
        "--non-interactive",
        "--color",
        "always",
        "-s",
        "organization/web/prod",
    )
    assert command.cwd == CWD


def test_a_pre_run_command_is_one_argument_of_a_shell() -> None:
    """A pre-run command is given to the shell as it is, whatever is in it."""
    text = "echo \"a\"; $(b) 'c'\nd"
    command = steps.pre_run_command(PROGRAMS, text, CWD, {})
    assert command.argv == ("/bin/bash", "-c", text)


def test_no_command_shows_its_environment() -> None:
    """A command that ends up in an error message does not show a secret."""
    environment = see(make_request(S=Secret("canary-value")))
    for command in (
        steps.install_command(PROGRAMS, CWD, environment),
        steps.stack_init_command(PROGRAMS, STACK, CWD, environment),
        steps.cancel_command(PROGRAMS, STACK, CWD, environment),
    ):
        assert "canary-value" not in repr(command)
        assert "canary-value" not in " ".join(command.argv)
