"""`reconciler import`, from a file to a spec: what is carried over, and what is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.spec_together import check_together
from reconciler.adapters.specs import scan
from reconciler.cli.parser import run

CURL = r"""curl -i -XPOST -H "Content-Type: application/json" -H "Authorization: token $PULUMI_ACCESS_TOKEN" \
--location "https://api.pulumi.com/api/preview/my-org/aws-ts-s3/dev/deployments" \
-d '{
"sourceContext": {
"git": {
"repoURL": "https://github.com/pulumi/deploy-demos.git",
"branch": "refs/heads/demo",
"repoDir": "pulumi-programs/aws-ts-s3"
}
},
"operationContext": {
"operation": "update",
"preRunCommands": [
"echo \"hello world\"",
],
"environmentVariables": {
"AWS_REGION": "us-west-2",
"AWS_ACCESS_KEY_ID": "$AWS_ACCESS_KEY_ID",
"AWS_SECRET_ACCESS_KEY": "$AWS_SECRET_ACCESS_KEY",
"AWS_SESSION_TOKEN": "$AWS_SESSION_TOKEN"
}
}
}'
"""  # noqa: E501 - letter for letter
LOGS = """curl -XGET -H "Content-Type: application/json" -H "Authorization: token $PULUMI_ACCESS_TOKEN" \\
--location "https://api.pulumi.com/api/preview/my-org/web/dev/deployments/2ee5/logs?nextToken=0.2.1"
curl -i -XPOST -H "Authorization: token $PULUMI_ACCESS_TOKEN" \\
--location "https://api.pulumi.com/api/preview/my-org/web/dev/deployments/2ee5/cancel"
"""  # noqa: E501 - letter for letter
GIT = {"repoUrl": "https://example.com/acme/infra.git", "branch": "main"}


@dataclass(frozen=True)
class Done:
    """What a call came to: its exit code, its words, and the specs that it wrote."""

    code: int
    out: str
    err: str
    specs: Mapping[str, Any]
    texts: Mapping[str, str]

    @property
    def everything(self) -> str:
        return "\n".join([self.out, self.err, *self.texts.values()])

    @property
    def spec(self) -> Any:
        assert len(self.specs) == 1, self.everything
        return next(iter(self.specs.values()))


class Importer:
    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.specs = root / "specs"
        self.capsys = capsys

    def file(self, name: str, content: object) -> str:
        path = self.root / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def __call__(self, *arguments: str) -> Done:
        code = run(["import", "-d", str(self.specs), *arguments])
        said = self.capsys.readouterr()
        files = sorted(self.specs.glob("*.yaml")) if self.specs.exists() else []
        if files:
            catalog = scan(self.specs, SecretRules())
            assert catalog.problems == (), catalog.problems
            assert check_together(catalog.specs) == ()
        texts = {path.stem: path.read_text() for path in files}
        specs = {name: yaml.safe_load(text) for name, text in texts.items()}
        return Done(code, said.out, said.err, specs, texts)

    def request(self, content: object, *arguments: str) -> Done:
        return self(self.file("create.json", content), "--stack", "acme/web/prod", *arguments)


@pytest.fixture
def importer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Importer:
    return Importer(tmp_path, capsys)


def variable(name: str) -> dict[str, Any]:
    return {"secret": {"fromEnv": f"RECONCILER_SECRET_{name}"}}


# ---------------------------------------------------------------- requests and curl


def test_the_documentations_curl_example(importer: Importer) -> None:
    """The preview API's own example becomes a spec; what a shell would fill in is asked for."""
    done = importer(importer.file("create.sh", CURL))
    assert done.code == 0
    assert done.spec == {
        "stack": "my-org/aws-ts-s3/dev",
        "sourceContext": {
            "git": {
                "repoUrl": "https://github.com/pulumi/deploy-demos.git",
                "branch": "refs/heads/demo",
                "repoDir": "pulumi-programs/aws-ts-s3",
            }
        },
        "operationContext": {
            "preRunCommands": ['echo "hello world"'],
            "environmentVariables": {
                "AWS_REGION": "us-west-2",
                "AWS_ACCESS_KEY_ID": variable("AWS_TS_S3_DEV_AWS_ACCESS_KEY_ID"),
                "AWS_SECRET_ACCESS_KEY": variable("AWS_TS_S3_DEV_AWS_SECRET_ACCESS_KEY"),
                "AWS_SESSION_TOKEN": variable("AWS_TS_S3_DEV_AWS_SESSION_TOKEN"),
            },
        },
    }
    assert "a comma stands before a closing bracket" in done.out
    assert "  RECONCILER_SECRET_AWS_TS_S3_DEV_AWS_SESSION_TOKEN\n" in done.out


