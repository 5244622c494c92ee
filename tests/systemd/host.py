"""A build host: this machine's files in a layer that is thrown away, with a systemd of its own.

Namespaces for everything but the network, and systemd as their first process. What is installed,
enabled or made there is in memory and gone with it; nothing of this machine is changed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["LIMIT_S", "Host"]

# A systemd starts within a second, and on a loaded machine within some.
LIMIT_S = 90.0

BOOT = """\
set -e
mount --make-rprivate /
mount -t tmpfs -o size=1g tmpfs {root}/layer
mkdir {root}/layer/upper {root}/layer/work
layers=lowerdir=/,upperdir={root}/layer/upper,workdir={root}/layer/work
mount -t overlay overlay -o $layers {root}/host
cd {root}/host
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
  touch dev/$name
  mount --bind /dev/$name dev/$name
done
mkdir dev/pts dev/shm
mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mkdir tmp/share tmp/old
mount --bind {root}/share tmp/share
# What is installed on this machine, and what would touch its kernel or its devices, stays away.
rm -rf etc/systemd/system
mkdir etc/systemd/system
for unit in {masked}; do
  ln -s /dev/null etc/systemd/system/$unit
done
cp {root}/resolv.conf run/resolv.conf
pivot_root . tmp/old
umount -l /tmp/old
# As on a host: what is mounted for a service has to be seen by it.
mount --make-rshared /
exec env -i container=other PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
  /lib/systemd/systemd --unit=basic.target --log-target=console --show-status=no </dev/null
"""


# Their settings are the kernel's, which is this machine's too; and /tmp is ours already.
MASKED = (
    *("systemd-sysctl.service", "systemd-modules-load.service", "systemd-binfmt.service"),
    *("systemd-udevd.service", "systemd-udev-trigger.service", "systemd-udevd-control.socket"),
    *("systemd-udevd-kernel.socket", "systemd-random-seed.service", "systemd-pstore.service"),
    *("systemd-networkd.service", "systemd-networkd.socket", "systemd-resolved.service"),
    *("systemd-timesyncd.service", "systemd-hwdb-update.service", "systemd-remount-fs.service"),
    *("tmp.mount", "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount"),
    *("sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount", "sys-kernel-config.mount"),
    *("proc-sys-fs-binfmt_misc.automount", "networking.service", "apparmor.service"),
    *("kmod-static-nodes.service", "systemd-fsck-root.service", "systemd-repart.service"),
)


class Host:
    """One build host. `share` is a directory that is /tmp/share in there."""

    def __init__(self, root: Path) -> None:
        assert os.geteuid() == 0, "a systemd of one's own needs root"
        self.root = root
        self.share = root / "share"
        for name in ("layer", "host", "share"):
            (root / name).mkdir()
        shutil.copy("/etc/resolv.conf", root / "resolv.conf")
        (root / "boot.sh").write_text(BOOT.format(root=root, masked=" ".join(MASKED)))
        namespaces = ("--mount", "--pid", "--uts", "--ipc", "--cgroup")
        with (root / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", *namespaces, "--fork", "--kill-child=KILL", "sh", root / "boot.sh"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._first = 0
        try:
            self.eventually(self._is_up, "systemd is up")
        except BaseException:
            self.end()
            raise

    def _is_up(self) -> bool:
        assert self._process.poll() is None, (self.root / "log").read_text(errors="replace")
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children:
            return False
        self._first = int(children[0])
        with suppress(OSError):
            if b"systemd" in Path(f"/proc/{self._first}/cmdline").read_bytes():
                return self.run("systemctl is-active basic.target", code=None) == "active\n"
        return False

    def run(self, script: str, code: int | None = 0) -> str:
        """Run a script as root there, as bash does; return what it printed, in all."""
        inside = ("--mount", "--pid", "--uts", "--ipc", "--cgroup")
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        done = subprocess.run(
            [
                *("nsenter", "--target", str(self._first), *inside, "--"),
                # pip would compile what is installed for minutes of a loaded machine's time.
                *("env", "-i", "HOME=/root", f"PATH={path}", "LANG=C.UTF-8", "PIP_NO_COMPILE=1"),
                *("bash", "-euo", "pipefail", "-c", f"cd /tmp/share\n{script}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=2 * LIMIT_S,
            check=False,
        )
        if code is not None and done.returncode != code:
            journal = (
                "" if "journalctl" in script else self.run("journalctl -n 60 --no-pager", None)
            )
            raise AssertionError(f"{script}\nended with {done.returncode}\n{done.stdout}{journal}")
        return done.stdout

    def property(self, unit: str, name: str) -> str:
        """Return what systemd says of a unit."""
        return self.run(f"systemctl show --value -p {name} {unit}").strip()

    def eventually(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition, with a limit."""
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, f"never came: {what}"
            time.sleep(0.05)

    def end(self) -> None:
        """End all of it: with the first process the kernel ends the others."""
        with suppress(ProcessLookupError):
            if self._first:
                os.kill(self._first, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
