#!/bin/sh
# Installs what the tests use of the system and is not there: as root on Debian by apt-get;
# elsewhere it says what is missing and goes on, since only some tests need it.
set -eu

missing=""
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
# PostgreSQL's and sshd's programs are in directories that a person's PATH may lack.
PATH="$PATH:/usr/sbin:/sbin:$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)"
need bwrap bubblewrap
need curl curl
need git git
need git-lfs git-lfs
need systemd-analyze systemd
need sshd openssh-server
need ssh openssh-client
need openssl openssl
need postgres postgresql
need podman podman
need runc runc
need busybox busybox-static
need zsh zsh
need fish fish
need containerd containerd
need chromium chromium
need promtool prometheus
[ -d /usr/lib/cni ] || missing="$missing containernetworking-plugins"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of names
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "not installed, and some tests need it:$missing" >&2
fi
