"""A `Stack` of the Pulumi Kubernetes Operator, of v1 or v1alpha1, → a spec. Pure.

The form is that of the operator's own types (`StackSpec`). What refers to a Kubernetes Secret
becomes a variable named after that Secret and its key, the same for every stack that uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from reconciler.api.wire import Pointer
from reconciler.importing.draft import Draft, RefusalError
from reconciler.importing.fields import Fields, is_nothing
from reconciler.importing.schedules import every, put_schedule
from reconciler.importing.source import Source, put_source

__all__ = ["Cluster", "read_stack", "stack_name"]

_AUTH: Final[Pointer] = ("sourceContext", "git", "gitAuth")
_VARIABLES: Final[Pointer] = ("operationContext", "environmentVariables")
# Longer waits than a spec's longest duration are of no use to anybody.
_LONGEST_BACKOFF_S: Final = 365 * 86_400
_DEFAULT_RESYNC_S: Final = 60

_CONFIG: Final = (
    "a deployment takes its configuration from the repository: commit it there as "
    "Pulumi.STACK.yaml, or set it with `pulumi config set` in preRunCommands"
)
_WHY: Final = {
    "programRef": "a Program is no git repository: commit it there as a Pulumi.yaml",
    "fluxSource": "its GitRepository is not among what is imported: give that file too",
    "backend": "is the engine's to say: engine serve --backend URL",
    "secretsProvider": "a stack brings its own along: engine stack import",
    "environment": "list the environments in Pulumi.STACK.yaml, in the repository",
    "expectNoRefreshChanges": "schedule a refresh or detect-drift instead: drift is reported",
    "useLocalStackOnly": "a stack that is not there is made by its first deployment",
    "runProgram": 'set the variable PULUMI_OPTION_RUN_PROGRAM: "true" instead',
    "serviceAccountName": "what runs a deployment is the engine's to say: its runner",
    "workspaceReclaimPolicy": "each deployment has a directory of its own",
    "updateTemplate": "there are no Update objects",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What else was found of a cluster, by (namespace, name).

    `secrets` are the keys of Secrets, `repositories` the specs of Flux's GitRepositories.
    """

    secrets: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    repositories: Mapping[tuple[str, str], object] = field(default_factory=dict)

    def keys(self, namespace: str, name: str) -> frozenset[str]:
        """Return the keys of a Secret; a document may leave the namespace to whoever applies it."""
        default: frozenset[str] = frozenset()
        return self.secrets.get((namespace, name), self.secrets.get(("", name), default))

    def repository(self, namespace: str, name: str) -> object:
        """Return the spec of a GitRepository, likewise; None where it was not found."""
        return self.repositories.get((namespace, name), self.repositories.get(("", name)))


def stack_name(value: object) -> tuple[str, str]:
    """Return a document's name and the stack it names; empty where it says none."""
    root = value if isinstance(value, dict) else {}
    metadata, spec = root.get("metadata"), root.get("spec")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    stack = spec.get("stack") if isinstance(spec, dict) else None
    return (name if isinstance(name, str) else ""), (stack if isinstance(stack, str) else "")


def read_stack(draft: Draft, value: object, at: Pointer, cluster: Cluster) -> None:
    """Read a whole document, its kind and version known."""
    root = Fields(draft, value, at)
    metadata = root.below("metadata")
    spec = root.below("spec")
    reader = _Stack(draft, spec, metadata.text("namespace"), cluster)
    reader.read()


