import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.api.types import BasicAuth, GitAuth, GitSource, Secret, SshAuth
from reconciler.engine.source import LONGEST_REF, LONGEST_URL, checkout_commands, refuse
from tests.fakes.git_server import GitServer, git, make_repository, serve

TOKEN = "t0ken-c4nary-5d2f"
MARK = "marker-of-an-attack"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A deployment's base environment: its own HOME, and nothing else of the host."""
    home = tmp_path / "home"
    home.mkdir()
    return {"PATH": os.environ["PATH"], "HOME": str(home)}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """A git server with the repository `r` and its branches."""
    make_repository(tmp_path / "served" / "r", ("main", "feature/x"))
    with serve(tmp_path / "served") as served:
        yield served


def check_out(
    source: GitSource[Secret], directory: Path, environment: dict[str, str]
) -> tuple[int, str]:
    """Run the commands as a step would; return the first exit code that is not 0, and output."""
    output = ""
    for command in checkout_commands(source, directory, environment):
        assert TOKEN not in " ".join(command.argv)
        assert TOKEN not in repr(command)
        ended = subprocess.run(
            command.argv,
            cwd=command.cwd,
            env=dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        output += ended.stdout
        if ended.returncode:
            return ended.returncode, output
    return 0, output


def source_of(url: str, **asked: str) -> GitSource[Secret]:
    return GitSource(repo_url=url, **(asked or {"branch": "main"}))  # type: ignore[arg-type]


@pytest.mark.real
@pytest.mark.parametrize("written", ["feature/x", "refs/heads/feature/x"])
def test_a_branch_has_head_on_it(
    tmp_path: Path, environment: dict[str, str], server: GitServer, written: str
) -> None:
    """HEAD is on the branch, the history is shallow, and the remote is called origin."""
    source = source_of(f"{server.url}/r", branch=written)
    code, output = check_out(source, tmp_path / "work", environment)
    assert code == 0, output
    work = tmp_path / "work"
    assert (work / "file").read_text() == "feature/x 2\n"
    assert git(work, "symbolic-ref", "HEAD") == "refs/heads/feature/x"
    assert git(work, "rev-list", "--count", "HEAD") == "1"
    assert git(work, "remote", "get-url", "origin") == f"{server.url}/r"
    assert "HEAD is now at" in output


@pytest.mark.real
@pytest.mark.parametrize("how", [[], ["--annotate", "--message=one"]])
def test_a_tag_is_checked_out_detached(
    tmp_path: Path, environment: dict[str, str], server: GitServer, how: list[str]
) -> None:
    """A tag, with a message of its own or without, gives its commit."""
    git(server.root / "r", "tag", *how, "v1.0")
    source = source_of(f"{server.url}/r", tag="v1.0")
    assert check_out(source, tmp_path / "work", environment)[0] == 0
    assert (tmp_path / "work" / "file").read_text() == "main 2\n"
    assert git(tmp_path / "work", "branch", "--show-current") == ""


def commits_of(server: GitServer) -> list[str]:
    return git(server.root / "r", "rev-list", "--reverse", "main").split()


@pytest.mark.real
@pytest.mark.parametrize("digits", [7, 12, 40])
@pytest.mark.parametrize("kind", ["today's", "old", "dumb", "file"])
def test_a_commit_is_checked_out_from_every_kind_of_server(
    tmp_path: Path, environment: dict[str, str], server: GitServer, kind: str, digits: int
) -> None:
    """Servers that give no single commit (old, dumb) are asked for everything instead."""
    commit = commits_of(server)[0]
    url = f"{server.url}/r/.git"
    if kind == "old":
        server.protocol = 0
    elif kind == "dumb":
        server.dumb = True
        git(server.root / "r", "update-server-info")
    elif kind == "file":
        url = f"file://{server.root}/r"
    source = source_of(url, commit=commit[:digits].upper())
    code, output = check_out(source, tmp_path / "work", environment)
    assert code == 0, output
    assert git(tmp_path / "work", "rev-parse", "HEAD") == commit
    assert git(tmp_path / "work", "branch", "--show-current") == ""
    assert (tmp_path / "work" / "file").read_text() == "main 0\n"


@pytest.mark.real
def test_a_branch_of_a_dumb_server_is_checked_out_whole(
    tmp_path: Path, environment: dict[str, str], server: GitServer
) -> None:
    """Where shallow is not possible, the whole history comes."""
    server.dumb = True
    git(server.root / "r", "update-server-info")
    source = source_of(f"{server.url}/r/.git", branch="main")
    assert check_out(source, tmp_path / "work", environment)[0] == 0
    assert git(tmp_path / "work", "rev-list", "--count", "HEAD") == "3"


@pytest.mark.real
@pytest.mark.parametrize(
    "asked", [{"branch": "nope"}, {"tag": "nope"}, {"commit": "0" * 40}, {"commit": "0" * 8}]
)
def test_what_is_not_there_fails(
    tmp_path: Path, environment: dict[str, str], server: GitServer, asked: dict[str, str]
) -> None:
    """A missing branch, tag or commit ends with git's own words and a code other than 0."""
    code, output = check_out(source_of(f"{server.url}/r", **asked), tmp_path / "work", environment)
    assert code != 0
    assert "fatal" in output or "error" in output


@pytest.mark.real
def test_a_tag_that_is_named_like_a_commit_is_not_taken_for_it(
    tmp_path: Path, environment: dict[str, str], server: GitServer
) -> None:
    """A short commit is that commit, or nothing."""
    commits = commits_of(server)
    git(server.root / "r", "tag", commits[0][:8], commits[2])
    source = source_of(f"{server.url}/r", commit=commits[0][:8])
    code, output = check_out(source, tmp_path / "work", environment)
    assert code != 0
    assert "HEAD is not commit" in output


AUTHS: dict[str, tuple[GitAuth[Secret], str]] = {
    "token": (GitAuth(access_token=Secret(TOKEN)), f"x-access-token:{TOKEN}"),
    "token from a file": (GitAuth(access_token=Secret(f"{TOKEN}\n")), f"x-access-token:{TOKEN}"),
    "plain token": (GitAuth(access_token=TOKEN), f"x-access-token:{TOKEN}"),
    "basic": (
        GitAuth(basic=BasicAuth(user_name="me", password=Secret(f"{TOKEN}$(x) %s"))),
        f"me:{TOKEN}$(x) %s",
    ),
}


@pytest.mark.real
@pytest.mark.parametrize(("auth", "wanted"), AUTHS.values(), ids=AUTHS.keys())
def test_credentials_open_a_private_repository(
    tmp_path: Path,
    environment: dict[str, str],
    server: GitServer,
    auth: GitAuth[Secret],
    wanted: str,
) -> None:
    """They reach the server, and neither arguments, output nor what is left on disk."""
    server.credentials = wanted
    source = GitSource(repo_url=f"{server.url}/r", branch="main", auth=auth)
    code, output = check_out(source, tmp_path / "work", environment)
    assert code == 0, output
    assert TOKEN not in output
    for path in (*(tmp_path / "work").rglob("*"), *(tmp_path / "home").rglob("*")):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


@pytest.mark.real
@pytest.mark.parametrize("auth", [None, GitAuth(access_token=Secret("wrong"))])
def test_wrong_credentials_fail_without_a_question(
    tmp_path: Path, environment: dict[str, str], server: GitServer, auth: GitAuth[Secret] | None
) -> None:
    """Nobody is there to answer a prompt, so there is none."""
    server.credentials = "me:right"
    source = GitSource(repo_url=f"{server.url}/r", branch="main", auth=auth)
    code, output = check_out(source, tmp_path / "work", environment)
    assert code != 0
    assert "wrong" not in output


@pytest.mark.real
def test_a_redirect_is_not_followed(
    tmp_path: Path, environment: dict[str, str], server: GitServer
) -> None:
    """Neither a request nor the credentials reach the address a server points to."""
    with serve(server.root) as other:
        other.credentials = f"x-access-token:{TOKEN}"
        server.redirect = other.url
        source = GitSource(
            repo_url=f"{server.url}/r",
            branch="main",
            auth=GitAuth(access_token=Secret(TOKEN)),
        )
        assert check_out(source, tmp_path / "work", environment)[0] != 0
        assert other.seen == []
        assert server.seen != []


@pytest.mark.real
def test_nothing_of_the_repository_or_the_host_is_run(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """Hooks, configuration, filters and submodules of the repository, the host and HOME rest."""
    mark = tmp_path / MARK
    hook = f"#!/bin/sh\ntouch {mark}\n"
    repository = tmp_path / "r"
    make_repository(repository)
    inner = tmp_path / "inner"
    make_repository(inner)
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", str(inner), "sub")
    (repository / ".gitattributes").write_text("* filter=bad\n")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "more")
    templates = tmp_path / "templates"
    for hooks in (repository / ".git" / "hooks", templates / "hooks"):
        hooks.mkdir(parents=True, exist_ok=True)
        for name in ("post-checkout", "post-merge", "reference-transaction", "pre-receive"):
            (hooks / name).write_text(hook)
            (hooks / name).chmod(0o755)
    (Path(environment["HOME"]) / ".gitconfig").write_text(
        f"[init]\ntemplateDir = {templates}\n[core]\nhooksPath = {templates}/hooks\n"
        f"fsmonitor = touch {mark}\n"
        f'[filter "bad"]\nsmudge = touch {mark}\nrequired = true\n'
        f'[url "ext::touch {mark} "]\ninsteadOf = file\n'
        f"[uploadpack]\npackObjectsHook = touch {mark}; git\n"
    )
    environment |= {
        "GIT_TEMPLATE_DIR": str(templates),
        "GIT_EXTERNAL_DIFF": f"touch {mark}",
        "GIT_SSH_COMMAND": f"touch {mark}",
    }
    code, output = check_out(source_of(f"file://{repository}"), tmp_path / "work", environment)
    assert code == 0, output
    assert not mark.exists()
    assert list((tmp_path / "work" / "sub").iterdir()) == []


@pytest.mark.real
def test_a_repository_of_another_user_is_read(tmp_path: Path, environment: dict[str, str]) -> None:
    """A file source may belong to the person whose repository it is, not to the engine's user."""
    repository = tmp_path / "r"
    make_repository(repository)
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 65534, 65534)
    code, output = check_out(source_of(f"file://{repository}"), tmp_path / "work", environment)
    assert code == 0, output