def test_calls_that_deploy_nothing_are_passed_over(importer: Importer) -> None:
    """A GET and a cancel are no specs: they are named, and nothing to import is an error."""
    done = importer(importer.file("calls.sh", LOGS))
    assert (done.code, done.specs) == (1, {})
    assert done.out.count("passed over: asks for no deployment") == 2
    assert "nothing to import was found" in done.err


@pytest.mark.parametrize(
    "command",
    [
        "curl -X POST {url} -d '{body}'",
        "curl {url} --json '{body}' -sSf",
        "TOKEN=x curl -fsSL --url {url} --request POST --data-raw '{body}'",
        "$ curl --data-binary @body.json {url}",
        "echo begin && curl -d @body.json {url} | jq . > out.json",
        "curl -XPOST --data='{body}' -u ada:canary-of-a-password {url}",
    ],
)
def test_curl_in_many_ways(importer: Importer, command: str) -> None:
    """Options short and long, data in line or in a file beside, prompts and pipes are read."""
    url = "http://127.0.0.1:8080/api/stacks/acme/web/prod/deployments"
    body = json.dumps({"operation": "refresh", "sourceContext": {"git": GIT}})
    importer.file("body.json", body)
    text = command.replace("{url}", url).replace("{body}", body)
    done = importer(importer.file("create.sh", text))
    assert done.code == 0, done.err
    assert done.spec == {
        "stack": "acme/web/prod",
        "sourceContext": {"git": GIT},
        "operationContext": {"operation": "refresh"},
    }
    assert "canary" not in done.everything


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("curl {url} -d @-", "create.sh:1: not imported: -d @- reads a body"),
        (
            "\ncurl {url} -d @/etc/passwd",
            "create.sh:2: not imported: its body cannot be read: leads out",
        ),
        ("curl {url} -d '{'", "its body is no valid JSON here"),
        ('curl {url} -d \'{"a": 1', "create.sh:1: not imported: a quote is not closed"),
        ("curl {url} -F a=b", "-F makes a body that is no JSON"),
    ],
)
def test_a_curl_that_cannot_be_read_says_why(importer: Importer, command: str, said: str) -> None:
    """What is not in the file, or not JSON, is an error with its line."""
    url = "http://127.0.0.1:8080/api/stacks/acme/web/prod/deployments"
    done = importer(importer.file("create.sh", command.replace("{url}", url)))
    assert (done.code, done.specs) == (1, {})
    assert said in done.err


def test_what_a_shell_would_put_in_is_not_guessed(importer: Importer) -> None:
    """An expansion in double quotes is named; in the URL's stack it makes --stack needed."""
    text = 'curl https://x/api/stacks/$ORG/web/prod/deployments -d "$(cat body.json)"'
    done = importer(importer.file("create.sh", text))
    assert done.code == 1
    body = r"{\"sourceContext\": {\"git\": {\"repoUrl\": \"https://x/y\", \"branch\": \"$B\"}}}"
    text = f'curl https://x/api/stacks/$ORG/web/prod/deployments -d "{body}"'
    done = importer(importer.file("create.sh", text))
    assert "names no stack; give --stack ORG/PROJECT/STACK" in done.err
    done = importer(importer.file("create.sh", text), "--stack", "acme/web/prod")
    assert "names no branch, commit or tag" in done.err


