"""Whatever stands where a source is named, nothing of it is run, and nothing inside is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.api.types import GitAuth, GitSource, Secret, SshAuth
from reconciler.git.urls import Reach, refuse
from tests.fakes.fetching import Fetcher
from tests.fakes.git_server import make_repository

MARK = "marker-of-an-attack"

HOSTILE: list[dict[str, str]] = [
    {"url": url}
    for url in (
        "ext::sh -c touch% {mark}",
        "ext::touch {mark}",
        "EXT::touch {mark}",
        "fd::17/foo",
        "transport::ext::touch {mark}",
        "ssh://-oProxyCommand=touch${{IFS}}{mark}/x",
        "ssh://-oProxyCommand=touch${{IFS}}{mark}@127.0.0.1/x",
        "ssh://git@-oProxyCommand=touch${{IFS}}{mark}/x",
        "ssh://git:password@127.0.0.1/r",
        "ssh://127.0.0.1:22;touch${{IFS}}{mark}/r",
        "ssh://git@$(touch${{IFS}}{mark})/r",
        "ssh://git@127.0.0.1:1/$(touch${{IFS}}{mark})",
        "ssh://git@127.0.0.1:1/';touch${{IFS}}{mark};'",
        "ssh://git@127.0.0.1:1/-oProxyCommand=touch${{IFS}}{mark}",
        "git@127.0.0.1:-oProxyCommand=touch${{IFS}}{mark}",
        "git@-oProxyCommand=x:r",
        "-oX@127.0.0.1:r",
        "git@ext::touch${{IFS}}{mark}",
        "a@b@127.0.0.1:r",
        "git@127.0.0.1:",
        "git@[::1]:r",
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


def source(url: str, fields: dict[str, str]) -> GitSource[Secret]:
    auth = None
    if url.startswith("ssh:") or ("@" in url and "://" not in url):
        auth = GitAuth(ssh=SshAuth(private_key=Secret("no key")))
    return GitSource(repo_url=url, auth=auth, **(fields or {"branch": "main"}))


@pytest.mark.real
def test_hostile_texts_run_nothing(tmp_path: Path) -> None:
    """Whatever stands for a URL, branch, tag or commit: it is refused, or git finds nothing."""
    assert len(HOSTILE) > 100
    repository = tmp_path / "r"
    make_repository(repository)
    mark = tmp_path / MARK
    fetcher = Fetcher(tmp_path / "engine")
    allowed = []
    for case in HOSTILE:
        fields = {name: value.format(mark=mark) for name, value in case.items()}
        asked = source(fields.pop("url", f"file://{repository}"), fields)
        got = fetcher.get(asked)
        assert got.reason not in {"", "stopped"}, case
        assert not mark.exists(), case
        if not refuse(asked, Reach(local=True)):
            allowed.append(case)
    # A name that git itself allows goes to git, as data, and is not found. So do quotes in one.
    assert len(allowed) < 30
    assert list(tmp_path.rglob(MARK)) == []