class _Stack:
    def __init__(self, draft: Draft, spec: Fields, namespace: str, cluster: Cluster) -> None:
        self.draft = draft
        self.spec = spec
        self.namespace = namespace
        self.cluster = cluster

    def read(self) -> None:
        self.spec.take("stack")
        self.source()
        self.git_auth()
        self.variables()
        self.config()
        self.updates()
        self.resync()
        self.lifecycle()
        self.workspace()
        self.spec.close(_WHY)

    # ------------------------------------------------------------ source

    def source(self) -> None:
        spec = self.spec
        if not is_nothing(spec.left.get("programRef")):
            raise RefusalError(spec.place("programRef"), _WHY["programRef"])
        if not is_nothing(spec.left.get("fluxSource")):
            self.flux(spec.below("fluxSource"))
            return
        put_source(
            self.draft,
            Source(
                at=spec.at,
                url=spec.text("projectRepo"),
                branch=spec.text("branch"),
                commit=spec.text("commit"),
                folder=spec.text("repoDir"),
            ),
        )
        spec.take("shallow")  # the engine's clones are as shallow as they can be

    def flux(self, source: Fields) -> None:
        """Put a source of Flux, where its GitRepository was found too."""
        ref = source.below("sourceRef")
        ref.take("apiVersion")
        kind, name = ref.text("kind"), ref.text("name")
        found = self.cluster.repository(self.namespace, name) if kind == "GitRepository" else None
        if found is None:
            raise RefusalError(source.at, _WHY["fluxSource"])
        at = (*ref.at, name)
        repository = Fields(self.draft, found, at)
        revision = repository.below("ref")
        put_source(
            self.draft,
            Source(
                at=source.at,
                url=repository.text("url"),
                branch=revision.text("branch"),
                commit=revision.text("commit"),
                tag=revision.text("tag"),
                folder=source.text("dir"),
            ),
        )
        revision.close()
        source.close()
        for key in ("interval", "timeout", "suspend"):
            repository.take(key)
        repository.close({"secretRef": "put the repository's credentials into gitAuth"})

    def git_auth(self) -> None:
        auth = self.spec.below("gitAuth")
        ssh, token, basic = (auth.take(key) for key in ("sshAuth", "accessToken", "basicAuth"))
        given = [
            (key, value)
            for key, value in (("sshAuth", ssh), ("accessToken", token), ("basicAuth", basic))
            if not is_nothing(value)
        ]
        secret = self.spec.text("gitAuthSecret")
        if secret and not given:
            self.git_secret(secret)
        elif secret:
            self.draft.lose(self.spec.place("gitAuthSecret"), "gitAuth says the same, and is kept")
        for number, (key, value) in enumerate(given):
            if number:
                message = "a spec has one way in, and the first of them is kept"
                self.draft.lose(auth.place(key), message)
            elif key == "accessToken":
                self.reference((*_AUTH, key), value, auth.place(key))
            else:
                below = Fields(self.draft, value, auth.place(key))
                for name in list(below.left):
                    if name in {"sshPrivateKey", "userName", "password"}:
                        self.reference((*_AUTH, key, name), below.take(name), below.place(name))
                below.close()
        auth.close({"githubApp": "an app's key is not exchanged for a token here; give a token"})

    def git_secret(self, name: str) -> None:
        """Put a whole Secret: its keys say which way in it is."""
        place = self.spec.place("gitAuthSecret")
        keys = self.cluster.keys(self.namespace, name)
        url = str(self.draft.get(("sourceContext", "git", "repoUrl")))
        if not keys:
            https = url.startswith("https://")
            keys = frozenset({"accessToken"} if https else {"sshPrivateKey"})
            message = "which keys it has is not said in this file, so one is supposed"
            self.draft.note(place, message)
        if "sshPrivateKey" in keys:
            self.kubernetes((*_AUTH, "sshAuth", "sshPrivateKey"), name, "sshPrivateKey")
            if "password" in keys:
                self.kubernetes((*_AUTH, "sshAuth", "password"), name, "password")
        elif "accessToken" in keys:
            self.kubernetes((*_AUTH, "accessToken"), name, "accessToken")
        elif {"username", "password"} <= keys:
            self.kubernetes((*_AUTH, "basicAuth", "userName"), name, "username")
            self.kubernetes((*_AUTH, "basicAuth", "password"), name, "password")
        else:
            self.draft.lose(place, "has no key accessToken, sshPrivateKey or username")

    # ------------------------------------------------------------ references

    def kubernetes(self, at: Pointer, name: str, key: str, namespace: str = "") -> None:
        where = f"{namespace}/{name}" if namespace else name
        text = f"{namespace}_{name}_{key}" if namespace else f"{name}_{key}"
        self.draft.share(at, text, f"is the key {key} of the Kubernetes Secret {where}")

    def reference(self, at: Pointer, value: object, place: Pointer) -> None:
        """Put what a `ResourceRef` refers to, where a secret belongs."""
        ref = Fields(self.draft, value, place)
        kind = ref.text("type")
        selectors = {key: ref.take(key) for key in ("secret", "env", "filesystem", "literal")}
        ref.close()
        key = {"Secret": "secret", "Env": "env", "FS": "filesystem", "Literal": "literal"}.get(kind)
        below = Fields(self.draft, selectors.get(key or ""), (*place, key or "type"))
        if key == "secret":
            name, secret_key = below.text("name"), below.text("key")
            namespace = below.text("namespace")
            if name and secret_key:
                self.kubernetes(at, name, secret_key, namespace)
                return
        elif key == "env":
            name = below.text("name")
            if name:
                self.draft.share(at, name, f"is the variable {name} of the operator")
                return
        elif key == "filesystem":
            path = below.text("path")
            if path:
                text = f"{self.draft.name}_{at[-1]}"
                self.draft.share(at, text, f"is the file {path} of the operator")
                return
        elif key == "literal":
            self.draft.secret(at, str(at[-1]), below.take("value"))
            return
        self.draft.lose(place, "refers to nothing: type Secret, Env, FS or Literal belongs here")

    def variables(self) -> None:
        refs = self.spec.below("envRefs")
        for name, value in refs.left.items():
            place = refs.place(name)
            if is_nothing(value) or self.draft.reserved(name, place):
                continue
            literal = value.get("literal") if isinstance(value, dict) else None
            if isinstance(value, dict) and value.get("type") == "Literal":
                below = Fields(self.draft, literal, (*place, "literal"))
                self.draft.environment(name, below.text("value"), place)
            else:
                self.reference((*_VARIABLES, name), value, place)
        token = self.spec.text("accessTokenSecret")
        if token:
            self.draft.reserved("PULUMI_ACCESS_TOKEN", self.spec.place("accessTokenSecret"))
        for index, name in enumerate(self.spec.texts("envSecrets")):
            self.whole_secret(name, (*self.spec.place("envSecrets"), index))
        for index, name in enumerate(self.spec.texts("envs")):
            message = f"write the variables of the ConfigMap {name} into environmentVariables"
            self.draft.lose((*self.spec.place("envs"), index), message)

    def whole_secret(self, name: str, place: Pointer) -> None:
        keys = self.cluster.keys(self.namespace, name)
        for key in sorted(keys):
            if not self.draft.reserved(key, place):
                self.kubernetes((*_VARIABLES, key), name, key)
        if not keys:
            message = f"which variables the Secret {name} holds is not said in this file"
            self.draft.lose(place, f"{message}; write them into environmentVariables")

    # ------------------------------------------------------------ the rest

    def config(self) -> None:
        for key in ("config", "configRef", "secretsRef", "secrets"):
            below = self.spec.below(key)
            for name, value in below.left.items():
                secret = key == "secrets"
                literal = value.get("literal") if isinstance(value, dict) else None
                if secret or (key == "secretsRef" and literal):
                    self.draft.hide(value if secret else literal)
                more = " --secret" if key.startswith("secrets") else ""
                self.draft.lose(below.place(name), _CONFIG.replace(" set`", f" set{more}`"))

    def updates(self) -> None:
        """Put what changes how Pulumi is called: every flag of its can be given as a variable."""
        targets = self.spec.texts("targets")
        options = {
            "REFRESH": "true" if self.spec.flag("refresh") else "",
            "TARGET": ",".join(targets),
            "TARGET_DEPENDENTS": "true" if self.spec.flag("targetDependents") else "",
        }
        if any("," in target for target in targets):
            self.draft.lose(self.spec.place("targets"), "a URN with a comma cannot be handed on")
            options["TARGET"] = options["TARGET_DEPENDENTS"] = ""
        for name, text in options.items():
            if text:
                self.draft.put((*_VARIABLES, f"PULUMI_OPTION_{name}"), text)
        if self.spec.flag("preview"):
            self.draft.put(("operationContext", "operation"), "preview")

    def resync(self) -> None:
        seconds = self.spec.number("resyncFrequencySeconds")
        place = self.spec.place("resyncFrequencySeconds")
        if not self.spec.flag("continueResyncOnCommitMatch"):
            if seconds:
                self.draft.note(place, "new commits are looked for every minute, whatever it says")
            return
        wanted = max(seconds, _DEFAULT_RESYNC_S)
        cron, real = every(wanted)
        operation = str(self.draft.get(("operationContext", "operation")) or "update")
        put_schedule(self.draft, "resync", {"cron": cron, "operation": operation})
        if real != wanted:
            message = f"cron has no interval of {wanted} s; the spec says every {real} s"
            self.draft.note(place, message)

    def lifecycle(self) -> None:
        spec = self.spec
        if spec.flag("destroyOnFinalize"):
            self.draft.put(("reconcile", "onDelete"), "destroy")
        if spec.flag("retryOnUpdateConflict"):
            place = spec.place("retryOnUpdateConflict")
            self.draft.note(place, "a locked stack is always tried again")
        backoff = min(spec.number("retryMaxBackoffDurationSeconds"), _LONGEST_BACKOFF_S)
        if backoff:
            self.draft.put(("reconcile", "retry", "maxBackoff"), f"{backoff}s")
        needed = spec.take("prerequisites")
        place = spec.place("prerequisites")
        if not is_nothing(needed) and not isinstance(needed, list):
            self.draft.lose(place, "is no list")
        for index, value in enumerate(needed if isinstance(needed, list) else ()):
            below = Fields(self.draft, value, (*place, index))
            name = below.text("name")
            if name:
                reconcile = self.draft.tree.setdefault("reconcile", {})
                depends_on = reconcile.setdefault("dependsOn", [])
                depends_on += [] if name in depends_on else [name]
            below.close({"requirement": "a dependency has to be Ready, however long ago it ran"})

    def workspace(self) -> None:
        template = self.spec.below("workspaceTemplate")
        spec = template.below("spec")
        image = spec.text("image")
        if image:
            at: Pointer = ("executorContext", "executorImage")
            self.draft.put(at, image)
            self.draft.comment(at, "An image needs a container runner: engine serve --runner.")
        why = "how and where a deployment runs is the engine's to say: its runner"
        spec.close(dict.fromkeys(spec.left, why))
        template.close(dict.fromkeys(template.left, why))
