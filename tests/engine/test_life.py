"""The life of a deployment on a real engine, with real git and real pulumi."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.engine.server import Engine
from tests.engine.harness import Api, Gate, commit_all, git, make_repository, statuses
from tests.waiting import eventually

pytestmark = pytest.mark.real


@pytest.mark.parametrize("dialect", ["preview", "today"])
def test_an_update_runs_through_all_steps(
    api: Api, stack: str, repository: Path, dialect: str
) -> None:
    """A create is accepted, its five steps succeed in order, and its log tells each of them."""
    api = api.speaking(dialect)
    made = api.create(stack, repository, preRunCommands=["echo hello world"])
    assert made["version"] == 1
    assert made["consoleUrl"].endswith(f"/{stack}/deployments/1")
    ended = api.ended(stack, made["id"])
    assert ended["status"] == "succeeded", api.log(stack, made["id"])
    assert statuses(ended) == ["succeeded"] * 5
    commit = git(repository, "rev-parse", "HEAD")
    log = api.log(stack, made["id"])
    assert [line for line in log if line.startswith("# ")] == [
        "# Download deployment executor",
        "# Get Source",
        "# Download Dependencies",
        "# Pre-run command 1",
        "# Pulumi operation",
    ]
    assert log[log.index("# Get Source") + 1] == f"Fetching file://{repository}\n"
    assert f"Commit: {commit}\n" in log
    assert (
        f"Successfully cloned: file://{repository}\n"
        == log[log.index("# Download Dependencies") - 1]
    )
    assert "hello world\n" in log
    assert any("us-west-2" in line for line in log)


def test_by_id_and_by_version_are_the_same(api: Api, stack: str, repository: Path) -> None:
    """A deployment is found by its id and by its version, in both dialects."""
    made = api.create(stack, repository, operation="preview")
    api.ended(stack, made["id"])
    for caller in (api, api.speaking("today")):
        by_id = caller.get(f"{caller.path(stack)}/{made['id']}")
        assert caller.get(f"{caller.path(stack)}/version/1") == by_id
        assert caller.refused(f"{caller.path(stack)}/version/2")[0] == 404
        assert caller.refused(f"{caller.path(stack)}/version/x")[0] == 404
        assert caller.refused(f"{caller.path('acme/web/other')}/{made['id']}")[0] == 404
    assert by_id["pulumiOperation"] == "preview"


def test_operations_work_on_the_stack_that_was_made(
    api: Api, engine: Engine, stack: str, repository: Path
) -> None:
    """Update, refresh, preview and destroy run one after the other on one stack."""
    options = {"skipInstallDependencies": True}
    ids = [
        api.create(stack, repository, operation=operation, options=options)["id"]
        for operation in ("update", "refresh", "preview", "destroy")
    ]
    for deployment_id in ids:
        assert api.ended(stack, deployment_id)["status"] == "succeeded", api.log(
            stack, deployment_id
        )
    assert len(statuses(api.deployment(stack, ids[0]))) == 3
    assert "Created stack" in "".join(api.log(stack, ids[0]))
    assert "Created stack" not in "".join(api.log(stack, ids[1]))
    assert "destroy" in "".join(api.log(stack, ids[3])).lower()
    # The end is written down first.
    eventually(lambda: not list(engine.layout.work.iterdir()), "the workspaces are deleted")


def test_a_directory_of_the_repository(api: Api, repository: Path, stack: str) -> None:
    """RepoDir names the program's directory; another project there is an error naming both."""
    stack = stack.replace("/web/", "/db/")
    made = api.create(stack, repository, source={"repoDir": "infra/db"})
    assert api.ended(stack, made["id"])["status"] == "succeeded"
    made = api.create(stack, repository)
    ended = api.ended(stack, made["id"])
    assert statuses(ended)[:3] == ["succeeded", "failed", "not-started"]
    assert "'web'" in api.log(stack, made["id"])[-1]
    assert "'db'" in api.log(stack, made["id"])[-1]
    assert "ending" not in ended