BAD = "touch {mark}"
HOSTILE: list[dict[str, str]] = [
    {"url": url}
    for url in (
        "ext::sh -c touch% {mark}",
        "ext::touch {mark}",
        "EXT::touch {mark}",
        "fd::17/foo",
        "transport::ext::touch {mark}",
        "ssh://-oProxyCommand=touch${{IFS}}{mark}/x",
        "ssh://git@127.0.0.1/r",
        "git@127.0.0.1:r.git",
        "-oProxyCommand=touch {mark}:x",
        "git://127.0.0.1/r",
        "git+ssh://-oProxyCommand=touch {mark}/x",
        "ftp://127.0.0.1/r",
        "rsync://127.0.0.1/r",
        "javascript:alert(1)",
        "data:text/plain,x",
        "--upload-pack=touch {mark}",
        "-u touch {mark}",
        "--config=core.sshCommand=touch {mark}",
        "--template=/tmp",
        "-",
        "--",
        "",
        " ",
        ".",
        "..",
        "/etc",
        "../r",
        "r",
        "$(touch {mark})",
        "`touch {mark}`",
        "; touch {mark}",
        "| touch {mark}",
        "&& touch {mark}",
        "\ntouch {mark}",
        "file:///r\n--upload-pack=touch {mark}",
        "file:///$(touch {mark})",
        "file:///r;touch${{IFS}}{mark}",
        "file:///r`touch${{IFS}}{mark}`",
        "file:///'$(touch${{IFS}}{mark})'",
        "file://localhost/r",
        "file://",
        "file:/r",
        "file:///r\0x",
        "file:///%00",
        "file:///%0a--upload-pack=touch%20{mark}",
        "https://$(touch {mark})/r",
        "https://$(touch${{IFS}}{mark})/r",
        "https://user:password@127.0.0.1/r",
        "https://token@127.0.0.1/r",
        "https://127.0.0.1\\@evil/r",
        "https://127.0.0.1:port/r",
        "https://127.0.0.1:99999999/r",
        "https://-oX/r",
        "https:///r",
        "https://127.0.0.1",
        "https://127.0.0.1/",
        "https://127.0.0.1/r?x=1",
        "https://127.0.0.1/r#x",
        "https://127.0.0.1/r\r\nHost: evil",
        "https://127.0.0.1/%0d%0aHost:evil",
        "https://127.0.0.1/\u202er",
        "https://1\uff0e0\uff0e0\uff0e1/r",
        "https://0x7f.1/r",
        "https://2130706433/r",
        "https://0177.0.0.1/r",
        "https://127.1/r",
        "https://localhost./r",
        "https://[::1/r",
        "https://[evil]/r",
        "HTTPS://127.0.0.1/r",
        "hTTp://127.0.0.1/r",
        "file:///" + "x" * 5000,
    )
]
HOSTILE += [
    {kind: value}
    for kind in ("branch", "tag")
    for value in (
        "--upload-pack=touch {mark}",
        "-b",
        "--",
        "refs/heads/--exec=touch {mark}",
        "refs/tags/-x",
        "$(touch {mark})",
        "`touch${{IFS}}{mark}`",
        "$(touch${{IFS}}{mark})",
        "a;touch${{IFS}}{mark}",
        "a|touch${{IFS}}{mark}",
        "a&touch${{IFS}}{mark}",
        "a'\"$(touch${{IFS}}{mark})",
        "a\ntouch {mark}",
        "a\0b",
        "../../etc/passwd",
        "a..b",
        "a:b",
        "main:refs/heads/other",
        "+main",
        "*",
        "a~1",
        "main^{{commit}}",
        "@{{-1}}",
        "@",
        ".hidden",
        "a.lock",
        "a//b",
        "/a",
        "a/",
        "HEAD",
        "FETCH_HEAD",
        "x" * 5000,
    )
]
HOSTILE += [
    {"commit": value}
    for value in (
        "HEAD",
        "main",
        "--help",
        "-1234567",
        "$(touch {mark})",
        "1234567;touch {mark}",
        "1234567\ntouch {mark}",
        "1234567^{{}}",
        "1234567..7654321",
        "123456",
        "g234567",
        "0" * 65,
        "１２３４５６７",  # noqa: RUF001 - digits, but not those
    )
]