def test_a_body_of_todays_dialect(importer: Importer) -> None:
    """All that a spec can say is carried over; what it cannot is told, field by field."""
    done = importer.request(
        {
            "operation": "update",
            "inheritSettings": True,
            "agentPoolID": "pool-7",
            "executorContext": {
                "workingDirectory": "",
                "executorImage": {
                    "reference": "registry.example.com/tools:1",
                    "credentials": {"username": "ada", "password": {"secret": "canary-image"}},
                },
            },
            "sourceContext": {
                "git": {
                    **GIT,
                    "gitAuth": {
                        "sshAuth": {
                            "sshPrivateKey": {"ciphertext": "Y2FuYXJ5LWNpcGhlcg=="},
                            "password": {"isSecret": True, "value": "canary-password"},
                        }
                    },
                }
            },
            "operationContext": {
                "operation": "",
                "environmentVariables": {
                    "REGION": "eu",
                    "FLAG": {"isSecret": False, "value": "on"},
                    "DB_PASSWORD": "canary-in-the-clear",
                    "PULUMI_CI_SYSTEM": "x",
                    "not a name": "x",
                },
                "options": {"skipInstallDependencies": True, "shell": "", "colour": "always"},
                "oidc": {
                    "aws": {"roleArn": "arn:aws:iam::123456789012:role/x", "sessionName": "web"}
                },
            },
        }
    )
    assert done.code == 0
    image = {
        "reference": "registry.example.com/tools:1",
        "credentials": {"username": "ada", "password": variable("WEB_PROD_IMAGE_PASSWORD")},
    }
    ssh = {
        "sshPrivateKey": variable("WEB_PROD_GIT_SSH_KEY"),
        "password": variable("WEB_PROD_GIT_SSH_PASSWORD"),
    }
    assert done.spec == {
        "stack": "acme/web/prod",
        "sourceContext": {"git": {**GIT, "gitAuth": {"sshAuth": ssh}}},
        "executorContext": {"executorImage": image},
        "operationContext": {
            "environmentVariables": {
                "REGION": "eu",
                "FLAG": "on",
                "DB_PASSWORD": variable("WEB_PROD_DB_PASSWORD"),
            },
            "options": {"skipInstallDependencies": True},
            "oidc": {"aws": {"roleArn": "arn:aws:iam::123456789012:role/x", "sessionName": "web"}},
        },
        "inheritSettings": True,
    }
    for lost in ("agentPoolID", "PULUMI_CI_SYSTEM", "options/colour", "not a name"):
        assert f"{lost}: " in done.out
    assert "canary" not in done.everything
    assert "encrypted by another service" in done.everything


def test_a_url_with_a_token_becomes_git_auth(importer: Importer) -> None:
    """A user and a token in a URL are taken out of it, and asked for by name."""
    git = {**GIT, "repoUrl": "https://ada:canary-token@example.com/acme/infra.git"}
    done = importer.request({"operation": "update", "sourceContext": {"git": git}})
    basic = {
        "userName": variable("WEB_PROD_GIT_USER_NAME"),
        "password": variable("WEB_PROD_GIT_PASSWORD"),
    }
    assert done.spec["sourceContext"]["git"] == {**GIT, "gitAuth": {"basicAuth": basic}}
    assert "canary" not in done.everything


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://example.com/i.git?token=canary-1&x=canary-2", "https://example.com/i.git"),
        ("ssh://git:canary-password@example.com/i.git", "ssh://git@example.com/i.git"),
    ],
)
def test_what_else_of_a_url_may_be_a_secret_is_left_out(
    importer: Importer, url: str, kept: str
) -> None:
    """A query, and a password that ssh has no use for, are taken out of a URL and told of."""
    git = {"repoUrl": url, "commit": "cc5442870f1195216d6bc340c14f8ae7d28cf3e2"}
    done = importer.request({"operation": "update", "sourceContext": {"git": git}})
    assert done.spec["sourceContext"]["git"] == {**git, "repoUrl": kept}
    assert "/sourceContext/git/repoUrl: " in done.out
    assert "canary" not in done.everything


