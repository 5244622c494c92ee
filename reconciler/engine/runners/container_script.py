"""What a container's shell is given to do: to start one command there, and to end all it left.

It goes to the shell by standard input, so no variable is in an argument. Any shell will do
(dash, bash, busybox): nothing here goes beyond POSIX but `kill -9 -1`, which ends every process
of the container but the first and the shell itself, at one stroke: none can fork away.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from reconciler.engine.runners.base import Command

__all__ = ["FIRST_PROCESS", "READ_AND_RUN", "check", "script"]

# The first process of every container. It looks after the dead that others have left to it, and
# has a second one read the pipe whose other end is the engine's: when that is gone, however it
# went, the container ends. The second one is killed with all others; then there is a new one.
FIRST_PROCESS = """\
while :; do
  (while read -r line; do :; done <"$0"; exit 3) &
  wait $!
  [ $? = 3 ] && exit
done
"""

READ_AND_RUN = 'eval "$(cat)"'

# Names that some shell does not let go by its own rules. They go to `env`, in the open: nobody
# names a secret so.
_SHELLS_OWN = frozenset(
    {
        "BASHOPTS", "BASH_ARGC", "BASH_ARGV", "BASH_LINENO", "BASH_SOURCE", "BASH_VERSINFO",
        "EUID", "FUNCNAME", "GROUPS", "IFS", "LINENO", "OLDPWD", "OPTARG", "OPTIND", "PPID",
        "PS4", "PWD", "RANDOM", "SECONDS", "SHELLOPTS", "SHLVL", "UID", "_",
    }
)  # fmt: skip

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

# What podman, docker and the shell itself put into every environment.
_ADDED = ("HOME", "HOSTNAME", "TERM", "container")
_ADDED_BY_SHELL = ("_", "OLDPWD", "PWD", "SHLVL")

# The codes of "no such file" and "not permitted", as the engine reads them.
_TEMPLATE = """\
exec </dev/null 2>&1
{unset}
cd -- {cwd} 2>/dev/null || {{ echo -2; exit 1; }}
program={program}
case $program in
*/*) [ -f "$program" ] || {{ echo -2; exit 1; }}; [ -x "$program" ] || {{ echo -13; exit 1; }} ;;
*) (
  {path}IFS=:
  set -f
  for folder in $PATH; do [ -f "$folder/$program" ] && [ -x "$folder/$program" ] && exit 0; done
  exit 1
) || {{ echo -2; exit 1; }} ;;
esac
{export}
trap : INT
/bin/sh -c 'echo "+$0"; exec "$@"' $$ /usr/bin/env {env} {argv}
code=$?
trap '' INT
kill -9 -1 2>/dev/null
exit $code
"""


def script(command: Command, image_names: tuple[str, ...]) -> str:
    """Return the script that starts the command and ends with its exit code.

    `image_names` are the variables that the image sets; what of them the command has not, it
    does not see. First the script writes `+N` and a line end, N being its process group, or
    `-N` with an error's number. ValueError where a text holds a NUL.
    """
    texts = [*command.argv, str(command.cwd), *command.environment, *command.environment.values()]
    if any("\0" in text for text in texts):
        raise ValueError("an argument or environment variable holds a NUL character")
    environment = command.environment
    others = {*_ADDED, *image_names} - environment.keys() - {"PATH"}
    unset = [name for name in sorted(others) if not _is_for_env(name)]
    path = environment.get("PATH")
    return _TEMPLATE.format(
        unset=f"unset {' '.join(unset)}" if unset else ":",
        cwd=shlex.quote(str(command.cwd)),
        program=shlex.quote(command.argv[0]),
        path="" if path is None else f"PATH={shlex.quote(path)}\n  ",
        export="\n".join(_exports(environment)) or ":",
        env=" ".join(map(shlex.quote, _for_env(environment))),
        argv=shlex.join(command.argv),
    )


def check(programs: tuple[str, ...]) -> str:
    """Return a script that tells what of the programs is not there, and where the others are."""
    return f"""\
exec </dev/null 2>/dev/null
[ -x /usr/bin/env ] || echo missing /usr/bin/env
for name in {shlex.join(programs)}; do
  command -v "$name" >/dev/null || echo missing "$name"
done
echo shell "$(command -v bash || command -v sh)"
echo pulumi "$(command -v pulumi)"
echo version "$(PULUMI_SKIP_UPDATE_CHECK=true pulumi version)"
"""


def _exports(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if not _is_for_env(name):
            yield f"export {name}={shlex.quote(value)}"


def _for_env(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield what `env` is told: what is not to be there, then what only it can set."""
    without = [name for name in _ADDED_BY_SHELL if name not in environment]
    if "PATH" not in environment:
        without.append("PATH")
    for name in without:
        yield from ("-u", name)
    for name, value in environment.items():
        if _is_for_env(name):
            yield f"{name}={value}"


def _is_for_env(name: str) -> bool:
    """Whether a variable is not for the shell: it takes it for its own, or its loader does."""
    return name in _SHELLS_OWN or name.startswith("LD_") or not _NAME.match(name)
