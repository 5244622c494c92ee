"""How a deployment's program is fetched: the git commands of its step, and what is refused. Pure.

Whatever names the repository (URL, branch, tag, commit) was written by someone else, and git
takes many texts for options, programs and transports. So what may be is listed here, not what
may not; git runs without the host's configuration, hooks, prompts and submodules; and it may
use the one protocol of the URL. Credentials reach git in the environment, never as arguments,
and git gives them to the host of the URL alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from reconciler.api.types import GitAuth, GitSource, Secret
from reconciler.engine.runners.base import Command

__all__ = ["checkout_commands", "refuse"]

# Longer ones exist in no real setup; browsers and servers stop at about as much.
LONGEST_URL = 2048
LONGEST_REF = 250

# A server that gives less than this for as long as that has hung; git would wait for ever.
SLOWEST_BYTES_PER_S = 1000
SLOWEST_FOR_S = 60

# The user name beside an access token: GitHub asks for this one, GitLab and Gitea take any.
TOKEN_USER = "x-access-token"  # noqa: S105 - a user name

# git's own names are lower case; it would look for a program `git-remote-HTTPS`.
_URL = re.compile(r"(https?|file)://(.*)", re.DOTALL)
_AUTHORITY = re.compile(
    r"([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?"
)
# What a resolver reads as a number is compared as one, and there is no honest use for `0x7f.1`.
_NUMBER = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)\Z")
_COMMIT = re.compile(r"[0-9A-Fa-f]{7,64}")
_WHOLE_COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})")
_ESCAPED_CONTROL = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff])")
# `git help check-ref-format`, and no leading dash.
_BAD_REF = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/]|[/.]$|(?:^|/)\.|\.lock(?:/|$)|^@$"
)

# Given to git as a program, so constant; the values come from the environment.
_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" '
    '"$RECONCILER_GIT_USER" "$RECONCILER_GIT_PASSWORD"; }; f'
)

# First the one commit alone. A server may give no single commits (the dumb http protocol, or
# `uploadpack.allowReachableSHA1InWant`): then all of the second refspecs, and its errors count.
_FETCH = """\
git fetch --quiet --no-tags --depth=1 -- origin "$1" 2>/dev/null && exit
shift
exec git fetch --quiet --no-tags -- origin "$@"
"""

# A short commit could also be the name of a tag; what was checked out must be the commit.
_DETACH = """\
git checkout --detach "$1" -- || exit
case $(git rev-parse HEAD) in "$1"*) exit 0 ;; esac
echo "HEAD is not commit $1" >&2
exit 1
"""

_ALL = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")


def checkout_commands(
    source: GitSource[Secret], directory: Path, environment: Mapping[str, str]
) -> tuple[Command, ...]:
    """Return the commands that fetch `source` into `directory`, in order.

    `directory` is absent or empty and its parent is there. `environment` is the deployment's
    base environment; git's own variables in it are left out. Afterwards HEAD is on the branch,
    or detached at the tag or commit. The history is shallow where the server can do that.
    ValueError with the reason where `refuse` would refuse the source.
    """
    reason = refuse(source, local_repositories=True)
    if reason:
        raise ValueError(reason)
    whole = {name: value for name, value in environment.items() if not name.startswith("GIT_")}
    whole |= _environment(source, directory)
    steps: list[tuple[str, ...]] = [
        ("git", "remote", "add", "--", "origin", source.repo_url),
        *_fetch_and_check_out(source),
    ]
    init = ("git", "init", "--quiet", "--template=", "--", str(directory))
    return (
        Command(argv=init, cwd=directory.parent, environment=whole),
        *(Command(argv=argv, cwd=directory, environment=whole) for argv in steps),
    )


def refuse(source: GitSource[Secret], local_repositories: bool) -> str:  # noqa: FBT001
    """Return why this source may not be fetched, or an empty text where it may.

    With `local_repositories` the engine serves its own machine: `file://` is allowed, and so
    are the machine's own addresses. The reason never repeats the URL, which may hold a secret.
    """
    return (
        _against_url(source.repo_url, local=local_repositories)
        or _against_revision(source)
        or _against_auth(source.auth, source.repo_url)
    )


def _fetch_and_check_out(source: GitSource[Secret]) -> tuple[tuple[str, ...], ...]:
    """Return the commands that fetch what is asked for and put HEAD there."""
    if source.branch:
        name = source.branch_name
        refspec = f"+refs/heads/{name}:refs/remotes/origin/{name}"
        return (
            ("sh", "-c", _FETCH, "fetch", refspec, refspec),
            ("git", "symbolic-ref", "HEAD", f"refs/heads/{name}"),
            ("git", "reset", "--hard", f"refs/remotes/origin/{name}"),
        )
    if source.tag:
        name = _tag_name(source)
        refspec = f"+refs/tags/{name}:refs/tags/{name}"
        return (
            ("sh", "-c", _FETCH, "fetch", refspec, refspec),
            ("git", "checkout", "--detach", f"refs/tags/{name}", "--"),
        )
    commit = source.commit.lower()
    fetch: tuple[str, ...] = ("sh", "-c", _FETCH, "fetch", commit, *_ALL)
    if not _WHOLE_COMMIT.fullmatch(commit):
        # A server gives a commit by its whole name only; a short one would be read as a branch.
        fetch = ("git", "fetch", "--quiet", "--no-tags", "--", "origin", *_ALL)
    return (fetch, ("sh", "-c", _DETACH, "detach", commit))


def _environment(source: GitSource[Secret], directory: Path) -> dict[str, str]:
    """Return the variables that keep git to itself, and the credentials among them."""
    scheme = source.repo_url.partition(":")[0]
    variables = {
        "GIT_ALLOW_PROTOCOL": scheme,
        "GIT_CEILING_DIRECTORIES": str(directory.parent),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }
    settings = {
        "advice.detachedHead": "false",
        "core.attributesFile": "/dev/null",
        "core.fsmonitor": "false",
        "core.hooksPath": "/dev/null",
        "credential.helper": "",
        "fetch.recurseSubmodules": "false",
        # git's own upkeep would go on in the background after the command has ended.
        "gc.auto": "0",
        "maintenance.auto": "false",
        # A redirect leads where nobody has looked whether that is allowed.
        "http.followRedirects": "false",
        "http.lowSpeedLimit": str(SLOWEST_BYTES_PER_S),
        "http.lowSpeedTime": str(SLOWEST_FOR_S),
        "submodule.recurse": "false",
    }
    if scheme == "file":
        # The owner of a local repository may be another user; the engine's host allowed it. The
        # other end of a local fetch is a program of its own that takes no settings from here.
        settings["safe.directory"] = "*"
        settings["remote.origin.uploadpack"] = "git -c 'safe.directory=*' upload-pack"
    elif source.auth is not None:
        user, password = _credentials(source.auth)
        variables |= {"RECONCILER_GIT_USER": user, "RECONCILER_GIT_PASSWORD": password}
        authority = source.repo_url.removeprefix(f"{scheme}://").partition("/")[0]
        settings[f"credential.{scheme}://{authority}.helper"] = _HELPER
    variables["GIT_CONFIG_COUNT"] = str(len(settings))
    for index, (key, value) in enumerate(settings.items()):
        variables[f"GIT_CONFIG_KEY_{index}"] = key
        variables[f"GIT_CONFIG_VALUE_{index}"] = value
    return variables


def _credentials(auth: GitAuth[Secret]) -> tuple[str, str]:
    """Return user name and password. A line end behind them came with the file they were in."""
    if auth.basic is not None:
        return _plain(auth.basic.user_name), _plain(auth.basic.password)
    return TOKEN_USER, _plain(auth.access_token or "")


def _plain(value: Secret | str) -> str:
    text = value if isinstance(value, str) else value.value
    return text.rstrip("\r\n")


def _tag_name(source: GitSource[Secret]) -> str:
    return source.tag.removeprefix("refs/tags/")


def _against_revision(source: GitSource[Secret]) -> str:
    """Return a reason against the branch, commit or tag."""
    if sum(map(bool, (source.branch, source.commit, source.tag))) != 1:
        return "give exactly one of branch, commit and tag"
    if source.commit and not _COMMIT.fullmatch(source.commit):
        return "the commit is not a hash of 7 to 64 hexadecimal digits"
    for what, name in (("branch", source.branch_name), ("tag", _tag_name(source))):
        if len(name) > LONGEST_REF or _BAD_REF.search(name) or not name.isprintable():
            return f"the {what} is not a name that git allows"
    return ""


def _against_url(url: str, *, local: bool) -> str:
    """Return a reason against the URL. Only its shape is judged: nothing is looked up."""
    if len(url) > LONGEST_URL:
        return f"the URL has more than {LONGEST_URL} characters"
    if not url.isprintable() or " " in url or "\\" in url or _ESCAPED_CONTROL.search(url):
        return "the URL has control characters, spaces or backslashes"
    match = _URL.fullmatch(url)
    if match is None:
        return "the URL does not begin with https://, http:// or file://"
    scheme, rest = match.groups()
    authority, _, path = rest.partition("/")
    if "@" in authority:
        return "the URL holds a user name or password; credentials belong in gitAuth"
    if "?" in rest or "#" in rest:
        return "the URL has a query or a fragment"
    if scheme != "file":
        return _against_host(authority, local=local) if path else "the URL names no repository"
    if not local:
        return "file:// is allowed only where the engine serves its own machine"
    return "a file:// URL is file:///an/absolute/path" if authority or not path else ""


def _against_host(authority: str, *, local: bool) -> str:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return "the URL's host is not a host name or address"
    host = match[1].lower()
    address = _address(host)
    if address is None:
        if host.startswith("[") or _NUMBER.match(host.rpartition(".")[2]):
            return "the URL's host is an address in a form that is not allowed"
        own = _is_localhost(host)
    else:
        own = address.is_loopback or address.is_unspecified or address.is_link_local
    if own and not local:
        return "the URL's host is an address of the engine's own machine or link"
    return ""


def _against_auth(auth: GitAuth[Secret] | None, url: str) -> str:
    if auth is None:
        return ""
    if auth.ssh is not None:
        return "sshAuth does not go with an https, http or file URL: use accessToken or basicAuth"
    if any(character in text for text in _credentials(auth) for character in "\r\n\0"):
        return "the credentials hold a line break"
    match = _AUTHORITY.fullmatch(url.removeprefix("http://").partition("/")[0])
    if url.startswith("http://") and not (match and _is_loopback(match[1].lower())):
        return "credentials are not sent over plain http, but to loopback: use https"
    return ""


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that the host is; an IPv4 one within an IPv6 one as itself."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return _is_localhost(host) if address is None else address.is_loopback
