"""The git commands that get a source: into a mirror, and from there into a workspace. Pure.

Each is one small shell script that never changes; what others have written comes in as its
arguments, after `--` where git reads it. Starting a program in its own surroundings costs more
than most of git's commands take, so those that belong together are one script.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from reconciler.api.types import GitSource, Secret
from reconciler.engine.runners.base import Command
from reconciler.git.isolation import KEYED, Contact
from reconciler.git.urls import Location

__all__ = [
    "TOO_LARGE",
    "Revision",
    "Target",
    "check_out",
    "fetch",
    "lfs_url",
    "local_path",
    "pull_lfs",
]

# How a checkout ends that would be too large; git's own codes are 1, 128 and 129.
TOO_LARGE = 77

# An entry takes at least this much of a disk, so that a million empty files are not free.
SMALLEST_ENTRY_BYTES = 4096

# After these words another attempt in another way fails as well.
_FINAL = (
    "couldn't find remote ref",
    "Authentication failed",
    "could not read Username",
    "unable to access",
    "Could not resolve",
    "Host key verification failed",
    "Permission denied",
    "Connection refused",
    "Connection timed out",
)

# A short commit could also be the name of a tag, so it is looked for among the commits alone.
_FIND = """\
find() {
  found=
  for object in $(git rev-parse --disambiguate="$1"); do
    [ "$(git cat-file -t "$object")" = commit ] || continue
    [ -z "$found" ] || { echo "fatal: more than one commit begins with $1" >&2; exit 1; }
    found=$object
  done
  [ "$found" ] || { echo "fatal: the repository has no commit $1" >&2; exit 1; }
}
"""

# First the one revision alone. A server may give no single commits (the dumb http protocol, or
# `uploadpack.allowReachableSHA1InWant`): then the other refspecs, with their whole history.
_FETCH = (
    _FIND
    + """\
[ -e HEAD ] || git init --quiet --bare --template= -- . || exit
url=$1 asked=$2 one=$3 commit=$4
shift 4
if [ "$one" ]; then
  git fetch --quiet --no-tags --depth=1 -- "$url" "+$one:$asked" 2>"$HOME/first" && exit
  case $(cat "$HOME/first") in
    FINAL) cat "$HOME/first" >&2; exit 1 ;;
  esac
fi
deepen=
[ -e shallow ] && deepen=--unshallow
git fetch --quiet --no-tags --prune $deepen -- "$url" "$@" || exit
[ "$commit" ] || exit 0
find "$commit"
git update-ref "$asked" "$found"
""".replace("FINAL", " | ".join(f'*"{words}"*' for words in _FINAL))
)

# The other end of a local fetch is a program of its own that takes no settings from here.
_UPLOAD_PACK = "git -c 'safe.directory=*' -c uploadpack.allowAnySHA1InWant=true upload-pack"

_CHECK_OUT = (
    _FIND
    + """\
into=$1 from=$2 kind=$3 name=$4 what=$5
if [ "$kind" = commit ] && [ ! "$what" ]; then
  cd -- "$from" || exit
  find "$name"
  what=$found
fi
head=main
[ "$kind" != branch ] || head=$name
git init --quiet --template= --initial-branch="$head" -- "$into" && cd -- "$into" || exit
printf '%s\n' "$REMOTE" >>.git/config || exit
case $kind in
  branch) onto=refs/remotes/origin/$name ;;
  tag) onto=refs/tags/$name ;;
  commit) onto=refs/reconciler/asked ;;
esac
git fetch --quiet --no-tags --no-write-fetch-head --depth=1 --upload-pack="$UPLOAD_PACK" \\
  -- "$from" "+$what:$onto" || exit
# A few kilobytes can stand for more files than any disk or memory holds.
git ls-tree -r -l "$onto" -- | awk -v most="$MOST_BYTES" -v entry="$ENTRY_BYTES" '
  { bytes += $4 < entry ? entry : $4 }
  bytes > most { exit 1 }
' || { [ $? -ne 1 ] || exit "$TOO_LARGE"; exit 1; }
case $kind in
  branch) git reset --hard "$onto" -- ;;
  tag) git checkout --detach "$onto" -- ;;
  commit) git checkout --detach "$what" -- && git update-ref -d "$onto" ;;