def test_a_commit_is_checked_out_detached(api: Api, stack: str, tmp_path: Path) -> None:
    """A commit is deployed as it was, even when the branch has moved on."""
    repository = make_repository(tmp_path / "r")
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "new").touch()
    commit_all(repository)
    body = api.body(
        {"repoURL": f"file://{repository}", "commit": commit},
        preRunCommands=["ls; git symbolic-ref HEAD || echo detached"],
    )
    made = api.post(api.path(stack), body).json()
    assert api.ended(stack, made["id"])["status"] == "succeeded"
    log = api.log(stack, made["id"])
    assert f"Commit: {commit}\n" in log
    assert "detached\n" in log
    assert "new\n" not in log


def test_pre_run_commands_share_files_and_pulumi_env_only(
    api: Api, stack: str, repository: Path
) -> None:
    """Each command has a shell of its own: PULUMI_ENV and files go on, cd and export do not."""
    made = api.create(
        stack,
        repository,
        preRunCommands=[
            "test -e PULUMI_ENV && test ! -s PULUMI_ENV; cd /; export LOST=1; touch ~/kept",
            "echo HELLO=world >PULUMI_ENV; echo 'LITERAL=$HELLO = x' >>PULUMI_ENV; ls ~",
            'test ! -s PULUMI_ENV && echo "$HELLO|$LITERAL|$LOST|$A|$PULUMI_CI_SYSTEM|$B"',
        ],
        environmentVariables={"A": "$HOME", "B": "before", "PULUMI_CI_SYSTEM": "mine"},
    )
    assert api.ended(stack, made["id"])["status"] == "succeeded", api.log(stack, made["id"])
    log = api.log(stack, made["id"])
    assert "kept\n" in log
    assert "world|$HELLO = x||$HOME|Pulumi Deploy|before\n" in log


def test_what_a_program_sees(
    api: Api,
    engine: Engine,
    stack: str,
    repository: Path,
) -> None:
    """The reserved variables are set last, the marker is taken out, nothing else leaks in."""
    made = api.create(
        stack,
        repository,
        operation="preview",
        preRunCommands=["env | cut -d= -f1 | sort", "env | grep -v -e TOKEN -e PASSPHRASE"],
        environmentVariables={"MINE": "1", "RECONCILER_RUN_owner_run_digest": "1"},
    )
    assert api.ended(stack, made["id"])["status"] == "succeeded"
    lines = [line.strip() for line in api.log(stack, made["id"])]
    names = lines[lines.index("# Pre-run command 1") + 1 : lines.index("# Pre-run command 2")]
    allowed = {
        *("PATH", "HOME", "TMPDIR", "PULUMI_HOME", "PULUMI_SKIP_UPDATE_CHECK", "MINE"),
        *("PULUMI_CI_BUILD_URL", "PULUMI_CI_SYSTEM", "PULUMI_CI_BUILD_NUMBER"),
        *("PULUMI_CI_BUILD_ID", "PULUMI_ACCESS_TOKEN", "PULUMI_BACKEND_URL"),
        *("PULUMI_CONFIG_PASSPHRASE", "LANG", "TZ", "PWD", "SHLVL", "_", "OLDPWD"),
    }
    assert {n for n in names if not n.startswith(("LC_", "SSL_"))} - allowed == {
        n for n in names if "proxy" in n.lower()
    }
    assert f"PULUMI_CI_BUILD_ID={made['id']}" in lines
    assert "PULUMI_CI_BUILD_NUMBER=1" in lines
    assert f"PULUMI_BACKEND_URL=file://{engine.layout.backend('acme')}" in lines
    assert f"PULUMI_CI_BUILD_URL={made['consoleUrl']}" in lines
    shown = api.deployment(stack, made["id"])["configuration"]["environmentVariables"]
    assert {"name": "RECONCILER_RUN_owner_run_digest", "value": "1", "secret": False} in shown


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("exit 3", "exit code 3"),
        ("kill -9 $$", "signal 9"),
        ("echo nonsense >PULUMI_ENV", "PULUMI_ENV, line 1"),
        ("rm PULUMI_ENV; ln -s /etc/passwd PULUMI_ENV", "PULUMI_ENV is a link"),
        ("cd ..; mv source away; ln -s / source", "repository"),
    ],
)
def test_a_failing_command_fails_its_step(
    api: Api, stack: str, repository: Path, command: str, words: str
) -> None:
    """The first command that fails ends the deployment; its log says how, the rest never start."""
    made = api.create(stack, repository, preRunCommands=[command, "echo later"])
    ended = api.ended(stack, made["id"])
    assert ended["status"] == "failed"
    assert statuses(ended) == [*["succeeded"] * 3, "failed", "not-started", "not-started"]
    assert words in api.log(stack, made["id"])[-1]
    assert "root:" not in "".join(api.log(stack, made["id"]))


