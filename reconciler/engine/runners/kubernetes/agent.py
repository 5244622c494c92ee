"""What runs in a deployment's container between the engine and the commands. Pure text.

An image has a POSIX shell and the usual small programs, so the agent is shell scripts, each
started by an `exec` of the API; the order of a command comes to one on its standard input. A
connection may be lost at any moment, and the program at the other end with it. So a command is
started by who first makes the directory `N.begun`; runs apart from who started it, in a
session of its own; its output goes to a file, its exit code to another. Whoever asks again
finds it there and reads on from the byte it had: nothing is run twice, and nothing is lost.

A deployment can read and change these files. It can only deceive itself: they say how its own
commands ended.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from reconciler.engine.runners.base import Command

__all__ = [
    "BOX",
    "INTERRUPT",
    "KEEP",
    "KILL",
    "OUTPUT",
    "PACK",
    "PROBE",
    "RUN",
    "UNPACK",
    "order",
]

# Orders hold a command's environment: this directory is memory, and gone with the pod.
BOX = "/run/reconciler"
# What commands print, before it is masked.
OUTPUT = "/run/reconciler-output"

# Keeps the pod there. When it is to end before its time (a node is drained, the deadline is
# over) the program is interrupted as by a cancel, and waited for as long as the pod may; then
# whoever reads its output has some seconds to come to the end.
KEEP = r"""
umask 077
cd @BOX@ || exit 1
rest() {
  sleep "$1" &
  echo "$!" >idle
  wait "$!"
}
stop() {
  trap '' TERM INT
  for state in *.state; do
    n=${state%.state}
    if [ -e "$state" ] && [ ! -e "$n.code" ]; then
      read -r word pid <"$state" && kill -s INT -- "-$pid"
      while [ ! -e "$n.code" ]; do rest 0.1; done
      looks=0
      while [ "$looks" -lt 30 ]; do
        looks=$((looks + 1))
        [ ! -e "$n.read" ] || looks=$((looks + 9))
        rest 0.1
      done
    fi
  done
  exit 0
}
trap stop TERM INT
while :; do rest 86400; done
"""

# Tells what the image has: one word and its value a line.
PROBE = r"""
for name in cat dd env head ln mkdir mv rm setsid sleep tar wc; do
  command -v "$name" >/dev/null || echo "missing $name"
done
sleep 0.01 || echo "missing sleep 0.01"
echo "path $PATH"
IFS=:
for name in bash sh; do
  for folder in $PATH /bin; do
    [ ! -x "$folder/$name" ] || echo "shell $folder/$name"
  done
done
found=$(command -v pulumi) || exit 0
echo "pulumi $found"
echo "version $(PULUMI_SKIP_UPDATE_CHECK=true pulumi version)"
"""

# Runs command `n`, whose order of `length` bytes is on standard input, or finds it running;
# prints its output from byte `skip`. On standard error it says `started PID` or
# `failed ERRNO`, and at the end `end CODE BYTES KILLS`: of how many bytes the output is, and
# how many processes of the container were ended since memory was out.
#
# What a shell starts with `&` has SIGINT ignored for good. So the order is run in the
# foreground of a subshell, which the order itself kills.
#
# `kill -9 -1` ends all but the first process and the caller, at one moment: no process can
# make another meanwhile. The first process's own `sleep` (`idle`) is made again.
RUN = r"""
n=$1 length=$2 skip=$3
umask 077
cd @BOX@ || exit 1
if [ ! -e "$n.begun" ]; then
  head -c "$length" >"$n.order.$$"
  [ "$(wc -c <"$n.order.$$")" -eq "$length" ] || exit 1
  : >>"@OUTPUT@/$n"
  if mkdir "$n.begun" 2>/dev/null; then
    mv "$n.order.$$" "$n.order"
    (env -i PATH="$PATH" setsid sh "$n.order" "$$" </dev/null >/dev/null 2>&1; :)
  else
    rm -f "$n.order.$$"
  fi
fi
: >>"@OUTPUT@/$n"
exec 3<"@OUTPUT@/$n"
[ "$skip" -eq 0 ] || dd bs=1 skip="$skip" count=0 <&3 2>/dev/null
said='' looks=0
while :; do
  if [ -z "$said" ] && [ -s "$n.state" ]; then
    said=1
    cat "$n.state" >&2
  fi
  if [ -e "$n.code" ]; then break; fi
  cat <&3
  runner=''
  if [ -s "$n.runner" ]; then read -r runner <"$n.runner"; fi
  if [ -n "$runner" ]; then
    kill -0 "$runner" 2>/dev/null || looks=$((looks + 20))
  else
    looks=$((looks + 1))
  fi
  if [ "$looks" -ge 200 ]; then
    echo 137 >"$n.c.$$"
    ln "$n.c.$$" "$n.code" 2>/dev/null
  fi
  sleep 0.05