@pytest.mark.real
def test_hostile_texts_run_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    """Whatever stands for a URL, branch, tag or commit: it is refused, or git finds nothing."""
    assert len(HOSTILE) > 60
    repository = tmp_path / "r"
    make_repository(repository)
    mark = tmp_path / MARK
    allowed = []
    for number, case in enumerate(HOSTILE):
        fields = {name: value.format(mark=mark) for name, value in case.items()}
        url = fields.pop("url", f"file://{repository}")
        source = source_of(url, **fields)
        if refuse(source, local_repositories=True):
            with pytest.raises(ValueError, match=r"."):
                checkout_commands(source, tmp_path / "w", environment)
        else:
            allowed.append(case)
            code, _ = check_out(source, tmp_path / f"work-{number}", environment)
            assert code != 0, case
        assert not mark.exists(), case
    # A name that git itself allows goes to git, as data, and is not found. So do quotes in one.
    assert len(allowed) < 25
    assert list(tmp_path.rglob(MARK)) == []


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/acme/infra.git",
        "https://example.com:8443/acme/infra",
        "https://git.example.com/acme/sub/infra.git",
        "http://git.internal/acme/infra.git",
        "https://192.168.1.5/acme/infra.git",
        "https://[fd00::1]:3000/acme/infra.git",
        "https://example.com/~me/jörg.git",
    ],
)
def test_ordinary_urls_are_allowed_everywhere(url: str) -> None:
    """Host names, private addresses and ports are what people have."""
    assert refuse(source_of(url), local_repositories=False) == ""


