"""How the cluster is reached, and as whom: by a kubeconfig, or as the pod that the engine is.

Certificates are always checked: a configuration that turns that off is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import ssl
import subprocess  # noqa: TID251 - a kubeconfig may name a program that gives the token
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from reconciler.errors import ReconcilerError, UsageError

__all__ = ["Access", "find_access"]

# Where a pod finds what it is.
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

# A program that gives a token asks a cloud for it: a second, as a rule.
PROGRAM_LIMIT_S = 60.0

# A token is asked for anew this long before it ends.
EARLY = timedelta(minutes=1)

# A configuration is a few kilobytes; one with hundreds of clusters a few hundred.
LARGEST_CONFIGURATION_BYTES = 4 * 1024 * 1024


def _no_token() -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the API is (`https://…`), whom it trusts and shows, and how a token is had.

    `namespace` is the one that the configuration names, or `default`.
    """

    server: str
    namespace: str
    trust: ssl.SSLContext
    server_name: str = ""
    token: Callable[[], str] = field(default=_no_token, repr=False)


def find_access(path: str, environment: Mapping[str, str], now: Callable[[], datetime]) -> Access:
    """Return the access by a kubeconfig, or where `path` is empty by the surroundings.

    In a pod that is its own account; elsewhere `KUBECONFIG`, and then `~/.kube/config`.
    UsageError where there is none, or it cannot be used.
    """
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    if not path and host and (ACCOUNT / "token").exists():
        return _of_pod(host, environment.get("KUBERNETES_SERVICE_PORT", "443"))
    home = Path(environment.get("HOME", "/nonexistent"))
    chosen = Path(path or environment.get("KUBECONFIG", "").split(":")[0] or home / ".kube/config")
    try:
        if chosen.stat().st_size > LARGEST_CONFIGURATION_BYTES:
            raise UsageError(f"{chosen} is too large for a Kubernetes configuration")
        content = yaml.safe_load(chosen.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no YAML"
        raise UsageError(
            f"the Kubernetes configuration {chosen} cannot be read ({reason}): name one by "
            "`--kubernetes-config`"
        ) from error
    return _Configuration(chosen, content, environment, now).access()


def _of_pod(host: str, port: str) -> Access:
    shown = f"[{host}]" if ":" in host else host
    return Access(
        server=f"https://{shown}:{port}",
        namespace=(ACCOUNT / "namespace").read_text().strip(),
        trust=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")),
        token=lambda: (ACCOUNT / "token").read_text().strip(),
    )


class _Configuration:
    """One kubeconfig, and what its current context says."""

    def __init__(
        self,
        path: Path,
        content: Any,
        environment: Mapping[str, str],
        now: Callable[[], datetime],
    ) -> None:
        self._path = path
        self._content = content if isinstance(content, dict) else {}
        self._environment = environment
        self._now = now

    def access(self) -> Access:
        context = self._named("contexts", "context", self._content.get("current-context"))
        cluster = self._named("clusters", "cluster", context.get("cluster"))
        user = self._named("users", "user", context.get("user"))
        server = str(cluster.get("server", ""))
        if not server.startswith("https://"):
            raise self._wrong("its cluster's `server` is not an https:// address")
        if cluster.get("insecure-skip-tls-verify"):
            raise self._wrong("`insecure-skip-tls-verify` is not supported: give the authority")
        if cluster.get("proxy-url"):
            raise self._wrong("`proxy-url` is not supported")
        authority = self._bytes(cluster, "certificate-authority")
        try:
            trust = ssl.create_default_context(cadata=authority.decode() if authority else None)
            self._show_certificate(user, trust)
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise self._wrong("a certificate or key in it is none") from error
        return Access(
            server=server.rstrip("/"),
            namespace=str(context.get("namespace") or "default"),
            trust=trust,
            server_name=str(cluster.get("tls-server-name") or ""),
            token=self._token(user),
        )

    def _token(self, user: Mapping[str, Any]) -> Callable[[], str]:
        if user.get("token"):
            token = str(user["token"])
            return lambda: token
        if user.get("tokenFile"):
            path = self._path.parent / str(user["tokenFile"])
            return lambda: path.read_text().strip()
        if isinstance(user.get("exec"), dict):
            return _Program(user["exec"], self._path.parent, self._environment, self._now).token
        if user.get("username") or user.get("auth-provider"):
            raise self._wrong("its user has a password or an auth-provider: use a token or `exec`")
        return _no_token

    def _show_certificate(self, user: Mapping[str, Any], trust: ssl.SSLContext) -> None:
        certificate, key = self._bytes(user, "client-certificate"), self._bytes(user, "client-key")
        if not certificate:
            return
        # The library reads files only. This one is its owner's alone, and gone at once.
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            trust.load_cert_chain(file.name)

    def _bytes(self, part: Mapping[str, Any], name: str) -> bytes:
        """Return a file's content, or what stands in the configuration itself."""
        try:
            if part.get(f"{name}-data"):
                return base64.b64decode(str(part[f"{name}-data"]), validate=True)
            if part.get(name):
                return (self._path.parent / str(part[name])).read_bytes()
        except binascii.Error as error:
            raise self._wrong(f"`{name}-data` is no base64") from error
        except OSError as error:
            raise self._wrong(f"its `{name}` cannot be read: {error.strerror}") from error
        return b""

    def _named(self, group: str, key: str, name: object) -> Mapping[str, Any]:
        entries = self._content.get(group)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("name") == name:
                found = entry.get(key)
                return found if isinstance(found, dict) else {}
        raise self._wrong(f"it has no {key} {name!r}")

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"the Kubernetes configuration {self._path} cannot be used: {what}")


class _Program:
    """A program that gives a token, as the clouds' command lines do."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        directory: Path,
        environment: Mapping[str, str],
        now: Callable[[], datetime],
    ) -> None:
        self._argv = [str(settings.get("command", "")), *map(str, settings.get("args") or ())]
        if "/" in self._argv[0]:
            self._argv[0] = str(directory / self._argv[0])
        own = {str(v.get("name")): str(v.get("value")) for v in settings.get("env") or ()}
        asked = {
            "apiVersion": settings.get("apiVersion"),
            "kind": "ExecCredential",
            "spec": {"interactive": False},
        }
        self._environment = {**environment, **own, "KUBERNETES_EXEC_INFO": json.dumps(asked)}
        self._now = now
        self._lock = threading.Lock()
        self._kept = ""
        self._until = datetime.min.replace(tzinfo=UTC)

    def token(self) -> str:
        """Return a token, a new one where the last has nearly ended. ReconcilerError otherwise."""
        with self._lock:
            if not self._kept or self._now() >= self._until - EARLY:
                self._ask()
            return self._kept

    def _ask(self) -> None:
        try:
            done = subprocess.run(
                self._argv,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                timeout=PROGRAM_LIMIT_S,
            )
            status = json.loads(done.stdout)["status"]
            self._kept = str(status["token"])
            text = status.get("expirationTimestamp") or "9999-01-01T00:00:00Z"
            self._until = datetime.fromisoformat(text)
        except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
            # What it printed may be the token.
            raise ReconcilerError(
                f"{self._argv[0]} gives no token for Kubernetes ({type(error).__name__}): run it "
                "by hand as the engine's user"
            ) from error
