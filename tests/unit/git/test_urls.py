"""Which sources are allowed: by URL, revision, credentials and addresses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.api.types import GitAuth, GitSource, Secret, SshAuth
from reconciler.git.urls import (
    LONGEST_REF,
    LONGEST_URL,
    Location,
    Reach,
    against_addresses,
    credentials,
    over_ssh,
    parse,
    refuse,
)
from tests.fakes.fetching import source_of

TOKEN = "t0ken-c4nary-5d2f"
KEY: GitAuth[Secret] = GitAuth(ssh=SshAuth(private_key=Secret("a key")))
LOCAL = Reach(local=True)
SHARED = Reach()


def location(url: str) -> Location:
    found = parse(url)
    assert isinstance(found, Location), found
    return found


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        (
            "https://Example.com/a/b.git",
            Location(scheme="https", host="example.com", path="/a/b.git"),
        ),
        ("http://[fd00::1]:3000/a", Location(scheme="http", host="fd00::1", port=3000, path="/a")),
        (
            "ssh://git@h.org:22/a",
            Location(scheme="ssh", user="git", host="h.org", port=22, path="/a"),
        ),
        ("git@h.org:a/b.git", Location(scheme="ssh", user="git", host="h.org", path="a/b.git")),
        ("file:///a b".replace(" ", "%20"), Location(scheme="file", path="/a%20b")),
    ],
)
def test_a_url_is_taken_apart(url: str, wanted: Location) -> None:
    """Scheme, user, host, port and path are what git would read."""
    assert parse(url) == wanted


def test_ports_and_authorities() -> None:
    """A port that was not given is the scheme's own, and not in the authority."""
    assert location("https://h.org/a").actual_port == 443
    assert location("git@h.org:a").actual_port == 22
    assert location("https://[::1]:8443/a").authority == "[::1]:8443"
    assert location("https://h.org/a").authority == "h.org"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/acme/infra.git",
        "https://example.com:8443/acme/infra",
        "https://git.example.com/acme/sub/infra.git",
        "http://git.internal/acme/infra.git",
        "https://1.1.1.1/acme/infra.git",
        "https://[2606:4700::1111]:3000/acme/infra.git",
        "https://example.com/~me/jörg.git",
    ],
)
def test_ordinary_urls_are_allowed_everywhere(url: str) -> None:
    """Host names, public addresses and ports are what people have."""
    assert refuse(source_of(url), SHARED) == ""


@pytest.mark.parametrize("url", ["ssh://git@example.com/a/b.git", "git@example.com:a/b.git"])
def test_ssh_goes_with_a_key_alone(url: str) -> None:
    """An ssh URL needs sshAuth, and sshAuth an ssh URL."""
    assert refuse(replace(source_of(url), auth=KEY), SHARED) == ""
    assert "sshAuth" in refuse(source_of(url), SHARED)
    token: GitAuth[Secret] = GitAuth(access_token=Secret(TOKEN))
    assert "sshAuth" in refuse(replace(source_of(url), auth=token), SHARED)
    assert "sshAuth" in refuse(replace(source_of("https://example.com/r"), auth=KEY), SHARED)


INNER = [
    "http://localhost/r",
    "http://LOCALHOST/r",
    "http://a.localhost/r",
    "http://127.0.0.1:8080/r",
    "http://127.9.9.9/r",
    "http://[::1]/r",
    "http://[::ffff:127.0.0.1]/r",
    "http://[::ffff:7f00:1]/r",
    "http://[64:ff9b::7f00:1]/r",
    "http://[2002:7f00:1::]/r",
    "http://0.0.0.0/r",
    "http://[::]/r",
    "http://169.254.169.254/latest/meta-data",
    "http://[fe80::1]/r",
    "https://192.168.1.5/r",
    "https://10.1.2.3/r",
    "https://172.16.0.1/r",
    "https://100.64.0.1/r",
    "https://[fd00::1]:3000/r",
    "https://224.0.0.1/r",
    "https://255.255.255.255/r",
]


@pytest.mark.parametrize("url", ["file:///srv/r", *INNER])
def test_a_shared_engine_goes_to_public_addresses_only(url: str) -> None:
    """Loopback, link-local, private and local are only for an engine of one machine."""
    assert refuse(source_of(url), SHARED) != ""
    assert refuse(source_of(url), LOCAL) == ""


@pytest.mark.parametrize("url", ["ssh://git@127.0.0.1/r", "git@10.0.0.1:r", "git@localhost:r"])
def test_ssh_is_under_the_same_rule(url: str) -> None:
    """An inner address is inner for ssh as well."""
    assert "no public address" in refuse(replace(source_of(url), auth=KEY), SHARED)
    assert refuse(replace(source_of(url), auth=KEY), LOCAL) == ""


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("git.internal", "https://git.internal/r"),
        ("git.internal", "https://GIT.internal:8443/r"),
        ("*.internal", "https://git.internal/r"),
        ("10.0.0.0/8", "https://10.1.2.3/r"),
        ("10.1.2.3", "https://10.1.2.3/r"),
        ("fd00::/8", "https://[fd00::1]/r"),
    ],
)
def test_hosts_are_allowed_by_being_named(host: str, url: str) -> None:
    """A name, all names below one, an address or a network; what is named is not looked up."""
    reach = Reach(hosts=(host,))
    assert refuse(source_of(url), reach) == ""
    assert not reach.looks_up(location(url))
    assert refuse(source_of("https://127.0.0.1/r"), reach) != ""