def test_defaults_of_the_directory_hold_for_what_is_imported(importer: Importer) -> None:
    """A `_defaults.yaml` that does not go with an import refuses it, naming the place."""
    importer.specs.mkdir()
    defaults = importer.specs / "_defaults.yaml"
    defaults.write_text("sourceContext: {git: {tag: v1}}\n")
    body = {"sourceContext": {"git": GIT}}
    done = importer.request(body)
    assert done.code == 1
    assert "not imported: 'branch' and 'tag' exclude one another" in done.err
    defaults.write_text("labels: {team: web}\n")
    assert run(["import", "-d", str(importer.specs), "--stack", "acme/web/prod",
                importer.file("create.json", body)]) == 0  # fmt: skip
    catalog = scan(importer.specs, SecretRules())
    assert (len(catalog.specs), catalog.problems) == (1, ())


def test_a_secret_that_stands_twice_is_found(importer: Importer) -> None:
    """A secret's value in a command or in another variable does not land in the spec."""
    done = importer.request(
        {
            "sourceContext": {"git": GIT},
            "operationContext": {
                "preRunCommands": ["login --with canary-password", "true"],
                "environmentVariables": {
                    "A": {"secret": "canary-password"},
                    "ADDRESS": "db://ada/canary-password",
                },
            },
        }
    )
    assert done.spec["operationContext"]["preRunCommands"] == ["true"]
    assert "preRunCommands/0: holds the value of a secret" in done.out
    assert "canary" not in done.everything


def test_a_destroy_is_imported_but_held(importer: Importer) -> None:
    """A request that destroys makes a spec that does nothing before a person resumes it."""
    done = importer.request({"operation": "destroy", "sourceContext": {"git": GIT}})
    assert done.spec["reconcile"] == {"suspend": True, "confirm": "destroy"}
    assert "DESTROYS" in done.texts["web-prod"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{", "create.json:1:2: not imported: is no valid JSON here"),
        ('{"a": 1, "a": 2}', "holds a key twice"),
        ("[" * 5000, "nested"),
        ('{"operation": "update"}', "names no git repository"),
        ('{"hello": "world"}', "is none of what can be imported"),
        ({"operation": "detect-drift", "sourceContext": {"git": GIT}}, "is no state of a stack"),
        ({"sourceContext": {"git": {"repoUrl": "x"}}}, "names no branch, commit or tag"),
        ({"sourceContext": {"git": {**GIT, "repoDir": "a/../.."}}}, "leaves the repository"),
        ("", "is empty"),
        ("a: &x 1", "an anchor (&) is not allowed"),
    ],
)
def test_what_is_no_request_is_refused(importer: Importer, body: object, said: str) -> None:
    """A refusal names the file, the place and the reason, and nothing is written."""
    done = importer.request(body)
    assert (done.code, done.specs) == (1, {})
    assert said in done.err
    assert "create.json" in done.err


def test_nothing_is_ever_overwritten(importer: Importer) -> None:
    """A name, a stack or a file that is there already stays as it is."""
    body = {"operation": "update", "sourceContext": {"git": GIT}}
    before = importer.request(body).texts
    done = importer.request({**body, "operation": "refresh"})
    assert done.code == 1
    assert "there is a spec named web-prod already" in done.err
    assert done.texts == before
    (importer.specs / "web-prod.yaml").rename(importer.specs / "other.yaml")
    done = importer.request(body)
    assert "acme/web/prod belongs to other" in done.err
    assert set(done.specs) == {"other"}


def test_a_dry_run_writes_nothing_and_shows_all(importer: Importer) -> None:
    """With --dry-run the spec is shown, and neither it nor its directory is made."""
    done = importer.request({"sourceContext": {"git": GIT}, "tag": "x"}, "--dry-run")
    assert done.code == 0
    assert "  | stack: acme/web/prod" in done.out
    assert not importer.specs.exists()