done
kill -9 -1 2>/dev/null
round=0 others=1
while [ -n "$others" ] && [ "$round" -lt 1000 ]; do
  round=$((round + 1)) others='' idle=''
  read -r idle <idle
  for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    case $pid in 1 | "$$" | "$idle") continue ;; esac
    { read -r line <"$process/stat"; } 2>/dev/null || continue
    case ${line##*) } in Z* | X*) continue ;; esac
    others=1
  done
  if [ -n "$others" ]; then
    [ $((round % 20)) -ne 0 ] || kill -9 -1 2>/dev/null
    sleep 0.01
  fi
done
cat <&3
read -r code <"$n.code"
kills=0
for events in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
  [ -r "$events" ] || continue
  while read -r word count; do
    [ "$word" != oom_kill ] || kills=$count
  done <"$events"
done
echo "end $code $(wc -c <"@OUTPUT@/$n") $kills" >&2
: >"$n.read"
"""

# Interrupts command `n`, as a terminal does: its process group. `k` counts the interrupts, so
# that one is not sent twice.
INTERRUPT = r"""
n=$1 k=$2
cd @BOX@ || exit 1
mkdir "$n.interrupt.$k" 2>/dev/null || exit 0
looks=0
while [ ! -e "$n.code" ] && [ "$looks" -lt 600 ]; do
  if [ -s "$n.state" ]; then
    read -r word pid <"$n.state"
    kill -s INT -- "-$pid" 2>/dev/null && exit 0
  fi
  looks=$((looks + 1))
  sleep 0.05
done
"""

# Ends command `n` and all that has come of it, and keeps it from beginning.
KILL = r"""
n=$1
cd @BOX@ || exit 1
mkdir "$n.begun" 2>/dev/null
kill -9 -1 2>/dev/null
echo 137 >"$n.k.$$"
ln "$n.k.$$" "$n.code" 2>/dev/null
exit 0
"""

# Takes `length` bytes of an archive, and puts what is in it below `tree/` into `folder`, in
# the place of what is there. An archive that was cut off lacks its last entry.
UNPACK = r"""
folder=$1 length=$2
mkdir -p "$folder" && cd "$folder" || exit 1
new=.reconciler.$$
mkdir "$new" || exit 1
head -c "$length" | tar -xof - -C "$new" && [ -e "$new/complete" ] || { rm -rf "$new"; exit 1; }
for part in "$new"/tree/* "$new"/tree/.[!.]* "$new"/tree/..?*; do
  [ -e "$part" ] || [ -L "$part" ] || continue
  old=./${part##*/}
  if [ -d "$old" ] && [ ! -L "$old" ]; then chmod -R u+rwX "$old" 2>/dev/null; fi
  rm -rf "$old" && mv "$part" "$old" || exit 1
done
rm -rf "$new"
"""

# Writes an archive of what is at `name` in `folder`; nothing where there is no such thing.
PACK = r"""
cd "$1" 2>/dev/null || exit 0
[ -e "$2" ] || [ -L "$2" ] || exit 0
tar -cf - -- "$2"
"""


def _here(script: str) -> str:
    return script.replace("@BOX@", BOX).replace("@OUTPUT@", OUTPUT).strip()


KEEP, RUN, INTERRUPT, KILL = map(_here, (KEEP, RUN, INTERRUPT, KILL))
PROBE, UNPACK, PACK = map(_here, (PROBE, UNPACK, PACK))

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)

# Some shell gives these a meaning or a value of its own. Their values go through `env`.
_SHELLS_OWN = re.compile(
    r"(?:_|PPID|UID|EUID|GROUPS|OPTIND|OPTARG|LINENO|RANDOM|SRANDOM|SECONDS|FUNCNAME|DIRSTACK|"
    r"HISTCMD|COMP_\w*|EPOCH\w*|BASH(?!_ENV)\w*|SHELLOPTS|POSIXLY_CORRECT|IFS|PS4|PATH)\Z"
)

_ORDER = """\
cd {box} || exit 1
echo "$$" >{n}.runner
[ "$PPID" = "$1" ] || kill -9 "$PPID"
rm -f {n}.order
(
  read -r pid rest </proc/self/stat
  there() {{
    case $1 in
    */*) [ -f "$1" ] && [ -x "$1" ] ;;
    *)
      IFS=:
      for folder in $2; do
        [ -f "$folder/$1" ] && [ -x "$folder/$1" ] && return 0
      done
      return 1
      ;;
    esac
  }}
  setsid=$(command -v setsid) env=$(command -v env)
  cd -- {cwd} 2>/dev/null && there {program} {path} || {{
    echo "failed 2" >{box}/{n}.state
    exit 127
  }}
  unset PATH PWD OLDPWD SHLVL
{exports}  echo "started $pid" >{box}/{n}.state
  exec {through}"$setsid" -- {argv}
) </dev/null >>{output}/{n} 2>&1
echo "$?" >{n}.c
ln {n}.c {n}.code
"""


def order(number: int, command: Command) -> bytes:
    """Return the script that runs a command as number `number`. ValueError for a NUL.

    Its variables are set by the shell itself, so that none is in a command line.
    """
    environment = command.environment
    texts = (*command.argv, str(command.cwd), *environment, *environment.values())
    if any("\0" in text for text in texts):
        raise ValueError("an argument or environment variable holds a NUL character")
    exports, through = _variables(environment)
    text = _ORDER.format(
        box=BOX,
        output=OUTPUT,
        n=number,
        cwd=_quoted(str(command.cwd)),
        program=_quoted(command.argv[0]),
        path=_quoted(environment.get("PATH", os.defpath)),
        exports=exports,
        through=through,
        argv=" ".join(map(_quoted, command.argv)),
    )
    return os.fsencode(text)


def _variables(environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the lines that set variables, and what sets those that a shell cannot."""
    exports, others = [], []
    for name, value in environment.items():
        if _NAME.match(name) and not _SHELLS_OWN.match(name):
            exports.append(f"  export {name}={_quoted(value)}\n")
        elif name != "PATH":
            others.append(_quoted(f"{name}={value}"))
    if "PATH" in environment:
        exports.append(f"  export PATH={_quoted(environment['PATH'])}\n")
    through = f'"$env" {" ".join(others)} ' if others else ""
    return "".join(exports), through


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