@pytest.mark.parametrize(
    "url",
    [
        "file:///srv/r",
        "http://localhost/r",
        "http://LOCALHOST/r",
        "http://a.localhost/r",
        "http://127.0.0.1:8080/r",
        "http://127.9.9.9/r",
        "http://[::1]/r",
        "http://[::ffff:127.0.0.1]/r",
        "http://0.0.0.0/r",
        "http://[::]/r",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/r",
    ],
)
def test_the_engines_own_machine_is_refused_by_a_shared_engine(url: str) -> None:
    """Loopback, link-local and local files are only for an engine that serves its machine."""
    assert refuse(source_of(url), local_repositories=False) != ""
    assert refuse(source_of(url), local_repositories=True) == ""


@pytest.mark.parametrize(
    "asked", [{"branch": "a", "commit": "1234567"}, {"branch": "a", "tag": "b"}, {"tag": ""}]
)
def test_exactly_one_of_branch_commit_and_tag_is_wanted(asked: dict[str, str]) -> None:
    """Two of them, or none, is a mistake."""
    assert "exactly one" in refuse(source_of("https://x.org/r", **asked), local_repositories=True)


@pytest.mark.parametrize("url", ["http://example.com/r", "http://127.evil.com/r"])
def test_credentials_are_not_sent_in_the_clear(url: str) -> None:
    """Plain http with credentials is refused, but to loopback."""
    auth: GitAuth[Secret] = GitAuth(access_token=Secret(TOKEN))
    source = GitSource(repo_url=url, branch="main", auth=auth)
    assert "plain http" in refuse(source, local_repositories=True)
    local = GitSource(repo_url="http://localhost:1/r", branch="main", auth=auth)
    assert refuse(local, local_repositories=True) == ""
    safe = GitSource(repo_url="https://example.com/r", branch="main", auth=auth)
    assert refuse(safe, local_repositories=False) == ""