def test_strict_makes_a_loss_an_error(importer: Importer) -> None:
    """What is lost ends with 1 only where --strict was given."""
    done = importer.request({"sourceContext": {"git": GIT}, "tag": "x"}, "--dry-run", "--strict")
    assert done.code == 1
    assert importer.request({"sourceContext": {"git": GIT}}, "--strict").code == 0


def test_a_file_too_large_or_absent_is_refused(importer: Importer) -> None:
    """A file has at most a mebibyte; a folder, a pipe and nothing at all are no files."""
    done = importer(importer.file("big.json", " " * (1 << 20) + "{}"), str(importer.root), "absent")
    assert done.code == 1
    assert "is larger than 1048576 bytes" in done.err
    assert "is no regular file" in done.err
    assert "absent: not imported: cannot be read: No such file" in done.err


# ---------------------------------------------------------------- settings


SETTINGS = {
    "version": 3,
    "executorContext": {"workingDirectory": ""},
    "gitHub": {
        "repository": "acme/infra",
        "deployCommits": False,
        "previewPullRequests": True,
        "paths": ["web/**"],
    },
    "sourceContext": {"git": {"branch": "refs/heads/main", "repoDir": "web"}},
    "operationContext": {
        "options": {"deleteAfterDestroy": False, "shell": ""},
        "environmentVariables": {"TOKEN": {"ciphertext": "Y2FuYXJ5"}},
    },
    "agentPoolID": "",
}
SETTINGS_SPEC = {
    "stack": "acme/web/prod",
    "sourceContext": {
        "git": {
            "repoUrl": "https://github.com/acme/infra.git",
            "branch": "refs/heads/main",
            "repoDir": "web",
        }
    },
    "operationContext": {"environmentVariables": {"TOKEN": variable("WEB_PROD_TOKEN")}},
    "reconcile": {"onChange": ["spec"], "sourcePaths": ["web/**"]},
}


@pytest.mark.parametrize("form", ["json", "deploy.yaml"])
def test_settings_in_the_apis_form(importer: Importer, form: str) -> None:
    """What the settings' route answers, and a Pulumi.STACK.deploy.yaml, are the same spec."""
    text = json.dumps(SETTINGS) if form == "json" else yaml.safe_dump({"settings": SETTINGS})
    done = importer(importer.file(f"Pulumi.prod.{form}", text), "--stack", "acme/web/prod")
    assert done.spec == SETTINGS_SPEC
    assert "gitHub/previewPullRequests: pull requests are not looked at" in done.out


PRINTED = """\
Tag:                         rev-42

Source: GitHub
  Repository:                acme/infra
  Branch:                    refs/heads/main
  Pulumi.yaml folder:        web
  Run previews for PRs:      no
  Run updates on push:       no
  PR stack template:         no
  Path filters:              web/**

Deployment runner
  Runner pool:               pool-1

Pre-run commands
  echo hi

Environment variables
  TOKEN

OIDC
  AWS
    Role ARN:                arn:aws:iam::123456789012:role/deploy
    Session name:            web
    Session duration:        30m0s

Advanced
  Skip install dependencies: yes
"""
PRINTED_JSON = {
    "tag": "rev-42",
    "source": {
        "kind": "github",
        "repository": "acme/infra",
        "branch": "refs/heads/main",
        "folder": "web",
        "previewPullRequests": False,
        "runUpdatesOnPush": False,
        "pullRequestTemplate": False,
        "pathFilters": ["web/**"],
    },
    "runner": {"pool": "pool-1"},
    "preRunCommands": ["echo hi"],
    "environmentVariables": ["TOKEN"],
    "oidc": {
        "aws": {
            "roleArn": "arn:aws:iam::123456789012:role/deploy",
            "sessionName": "web",
            "sessionDuration": "30m0s",
        }
    },
    "advanced": {"skipInstallDependencies": True},
}