def test_a_source_that_cannot_be_cloned(
    api: Api, stack: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing repository fails the second step, with git's own words; the engine warns of it."""
    made = api.create(stack, tmp_path / "absent")
    ended = api.ended(stack, made["id"])
    assert statuses(ended) == ["succeeded", "failed", "not-started", "not-started"]
    assert "absent" in "".join(api.log(stack, made["id"]))
    told = f"deployment {made['id']}: version 1 of {stack} has failed in step 'Get source'"

    def warned() -> list[str]:
        return [record.levelname for record in caplog.records if record.getMessage() == told]

    assert eventually(warned, "that the engine tells of it") == ["WARNING"]


def test_a_link_out_of_the_repository_is_refused(api: Api, stack: str, tmp_path: Path) -> None:
    """A repoDir that is a link to somewhere else is refused, and nothing there is read."""
    repository = make_repository(tmp_path / "r")
    outside = make_repository(tmp_path / "outside", project="canary")
    (repository / "link").symlink_to(outside)
    commit_all(repository)
    made = api.create(stack, repository, source={"repoDir": "link"})
    assert api.ended(stack, made["id"])["status"] == "failed"
    log = "".join(api.log(stack, made["id"]))
    assert "repoDir" in log
    assert "canary" not in log


def test_a_lost_state_is_never_a_first_use(
    api: Api, engine: Engine, stack: str, repository: Path
) -> None:
    """A stack that the engine knows and whose file is gone is an error that says to restore it."""
    made = api.create(stack, repository, operation="preview")
    assert api.ended(stack, made["id"])["status"] == "succeeded"
    name = stack.rpartition("/")[2]
    backend = engine.layout.backend("acme") / ".pulumi" / "stacks" / "web"
    for path in backend.glob(f"{name}.json*"):
        path.unlink()
    made = api.create(stack, repository, operation="preview")
    assert api.ended(stack, made["id"])["status"] == "failed"
    assert "restore it" in api.log(stack, made["id"])[-1]
    assert not list(backend.glob(f"{name}.json"))


def test_secrets_of_a_stack_open_in_the_next_deployment(
    api: Api, stack: str, tmp_path: Path
) -> None:
    """The organization's passphrase stays the same: a secret output can be read by the next run."""
    program = "name: {project}\nruntime: yaml\noutputs:\n  hidden:\n    fn::secret: canary-output\n"
    repository = make_repository(tmp_path / "r", program=program)
    for _ in range(2):
        made = api.create(stack, repository)
        assert api.ended(stack, made["id"])["status"] == "succeeded", api.log(stack, made["id"])


def test_local_repositories_may_lie_anywhere(api: Api, stack: str, gate: Gate) -> None:
    """A local repository is found even where the sandbox has a directory of its own."""
    repository = gate.directory / f"repository-{stack.rpartition('/')[2]}"
    make_repository(repository)
    made = api.create(stack, repository, operation="preview")
    assert api.ended(stack, made["id"])["status"] == "succeeded"


def test_lists_of_both_dialects(api: Api, repository: Path, make_token: Callable[..., str]) -> None:
    """The preview list is an array with the oldest first, today's an object, newest first."""
    api = Api(api.url, make_token("lists"))
    today = api.speaking("today")
    stack = "lists/web/prod"
    ids = [api.create(stack, repository, operation="preview")["id"] for _ in range(3)]
    other = api.create("lists/web/dev", repository, operation="preview")["id"]
    for deployment_id in ids:
        api.ended(stack, deployment_id)
    api.ended("lists/web/dev", other)
    assert [d["id"] for d in api.get(api.path(stack))] == ids
    assert [d["version"] for d in api.get(api.path(stack), page=2, pageSize=2)] == [3]
    assert api.get(api.path(stack), page=9) == []
    page = today.get(today.path(stack), pageSize=2)
    assert [d["id"] for d in page["deployments"]] == ids[:0:-1]
    assert (page["itemsPerPage"], page["total"]) == (2, 3)
    page = today.get(today.path(stack), asc="true", sort="version")
    assert [d["id"] for d in page["deployments"]] == ids
    page = today.get("/api/orgs/lists/deployments")
    assert [d["id"] for d in page["deployments"]] == [other, *reversed(ids)]
    assert {d["stackName"] for d in page["deployments"]} == {"prod", "dev"}
    for query in ({"page": 0}, {"page": "x"}, {"pageSize": 0}, {"pageSize": 101}):
        assert api.refused(api.path(stack), **query)[0] == 400
        assert today.refused(today.path(stack), **query)[0] == 400
    assert today.refused(today.path(stack), sort="name")[0] == 400
    assert today.refused(today.path(stack), asc="maybe")[0] == 400


def test_logs_by_step(api: Api, stack: str, repository: Path) -> None:
    """Steps count from 1 in the preview API and from 0 in today's; a next offset goes on."""
    made = api.create(stack, repository, operation="preview", preRunCommands=["seq 1 7"])
    api.ended(stack, made["id"])
    today = api.speaking("today")
    path, today_path = (f"{a.path(stack)}/{made['id']}/logs" for a in (api, today))
    page = api.get(path + "/", step=4, count=5, offset=0)
    assert [line["line"] for line in page["lines"]] == [f"{n}\n" for n in range(1, 6)]
    assert page["nextOffset"] == 5
    page = api.get(path, job=0, step=4, offset=5)
    assert [line["line"] for line in page["lines"]] == ["6\n", "7\n"]
    assert "nextOffset" not in page
    assert not [line for line in page["lines"] if "header" in line]
    assert today.get(today_path, step=3, count=499)["lines"][0]["line"] == "1\n"
    for query in ({"step": 0}, {"step": 1, "job": 1}, {"step": 1, "count": 0}):
        assert api.refused(path, **query)[0] == 400
    assert api.refused(path, step=6)[0] == 404
    assert today.refused(today_path, step=0, count=500)[0] == 400
    assert api.refused(path, nextToken="0.9.0")[0] == 400
    assert api.refused(path, nextToken="x")[0] == 400


def test_what_the_cli_asks_first(api: Api, engine: Engine) -> None:
    """The few calls of the Pulumi CLI before its deployments are answered."""
    user = api.get("/api/user")
    assert user["githubLogin"] == "norm"
    assert user["organizations"][0]["githubLogin"] == "acme"
    assert api.get("/api/user/organizations/default") == {"GitHubLogin": "acme"}
    assert api.get("/api/capabilities") == {"capabilities": []}
    assert "latestVersion" in api.get("/api/cli/version")
    path = "/api/stacks/acme/web/asked"
    assert api.refused(path)[0] == 404
    assert api.post("/api/stacks/acme/web", {"stackName": "asked"}).status_code == 200
    assert api.get(path)["stackName"] == "asked"
    again = api.post("/api/stacks/acme/web", {"stackName": "asked"})
    assert again.status_code == 409
    assert "already exists" in again.json()["message"]
    assert api.post("/api/stacks/acme/web", {"stackName": "a/b"}).status_code == 400
    assert json.loads(api.session.get(engine.url + "/healthz", headers={"Authorization": ""}).text)


def test_pre_run_commands_run_in_the_shell_that_is_asked_for(
    api: Api, stack: str, repository: Path
) -> None:
    """`options.shell` names the shell of the pre-run commands; one that is not there fails them."""
    command = ['test -z "${BASH_VERSION:-}"']
    plain = api.create(stack, repository, operation="preview", preRunCommands=command)["id"]
    assert statuses(api.ended(stack, plain))[3] == "failed"
    for shell, status in (("sh", "succeeded"), ("no-such-shell", "failed")):
        options = {"shell": shell}
        asked = {"preRunCommands": command, "options": options}
        made = api.create(stack, repository, operation="preview", **asked)["id"]
        assert api.ended(stack, made)["status"] == status, api.log(stack, made)
