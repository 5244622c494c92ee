"""What a host's config says, and which file is believed."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml

from reconciler.adapters import host_config
from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.host_config import HostConfig, load, parse
from reconciler.adapters.news_texts import WORDS, Texts
from reconciler.cli import host, parser
from reconciler.errors import UsageError
from reconciler.model import NewsKind, SecretReference, Window
from reconciler.planning.admission import Limits

FULL = """\
secrets:
  environment: [VAULT_TOKEN, TEAM_*]
  folders: [/etc/secrets]
  commands:
    db-password: [/usr/bin/vault, kv, get, -field=password, secret/db, 5, true]
limits:
  maxConcurrent:
    total: 80
    perOrganization: {acme: 20, "*": 5}
    perLabel: {team=web: 5, team=*: 2}
  pollInterval: 5m
  massChange: {percent: 10, count: 3}
  massRemoval: {percent: 0, count: 0}
  windows: [{days: mon-fri, from: "08:00", to: "18:00", timeZone: Europe/Berlin}]
console: {url: "https://deployments.example.com/x/"}
notifications:
  ops-chat:
    apprise: {url: {secret: {fromCredential: slack-url}}}
    events: [failed, recovered]
    specs: ["team-web/*", db]
    title: "$name"
    body: "$message"
  bot: {webhook: {url: "https://bot.example.com/hook/", secret: {fromEnv: RECONCILER_SECRET_BOT}}}
  hub: {github: {token: {secret: {fromFile: /run/secrets/hub}}, context: "deploy/$name"}}
  lab:
    gitlab:
      url: "https://lab.example.com/api/v4"
      token: {secret: {fromCommand: db-password}}
      repository: a/b/c