@pytest.mark.parametrize("printed", [PRINTED, PRINTED_JSON], ids=["text", "json"])
def test_settings_as_the_cli_prints_them(importer: Importer, printed: object) -> None:
    """Both forms of `pulumi deployment settings get` are read; what they hide is asked for."""
    done = importer(importer.file("settings", printed), "--stack", "acme/web/prod")
    assert done.code == 0, done.err
    assert done.spec == {
        **SETTINGS_SPEC,
        "operationContext": {
            "preRunCommands": ["echo hi"],
            "environmentVariables": {"TOKEN": variable("WEB_PROD_TOKEN")},
            "oidc": {
                "aws": {
                    "roleArn": "arn:aws:iam::123456789012:role/deploy",
                    "sessionName": "web",
                    "duration": "30m0s",
                }
            },
            "options": {"skipInstallDependencies": True},
        },
    }
    assert "/tag: " in done.out
    assert "/runner/pool: " in done.out


def test_a_printed_text_that_is_cut_is_refused(importer: Importer) -> None:
    """A line that the command never prints is an error with its number."""
    done = importer(importer.file("settings", PRINTED + "\nSomething else\n"), "--stack", "a/b/c")
    line = PRINTED.count("\n") + 2
    assert f"settings:{line}: not imported: is no line of what" in done.err


def test_schedules_go_to_the_spec_of_their_stack(importer: Importer) -> None:
    """Calls that make schedules are joined with the request of the same stack."""
    base = "curl http://127.0.0.1:8080/api/stacks/acme/web/prod/deployments"
    calls = {
        "": {"operation": "update", "sourceContext": {"git": GIT}},
        "/schedules": {"scheduleCron": "0 3 * * 0", "request": {"operation": "refresh"}},
        "/drift/schedules": {"scheduleCron": "0 * * * *", "autoRemediate": True},
        "/ttl/schedules": {"timestamp": "2031-01-01T00:00:00Z", "deleteAfterDestroy": False},
    }
    text = "\n".join(f"{base}{path} --json '{json.dumps(body)}'" for path, body in calls.items())
    done = importer(importer.file("calls.sh", text))
    assert done.code == 0, done.err
    assert done.spec["schedules"] == [
        {"name": "refresh", "cron": "0 3 * * 0", "timeZone": "UTC", "operation": "refresh"},
        {"name": "detect-drift", "cron": "0 * * * *", "timeZone": "UTC",
         "operation": "detect-drift"},
    ]  # fmt: skip
    assert done.spec["reconcile"]["onDrift"] == "update"
    assert "destroyAfter" in done.spec["reconcile"]
    alone = importer(importer.file("alone.sh", text.splitlines()[1].replace("/prod/", "/dev/")))
    assert "is a schedule by itself" in alone.err


# ---------------------------------------------------------------- the operator


def stack(name: str = "web", version: str = "v1", **spec: object) -> dict[str, Any]:
    return {
        "apiVersion": f"pulumi.com/{version}",
        "kind": "Stack",
        "metadata": {"name": name},
        "spec": {
            "stack": f"acme/{name}/prod",
            "projectRepo": "https://example.com/acme/infra.git",
            "branch": "main",
            **spec,
        },
    }


def ref(name: str, key: str) -> dict[str, Any]:
    return {"type": "Secret", "secret": {"name": name, "key": key}}