def test_credentials_with_a_line_break_are_refused() -> None:
    """A line break would begin another field of what git is told."""
    auth: GitAuth[Secret] = GitAuth(access_token=Secret(f"{TOKEN}\nhost=evil"))
    source = GitSource(repo_url="https://example.com/r", branch="main", auth=auth)
    reason = refuse(source, local_repositories=True)
    assert "line break" in reason
    assert TOKEN not in reason


def test_an_ssh_key_without_an_ssh_url_is_refused() -> None:
    """A key that would not be used is a mistake to tell about."""
    auth = GitAuth(ssh=SshAuth(private_key=Secret(TOKEN)))
    source = GitSource(repo_url="https://example.com/r", branch="main", auth=auth)
    assert "sshAuth" in refuse(source, local_repositories=True)


def test_a_reason_does_not_repeat_the_url() -> None:
    """A URL that holds a password is refused without it."""
    for url in (f"https://me:{TOKEN}@example.com/r", f"https://example.com/r?token={TOKEN}"):
        reason = refuse(source_of(url), local_repositories=True)
        assert reason
        assert TOKEN not in reason


def test_limits_are_exact() -> None:
    """The longest URL and name are allowed, one character more is not."""
    url = "https://example.com/"
    longest = source_of(url + "x" * (LONGEST_URL - len(url)))
    assert refuse(longest, local_repositories=True) == ""
    assert refuse(source_of(longest.repo_url + "x"), local_repositories=True) != ""
    name = "x" * LONGEST_REF
    assert refuse(source_of(f"{url}r", branch=name), local_repositories=True) == ""
    assert refuse(source_of(f"{url}r", branch=name + "x"), local_repositories=True) != ""