def test_a_name_allows_no_other() -> None:
    """A star stands for names below it, not for the name itself or one that ends alike."""
    reach = Reach(hosts=("*.internal", "git.example.com"))
    for host in ("internal", "evilinternal", "x.git.example.com", "git.example.com.evil.org"):
        assert reach.looks_up(location(f"https://{host}/r"))


def test_addresses_of_a_name_are_judged() -> None:
    """One inner address among those of a name is enough to refuse it."""
    place = location("https://example.com/r")
    assert against_addresses(place, ("1.1.1.1", "2606:4700::1111"), SHARED) == ""
    for inner in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1%eth0", "nonsense"):
        assert inner in against_addresses(place, ("1.1.1.1", inner), SHARED)
    assert against_addresses(place, ("10.0.0.1",), Reach(hosts=("10.0.0.0/8",))) == ""


@pytest.mark.parametrize(
    "asked", [{"branch": "a", "commit": "1234567"}, {"branch": "a", "tag": "b"}, {"tag": ""}]
)
def test_exactly_one_of_branch_commit_and_tag_is_wanted(asked: dict[str, str]) -> None:
    """Two of them, or none, is a mistake."""
    assert "exactly one" in refuse(source_of("https://x.org/r", **asked), LOCAL)


@pytest.mark.parametrize("url", ["http://example.com/r", "http://127.evil.com/r"])
def test_credentials_are_not_sent_in_the_clear(url: str) -> None:
    """Plain http with credentials is refused, but to loopback."""
    auth: GitAuth[Secret] = GitAuth(access_token=Secret(TOKEN))
    source = GitSource(repo_url=url, branch="main", auth=auth)
    assert "plain http" in refuse(source, LOCAL)
    local = GitSource(repo_url="http://localhost:1/r", branch="main", auth=auth)
    assert refuse(local, LOCAL) == ""
    safe = GitSource(repo_url="https://example.com/r", branch="main", auth=auth)
    assert refuse(safe, SHARED) == ""


def test_credentials_with_a_line_break_are_refused() -> None:
    """A line break would begin another field of what git is told."""
    auth: GitAuth[Secret] = GitAuth(access_token=Secret(f"{TOKEN}\nhost=evil"))
    source = GitSource(repo_url="https://example.com/r", branch="main", auth=auth)
    reason = refuse(source, LOCAL)
    assert "line break" in reason
    assert TOKEN not in reason


def test_the_user_beside_a_token_is_the_forges_own() -> None:
    """Bitbucket wants another name than the others take."""
    auth: GitAuth[Secret] = GitAuth(access_token=Secret(TOKEN))
    assert credentials(auth, "github.com") == ("x-access-token", TOKEN)
    assert credentials(auth, "bitbucket.org") == ("x-token-auth", TOKEN)
    assert credentials(KEY, "github.com") == credentials(None, "github.com") == ("", "")


def test_a_reason_does_not_repeat_the_url() -> None:
    """A URL that holds a password is refused without it."""
    for url in (
        f"https://me:{TOKEN}@example.com/r",
        f"https://example.com/r?token={TOKEN}",
        f"ssh://me:{TOKEN}@example.com/r",
    ):
        reason = refuse(source_of(url), LOCAL)
        assert reason
        assert TOKEN not in reason


def test_limits_are_exact() -> None:
    """The longest URL and name are allowed, one character more is not."""
    url = "https://example.com/"
    longest = source_of(url + "x" * (LONGEST_URL - len(url)))
    assert refuse(longest, LOCAL) == ""
    assert refuse(source_of(longest.repo_url + "x"), LOCAL) != ""
    name = "x" * LONGEST_REF
    assert refuse(source_of(f"{url}r", branch=name), LOCAL) == ""
    assert refuse(source_of(f"{url}r", branch=name + "x"), LOCAL) != ""


@pytest.mark.parametrize(
    ("url", "auth", "wanted"),
    [
        ("https://h.org/a/b.git", KEY, "ssh://git@h.org/a/b.git"),
        ("https://[fd00::1]/a", KEY, "ssh://git@[fd00::1]/a"),
        # the web server's port says nothing of ssh's
        ("https://h.org:8443/a", KEY, "https://h.org:8443/a"),
        ("http://h.org/a", KEY, "http://h.org/a"),
        ("git@h.org:a", KEY, "git@h.org:a"),
        ("https://h.org/a", GitAuth(access_token=Secret(TOKEN)), "https://h.org/a"),
        ("https://h.org/a", None, "https://h.org/a"),
        ("nonsense", KEY, "nonsense"),
    ],
)
def test_a_key_with_an_https_url_goes_over_ssh(
    url: str, auth: GitAuth[Secret] | None, wanted: str
) -> None:
    """The API's own example gives a key with an https URL; the same path is asked over ssh."""
    source = GitSource(repo_url=url, branch="main", auth=auth)
    assert over_ssh(source) == replace(source, repo_url=wanted)