@pytest.mark.parametrize("version", ["v1", "v1alpha1"])
def test_a_stack_of_the_operator(importer: Importer, version: str) -> None:
    """Every field of a Stack is mapped, or told of with the way out."""
    document = stack(
        "web",
        version,
        repoDir="/web/",
        shallow=True,
        envRefs={
            "PULUMI_ACCESS_TOKEN": ref("pulumi", "token"),
            "AWS_SECRET_ACCESS_KEY": ref("aws", "secret-key"),
            "REGION": {"type": "Literal", "literal": {"value": "eu"}},
            "API_TOKEN": {"type": "Literal", "literal": {"value": "canary-literal"}},
            "PROXY": {"type": "Env", "env": {"name": "OPERATOR_PROXY"}},
            "CA": {"type": "FS", "filesystem": {"path": "/etc/ca.pem"}},
        },
        gitAuth={"accessToken": ref("git", "token")},
        config={"aws:region": "eu", "nested": {"a": [1]}},
        secrets={"dbPassword": "canary-config"},
        secretsRef={"other": ref("db", "password")},
        refresh=True,
        expectNoRefreshChanges=True,
        targets=["urn:pulumi:prod::web::a:b:C::x", "urn:pulumi:prod::web::a:b:C::y"],
        continueResyncOnCommitMatch=True,
        resyncFrequencySeconds=300,
        destroyOnFinalize=True,
        retryOnUpdateConflict=True,
        retryMaxBackoffDurationSeconds=600,
        prerequisites=[{"name": "network", "requirement": {"succeededWithinDuration": "1h"}}],
        backend="s3://state",
        workspaceTemplate={"spec": {"image": "pulumi/pulumi:3", "resources": {"limits": {}}}},
    )
    text = yaml.safe_dump_all([document, stack("network")])
    done = importer(importer.file("stacks.yaml", text))
    assert done.code == 0, done.err
    assert done.specs["web"] == {
        "stack": "acme/web/prod",
        "sourceContext": {"git": {**GIT, "repoDir": "web",
                                  "gitAuth": {"accessToken": variable("GIT_TOKEN")}}},
        "executorContext": {"executorImage": "pulumi/pulumi:3"},
        "operationContext": {
            "environmentVariables": {
                "AWS_SECRET_ACCESS_KEY": variable("AWS_SECRET_KEY"),
                "REGION": "eu",
                "API_TOKEN": variable("WEB_API_TOKEN"),
                "PROXY": variable("OPERATOR_PROXY"),
                "CA": variable("WEB_CA"),
                "PULUMI_OPTION_REFRESH": "true",
                "PULUMI_OPTION_TARGET": "urn:pulumi:prod::web::a:b:C::x,"
                "urn:pulumi:prod::web::a:b:C::y",
            }
        },
        "schedules": [{"name": "resync", "cron": "H/5 * * * *", "operation": "update"}],
        "reconcile": {
            "onDelete": "destroy",
            "retry": {"maxBackoff": "600s"},
            "dependsOn": ["network"],
        },
    }  # fmt: skip
    for lost in (
        "/spec/config/aws:region", "/spec/config/nested", "/spec/secrets/dbPassword",
        "/spec/secretsRef/other", "/spec/expectNoRefreshChanges", "/spec/backend",
        "/spec/prerequisites/0/requirement",
    ):  # fmt: skip
        assert f"{lost}: " in done.out
    assert "stacks.yaml:" in done.out
    assert "is the key secret-key of the Kubernetes Secret aws" in done.out
    assert "canary" not in done.everything


def test_what_else_lies_in_a_file_of_stacks(importer: Importer) -> None:
    """Programs are told of as lost, Secrets say which way into git they are, others pass."""
    secret = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git"},
        "data": {"sshPrivateKey": "Y2FuYXJ5", "password": "Y2FuYXJ5"},
    }  # fmt: skip
    program = {"apiVersion": "pulumi.com/v1", "kind": "Program", "metadata": {"name": "p"}}
    of_program = stack("program", programRef={"name": "p"})
    commit = "cc5442870f1195216d6bc340c14f8ae7d28cf3e2"
    url = "git@example.com:acme/infra.git"
    ssh = stack("ssh", gitAuthSecret="git", projectRepo=url, branch="", commit=commit)
    documents = {"apiVersion": "v1", "kind": "List", "items": [secret, program, of_program, ssh]}
    done = importer(importer.file("list.json", documents))
    assert done.code == 1
    assert "passed over: is a Secret, no Stack" in done.out
    assert "passed over: a Program is not carried over" in done.out
    assert "/items/2/spec/programRef: not imported: a Program is no git repository" in done.err
    assert done.spec["sourceContext"]["git"] == {
        "repoUrl": url,
        "commit": commit,
        "gitAuth": {
            "sshAuth": {
                "sshPrivateKey": variable("GIT_SSHPRIVATEKEY"),
                "password": variable("GIT_PASSWORD"),
            }
        },
    }
    assert "Y2FuYXJ5" not in done.everything