"""


def read(text: str) -> HostConfig:
    found = parse(Path("config.yaml"), text.encode())
    assert isinstance(found, HostConfig), found
    return found


def test_a_whole_config_is_read() -> None:
    """Every key comes out as the value it says."""
    config = read(FULL)
    assert config.environment == ("VAULT_TOKEN", "TEAM_*")
    assert config.folders == (Path("/etc/secrets"),)
    argv = ("/usr/bin/vault", "kv", "get", "-field=password", "secret/db", "5", "true")
    assert config.commands == {"db-password": argv}
    assert config.poll_interval == timedelta(minutes=5)
    assert config.console_url == "https://deployments.example.com/x"
    assert config.limits == Limits(
        max_concurrent=80,
        per_organization={"acme": 20, "*": 5},
        per_label={"team=web": 5, "team=*": 2},
        mass_change_percent=10,
        mass_change_count=3,
        mass_removal_percent=0,
        mass_removal_count=0,
        windows=(Window(days=frozenset(range(5)), start=480, end=1080, time_zone="Europe/Berlin"),),
    )


def test_targets_are_read() -> None:
    """Each service comes out with its secret as a reference, and with what it is told."""
    chat, bot, hub, lab = read(FULL).targets
    assert chat.secret == SecretReference("fromCredential", "slack-url")
    assert chat.on == {NewsKind.FAILED, NewsKind.RECOVERED}
    assert chat.specs == ("team-web/*", "db")
    assert chat.texts == Texts(title="$name", body="$message")
    assert (bot.url, bot.specs) == ("https://bot.example.com/hook", ("*",))
    assert bot.secret == SecretReference("fromEnv", "RECONCILER_SECRET_BOT")
    assert bot.on == set(NewsKind) - {NewsKind.SUCCEEDED}
    assert hub.on == lab.on == set(NewsKind)
    assert (hub.url, hub.repository, hub.context) == ("https://api.github.com", "", "deploy/$name")
    assert (lab.url, lab.repository) == ("https://lab.example.com/api/v4", "a/b/c")
    assert [t.service for t in read(FULL).targets] == ["apprise", "webhook", "github", "gitlab"]


def test_what_is_left_out_is_as_without_a_file() -> None:
    """A config that says one thing leaves all others as they are."""
    assert read("limits: {}\n") == HostConfig()
    assert read("limits: {maxConcurrent: 7}\n").limits == Limits(max_concurrent=7)
    assert read("limits: {maxConcurrent: {perOrganization: {'*': 1}}}\n").limits == Limits(
        per_organization={"*": 1}
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: is empty; secrets, limits, console and notifications belong here"),
        (
            "notifications: {ops: {apprise: {url: slack://canary}}}\n",
            (
                "1:38: /notifications/ops/apprise/url: is a secret in the clear; name where it "
                "comes from instead: {secret: {fromEnv: RECONCILER_SECRET_…}} or "
                "{secret: {fromFile: …}}"
            ),
        ),
        (
            "notifications: {ops: {events: [failed]}}\n",
            "1:17: /notifications/ops: needs one of 'apprise', 'webhook', 'github' and 'gitlab'",
        ),
        (
            "notifications: {ops: {webhook: {url: 'http://x.example', secret: {fromEnv: A}}}}\n",
            (
                "1:38: /notifications/ops/webhook/url: is no https URL without a user; plain http "
                "is for this machine alone"
            ),
        ),
        (
            "notifications: {ops: {apprise: {url: {secret: {fromEnv: A}}}, title: $nme}}\n",
            (
                "1:70: /notifications/ops/title: names $nme; known are $id, $kind, $name, $stack, "
                "$organization, $project, $stackName, $at, $state, $reason, $message, $version, "
                "$operation, $commit, $shortCommit, $url"
            ),
        ),
        *(
            (
                f"console: {{url: '{url}'}}\n",
                (
                    "1:16: /console/url: is no address of a page: https://HOST, with a port or a "
                    "path behind if need be"
                ),
            )
            for url in ("deploy.example.com", "https://ada:x@h", "https://h/?a=b", "ftp://h")
        ),
        (
            "secret: {}\n",
            "1:1: /secret: is no key of the host's config; did you mean 'secrets'?",
        ),
        (
            "secrets: {environment: ['*']}\n",
            (
                "1:25: /secrets/environment/0: does not fit: a variable's name, or the beginning "
                "of names with * behind it, belongs here"
            ),
        ),
        (
            "secrets: {folders: [secrets]}\n",
            (
                "1:21: /secrets/folders/0: does not fit: an absolute path belongs here, such as "
                "/etc/secrets"
            ),
        ),
        (
            "secrets: {commands: {db: vault kv get}}\n",
            "1:26: /secrets/commands/db: is a text; a list belongs here",
        ),
        (
            "secrets: {commands: {db: [vault, kv]}}\n",
            (
                "1:27: /secrets/commands/db/0: is no absolute path; name the program by one, such "
                "as /usr/bin/vault"
            ),
        ),
        (
            "secrets: {commands: {a b: [/bin/a]}}\n",
            (
                "1:22: /secrets/commands/a b: is no name of a command: up to 64 letters, digits, "
                "'_', '.' and '-'"
            ),
        ),
        ("limits: {maxConcurrent: 0}\n", "1:25: /limits/maxConcurrent: is below 1"),
        (
            "limits: {maxConcurrent: many}\n",
            "1:25: /limits/maxConcurrent: is a text; a whole number or an object belongs here",
        ),
        (
            "limits: {maxConcurrent: {perOrganization: {a/b: 1}}}\n",
            (
                '1:49: /limits/maxConcurrent/perOrganization/a~1b: is no organization; or "*" '
                "for all others"
            ),
        ),
        (
            "limits: {maxConcurrent: {perLabel: {web: 1}}}\n",
            (
                "1:42: /limits/maxConcurrent/perLabel/web: is no label; write it as name=text, or "
                "name=*"
            ),
        ),
        ("limits: {pollInterval: 9000d}\n", "1:24: /limits/pollInterval: is longer than 366 days"),
        (
            "limits: {massChange: {percent: 101}}\n",
            "1:32: /limits/massChange/percent: is above 100",
        ),
        (
            "limits: {windows: [{timeZone: Mars/Base}]}\n",
            (
                "1:31: /limits/windows/0/timeZone: 'Mars/Base' is no time zone of the IANA's; such "
                "as Europe/Berlin or UTC"
            ),
        ),
    ],
)
def test_a_mistake_has_its_line(text: str, expected: str) -> None:
    """Each mistake is told with its line and what would be right."""
    found = parse(Path("c.yaml"), text.encode())
    assert not isinstance(found, HostConfig)
    assert [str(problem) for problem in found] == [f"c.yaml:{expected}"]


def test_all_mistakes_stop_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A command with a faulty config does nothing and tells every mistake."""
    config = tmp_path / "config.yaml"
    config.write_text("limits: {maxConcurrent: 0, pollInterval: soon}\n")
    assert parser.run(["validate", "--config", str(config), str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"{config}:1:25: /limits/maxConcurrent: is below 1\n" in error
    assert f"{config}:1:42: /limits/pollInterval: does not fit: a duration" in error


def test_the_usual_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the option the file in /etc counts where it is there, and nothing where it is not."""
    usual = tmp_path / "config.yaml"
    monkeypatch.setattr(host_config, "DEFAULT_PATH", usual)
    assert load(None) == HostConfig()
    usual.write_text("limits: {maxConcurrent: 3}\n")
    usual.chmod(0o644)
    assert load(None).limits.max_concurrent == 3
    with pytest.raises(UsageError, match=r"none\.yaml cannot be used: No such file"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write_is_refused(mode: int, tmp_path: Path) -> None:
    """Whoever can write it could let specs read any secret, so it is not believed."""
    path = tmp_path / "config.yaml"
    path.write_text(FULL)
    path.chmod(mode)
    with pytest.raises(UsageError, match="can be written by others; take that away: chmod go-w"):
        load(path)
    path.chmod(0o640)
    assert load(path).environment


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link is followed, and what it leads to must be root's or the daemon's own."""
    path, link = tmp_path / "config.yaml", tmp_path / "link.yaml"
    path.write_text(FULL)
    path.chmod(0o644)
    link.symlink_to(path)
    assert load(link).environment
    if os.geteuid() == 0:
        os.chown(path, 12345, 0)
    else:  # only root can give a file away: let us be somebody else instead
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(UsageError, match="belongs to another user"):
        load(link)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """Only a regular file is read, and nothing waits for a writer."""
    os.mkfifo(tmp_path / "config.yaml", 0o600)
    with pytest.raises(UsageError, match="is no regular file"):
        load(tmp_path / "config.yaml")


def test_the_rules_follow_from_it(tmp_path: Path) -> None:
    """Names, beginnings of names, folders and commands are allowed as it says, and no others."""
    path = tmp_path / "config.yaml"
    path.write_text(FULL)
    options = parser.build().parse_args(["validate", "--config", str(path)])
    rules = host.rules(options, host.config(options))
    allowed = {
        "fromEnv": ("VAULT_TOKEN", "TEAM_A", "RECONCILER_SECRET_X"),
        "fromFile": ("/etc/secrets/db", "/run/secrets/db"),
        "fromCommand": ("db-password",),
    }
    refused = {
        "fromEnv": ("VAULT_TOKEN_2", "TEAM_", "TEAMS", "HOME"),
        "fromFile": ("/etc/shadow", "/etc/secrets/../shadow"),
        "fromCommand": ("id", ""),
    }
    for kind, names in allowed.items():
        assert [rules.allows(SecretReference(kind, name)) for name in names] == [""] * len(names)
    for kind, names in refused.items():
        assert all(rules.allows(SecretReference(kind, name)) for name in names)
    assert "names db-password" in rules.allows(SecretReference("fromCommand", "id"))
    assert "names none" in SecretRules().allows(SecretReference("fromCommand", "id"))


def test_editors_agree() -> None:
    """A plain YAML reader and the schema, which is what editors have, take what we take."""
    schema = yaml.safe_load(Path("schemas/config.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    given = yaml.safe_load(FULL)
    jsonschema.validate(given, schema)


def test_the_page_of_notifications_shows_what_there_is() -> None:
    """Its example is read, and every key, kind and word is on it."""
    page = Path("docs/notifications.md").read_text()
    example = page.split("```yaml\n")[1].split("```")[0]
    assert [t.name for t in read(example).targets] == [
        *("ops-chat", "team-web-mail", "deploy-bot", "github", "gitlab"),
    ]
    schema = yaml.safe_load(Path("schemas/config.schema.json").read_text())["$defs"]
    keys = schema["target"]["properties"].keys() - {"apprise", "webhook", "github", "gitlab"}
    keys |= {f"{f}.{key}" for f in ("github", "gitlab") for key in schema["forge"]["properties"]}
    assert [key for key in sorted(keys) if f"`notifications.NAME.{key}`" not in page] == []
    assert [kind for kind in NewsKind if f"| `{kind}` |" not in page] == []
    assert [word for word in WORDS if f"`${word}`" not in page] == []