esac || exit
[ "$SUBMODULES" ] || exit 0
git ls-files -z --stage | grep -z '^160000 ' >"$HOME/gitlinks"
git config -z --blob HEAD:.gitmodules --list >"$HOME/gitmodules" 2>/dev/null
exit 0
"""
)

_LFS = """\
cd -- "$1" || exit
git grep --quiet filter=lfs HEAD -- ':(glob)**/.gitattributes' || exit 0
git lfs version >/dev/null 2>&1 || {
  echo "the repository has files in Git LFS, and git-lfs is not installed on the engine's host" >&2
  exit 1
}
exec git lfs pull
"""

_ALL = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")

_WHOLE_COMMIT = (40, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What is asked for: `kind` is branch, tag or commit.

    `name` has no `refs/…` before it; a commit's is in lower case.
    """

    kind: str
    name: str

    @classmethod
    def of(cls, source: GitSource[Secret]) -> Revision:
        """Return what a source asks for."""
        if source.branch:
            return cls(kind="branch", name=source.branch_name)
        if source.tag:
            return cls(kind="tag", name=source.tag.removeprefix("refs/tags/"))
        return cls(kind="commit", name=source.commit.lower())

    @property
    def asked(self) -> str:
        """Return the ref in a mirror that holds the answer: never one within another."""
        return f"refs/asked/{hashlib.sha256(f'{self.kind} {self.name}'.encode()).hexdigest()}"

    @property
    def remote(self) -> str:
        """Return what a server is asked for: a ref, or a whole commit; empty for a short one.

        A server gives a commit by its whole name only; a short one would be read as a branch.
        """
        if self.kind == "commit":
            return self.name if len(self.name) in _WHOLE_COMMIT else ""
        return f"refs/heads/{self.name}" if self.kind == "branch" else f"refs/tags/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a checkout goes, and from where.

    `origin` is a local repository: a mirror, or the source itself. `object_id` is what is to be
    checked out, where it is known; `url` is what the clone says that it comes from. More than
    `largest_bytes` of files are not checked out.
    """

    into: Path
    origin: Path
    url: str
    object_id: str = ""
    largest_bytes: int
    submodules: bool = False


def fetch(
    contact: Contact, revision: Revision, mirror: Path, environment: Mapping[str, str]
) -> Command:
    """Return the command that makes a mirror, or makes it have `revision.asked`.

    `mirror` is an empty directory or a mirror; `environment` is `isolation.remote`'s.
    """
    commit = revision.name if revision.kind == "commit" else ""
    others = _ALL if commit else (f"+{revision.remote}:{revision.asked}",)
    ssh = contact.location.scheme == "ssh"
    script = KEYED + _FETCH if ssh else _FETCH
    argv = ("sh", "-c", script, "fetch", contact.url, revision.asked, revision.remote, commit)
    return Command(
        argv=("ssh-agent", *argv, *others) if ssh else (*argv, *others),
        cwd=mirror,
        environment=dict(environment) | {"GIT_DIR": str(mirror)},
    )


def check_out(
    revision: Revision, target: Target, cwd: Path, environment: Mapping[str, str]
) -> Command:
    """Return the command that makes the clone: HEAD on the branch, or detached.

    The history is shallow. `target.into` is absent or empty; `environment` is
    `isolation.local`'s. It ends with TOO_LARGE where there would be too much. With `submodules`
    the scratch directory then says which there are.
    """
    what = target.object_id or revision.remote
    argv = ("sh", "-c", _CHECK_OUT, "check-out", str(target.into), str(target.origin))
    more = {
        "REMOTE": _remote(target.url),
        "UPLOAD_PACK": _UPLOAD_PACK,
        "SUBMODULES": "yes" if target.submodules else "",
        "MOST_BYTES": str(target.largest_bytes),
        "ENTRY_BYTES": str(SMALLEST_ENTRY_BYTES),
        "TOO_LARGE": str(TOO_LARGE),
    }
    # Where the mirror is, is nobody's business; a log of refs would say it.
    more["GIT_REFLOG_ACTION"] = "get source"
    return Command(
        argv=(*argv, revision.kind, revision.name, what),
        cwd=cwd,
        environment=dict(environment) | more,
    )


def _remote(url: str) -> str:
    """Return what `git remote add` would write: as text, as that is one program less to start."""
    quoted = url.replace("\\", "\\\\").replace('"', '\\"')
    return f'[remote "origin"]\n\turl = "{quoted}"\n\tfetch = +refs/heads/*:refs/remotes/origin/*'


def pull_lfs(contact: Contact, into: Path, environment: Mapping[str, str]) -> Command:
    """Return the command that puts the files of Git LFS where the clone has their pointers."""
    argv: tuple[str, ...] = ("sh", "-c", _LFS, "lfs", str(into))
    if contact.location.scheme == "ssh":
        argv = ("ssh-agent", "sh", "-c", KEYED + _LFS, "lfs", str(into))
    count = int(environment["GIT_CONFIG_COUNT"])
    settings = {
        # Over what a file `.lfsconfig` of the repository says.
        "lfs.url": lfs_url(contact.url, contact.location),
        "lfs.basictransfersonly": "true",
        # git-lfs's own eight would hold a step for minutes where a file is simply gone.
        "lfs.transfer.maxretries": "2",
        "lfs.transfer.maxretrydelay": "2",
        "lfs.locksverify": "false",
        "filter.lfs.clean": "git-lfs clean -- %f",
        "filter.lfs.smudge": "git-lfs smudge -- %f",
        "filter.lfs.process": "git-lfs filter-process",
        "filter.lfs.required": "true",
    }
    whole = dict(environment) | {"GIT_CONFIG_COUNT": str(count + len(settings))}
    for index, (key, value) in enumerate(settings.items(), start=count):
        whole[f"GIT_CONFIG_KEY_{index}"] = key
        whole[f"GIT_CONFIG_VALUE_{index}"] = value
    return Command(argv=argv, cwd=into, environment=whole)


def lfs_url(url: str, location: Location) -> str:
    """Return where the repository's LFS server is, by git-lfs's own rule."""
    if location.scheme in {"ssh", "file"}:
        return url
    return url.removesuffix("/").removesuffix(".git") + ".git/info/lfs"


def local_path(location: Location) -> Path:
    """Return the directory that a file URL names."""
    return Path(unquote(location.path))