def test_a_source_of_flux_is_followed_where_it_is_there(importer: Importer) -> None:
    """A GitRepository of another file says where the program is; without it, it is refused."""
    source = {"sourceRef": {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
                            "name": "infra"}, "dir": "web/"}  # fmt: skip
    repository = {
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
        "metadata": {"name": "infra"},
        "spec": {"interval": "24h", "ref": {"branch": "main"}, "url": GIT["repoUrl"],
                 "secretRef": {"name": "git"}},
    }  # fmt: skip
    document = stack(fluxSource=source, projectRepo="", branch="")
    document["metadata"]["namespace"] = "default"
    first = importer.file("stack.yaml", yaml.safe_dump(document))
    assert "/spec/fluxSource: not imported: its GitRepository is not" in importer(first).err
    done = importer(first, importer.file("repository.yaml", yaml.safe_dump(repository)))
    assert done.code == 0, done.err
    assert done.spec["sourceContext"]["git"] == {**GIT, "repoDir": "web"}
    assert "put the repository's credentials into gitAuth" in done.out


def test_one_variable_is_never_two_secrets(importer: Importer) -> None:
    """Names that come to the same letters get variables of their own, or are refused."""
    variables = {
        "A": ref("aws", "prod-key"),
        "B": ref("aws-prod", "key"),
        "C": ref("aws-prod", "key"),
    }
    literal = {"TOKEN": {"type": "Literal", "literal": {"value": "canary-one"}}}
    documents = [
        stack("both", envRefs=variables),
        stack("same", envRefs={"D": ref("aws", "prod-key")}),
        stack("other", envRefs={"E": ref("aws-prod", "key")}),
        stack("a-b", envRefs=literal),
        stack("a.b", envRefs=literal),
    ]
    done = importer(importer.file("stacks.yaml", yaml.safe_dump_all(documents)))
    found = done.specs["both"]["operationContext"]["environmentVariables"]
    assert found == {
        "A": variable("AWS_PROD_KEY"),
        "B": variable("AWS_PROD_KEY_2"),
        "C": variable("AWS_PROD_KEY_2"),
    }
    assert set(done.specs) == {"a-b", "both", "same"}
    assert "RECONCILER_SECRET_AWS_PROD_KEY is the name of another spec's secret" in done.err
    assert "RECONCILER_SECRET_A_B_TOKEN is the name of another spec's secret" in done.err


def test_dependencies_are_only_those_that_are_there(importer: Importer) -> None:
    """A prerequisite that is no spec here, or leads in a circle, is told of and left out."""
    documents = [
        stack("a", prerequisites=[{"name": "b"}, {"name": "absent"}]),
        stack("b", prerequisites=[{"name": "a"}]),
        stack("c", prerequisites=[{"name": "a"}], stack="acme/a/prod"),
        stack("d", prerequisites=[{"name": "a"}]),
    ]
    done = importer(importer.file("stacks.yaml", yaml.safe_dump_all(documents)))
    assert "there is no spec named absent" in done.out
    assert "depends on itself: " in done.out
    assert "acme/a/prod belongs to a" in done.err
    assert set(done.specs) == {"a", "b", "d"}
    assert done.specs["d"]["reconcile"] == {"dependsOn": ["a"]}
    assert "reconcile" not in done.specs["a"]


def test_a_preview_only_stack_is_previewed(importer: Importer) -> None:
    """`preview: true` runs previews alone, by its schedule too."""
    document = stack(preview=True, continueResyncOnCommitMatch=True)
    done = importer(importer.file("stack.yaml", yaml.safe_dump(document)))
    assert done.spec["operationContext"] == {"operation": "preview"}
    assert done.spec["schedules"][0]["operation"] == "preview"


def test_one_stack_for_many_is_refused(importer: Importer) -> None:
    """--stack names one stack, so it cannot be meant for two."""
    text = yaml.safe_dump_all([stack("a"), stack("b")])
    done = importer(importer.file("stacks.yaml", text), "--stack", "acme/web/prod")
    assert done.code == 2
    assert "--stack names one stack, and 2 were found" in done.err
