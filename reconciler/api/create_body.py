"""The body of a create, read and written. Pure.

Whoever reads accepts both spellings of a field where they cannot be confused; whoever writes
keeps to its dialect. A spec's API blocks are read by the same function, with no dialect.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Generic

from reconciler.api.dialects import Dialect
from reconciler.api.oidc_body import oidc_to_json, read_oidc
from reconciler.api.types import (
    PREVIEW_OPERATIONS,
    BasicAuth,
    DeploymentRequest,
    EnvironmentVariable,
    GitAuth,
    GitSource,
    Operation,
    Options,
    S,
    Secret,
    SshAuth,
)
from reconciler.api.wire import Fault, Pointer, Reader

__all__ = [
    "SHELL_PATTERN",
    "SecretReader",
    "is_relative_url",
    "request_from_json",
    "request_to_json",
    "wire_secret",
]

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}\Z")
# A shell is a program's name or its path: it is one word of a command.
SHELL_PATTERN = "^(/?[A-Za-z0-9_.+][A-Za-z0-9_.+/-]{0,254})?$"
_SHELL = re.compile(SHELL_PATTERN)
# Such a path stays below the root however it is read, and most are such.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_/-]{0,500}\Z")
_NO_OPTIONS = Options()
_COMMIT = re.compile(r"[0-9a-fA-F]{7,64}\Z")

# What today's dialect has and a server of one's own has not, and what to do instead.
_NO_INTEGRATION = "there is no such integration; give the URL in sourceContext.git.repoUrl"
_UNSERVED: Mapping[Pointer, str] = {
    ("agentPoolID",): "there are no agent pools: leave it out, or give null",
    ("gitHub",): _NO_INTEGRATION,
    ("vcs",): _NO_INTEGRATION,
    ("sourceContext", "hg"): "git is the only source",
    ("sourceContext", "template"): "git is the only source",
    ("operationContext", "role"): "there are no roles but the token's; leave it out",
}

# Reads what stands where a secret belongs; a `Fault` where it cannot be one.
SecretReader = Callable[[object, Pointer], "S | Fault"]


def is_relative_url(repo_url: str) -> bool:
    """Whether a URL is a path from the spec that names it: `.`, `..`, `./x` or `../x`."""
    return repo_url in {".", ".."} or repo_url.startswith(("./", "../"))


def wire_secret(value: object, pointer: Pointer) -> Secret | Fault:
    """Read a secret as requests carry it: its value, as a string."""
    if isinstance(value, str) and "\0" not in value:
        return Secret(value)
    return Fault(pointer, "is no secret's value; a string belongs here")


def request_from_json(
    body: object, read_secret: SecretReader[S], dialect: Dialect | None
) -> DeploymentRequest[S] | tuple[Fault, ...]:
    """Read a create's body (or a spec's API blocks, with no dialect); all faults at once.

    Unknown keys are ignored, as the API does; a spec's are refused by its schema.
    """
    reader = _RequestReader(read_secret)
    request = reader.request(body, dialect)
    return tuple(reader.faults) or request


class _RequestReader(Reader, Generic[S]):
    def __init__(self, read_secret: SecretReader[S]) -> None:
        super().__init__()
        self.read_secret = read_secret

    def request(self, body: object, dialect: Dialect | None) -> DeploymentRequest[S]:
        root = self.mapping(body, ())
        if not isinstance(body, dict):
            self.fault((), "a JSON object belongs here")
        context = self.mapping(root.get("operationContext"), ("operationContext",))
        executor = self.mapping(root.get("executorContext"), ("executorContext",))
        options_at: Pointer = ("operationContext", "options")
        options = self.mapping(context.get("options"), options_at)
        image, credentials = self.image(executor.get("executorImage"))
        cache = self.mapping(root.get("cacheOptions"), ("cacheOptions",))
        # Names for people, and a directory of Pulumi's own agents: nothing depends on them.
        self.text(root.get("tag"), ("tag",))
        self.text(executor.get("executorRootPath"), ("executorContext", "executorRootPath"))
        if dialect is not None:  # a spec's schema has none of them
            self.check_unserved(root)
        return DeploymentRequest(
            operation=self.operation(root, context, dialect),
            source=self.source(root),
            executor_image=image,
            image_credentials=credentials,
            pre_run_commands=self.texts(
                context.get("preRunCommands"), ("operationContext", "preRunCommands")
            ),
            environment=self.environment(context.get("environmentVariables")),
            skip_install_dependencies=self.flag(
                options.get("skipInstallDependencies"),
                (*options_at, "skipInstallDependencies"),
                default=False,
            ),
            options=self.options(options, options_at),
            oidc=read_oidc(self, context.get("oidc"), ("operationContext", "oidc")),
            cache=self.flag(cache.get("enable"), ("cacheOptions", "enable"), default=False),
            inherit_settings=self.flag(
                root.get("inheritSettings"),
                ("inheritSettings",),
                default=dialect is Dialect.TODAY,
            ),
        )

    def operation(
        self, root: Mapping[str, object], context: Mapping[str, object], dialect: Dialect | None
    ) -> Operation:
        inner_at: Pointer = ("operationContext", "operation")
        outer = self.text(root.get("operation"), ("operation",))
        inner = self.text(context.get("operation"), inner_at)
        if outer and inner:
            self.fault(inner_at, "'operation' is set twice; it belongs at the top level only")
        if dialect is Dialect.TODAY and inner and not outer:
            self.fault(inner_at, "'operation' belongs at the top level of the request")
        if dialect is Dialect.PREVIEW and outer and not inner:
            self.fault(("operation",), "in the preview API it belongs in operationContext")
        pointer = ("operation",) if outer or dialect is Dialect.TODAY else inner_at
        text = outer or inner
        known = tuple(Operation) if dialect is Dialect.TODAY else PREVIEW_OPERATIONS
        if not text:
            if dialect is not None:
                self.fault(pointer, f"is required: {', '.join(known[:-1])} or {known[-1]}")
            return Operation.UPDATE
        if text not in known:
            none_of = f"{', '.join(known[:-1])} and {known[-1]}"
            self.fault(pointer, f"{text[:80]!r} is none of {none_of}")
            return Operation.UPDATE
        return Operation(text)

    def options(self, options: Mapping[str, object], at: Pointer) -> Options:
        def flag(name: str) -> bool:
            return self.flag(options.get(name), (*at, name), default=False)

        shell = self.text(options.get("shell"), (*at, "shell"))
        if shell.endswith("\n") or not _SHELL.match(shell):
            self.fault((*at, "shell"), "is no program's name or path; give one such as 'bash'")
        found = Options(
            skip_intermediate=flag("skipIntermediateDeployments"),
            shell=shell,
            delete_after_destroy=flag("deleteAfterDestroy"),
            remediate_drift=flag("remediateIfDriftDetected"),
        )
        # There may be 100,000 requests in memory, most of them with none.
        return _NO_OPTIONS if found == _NO_OPTIONS else found

    def source(self, root: Mapping[str, object]) -> GitSource[S]:
        at: Pointer = ("sourceContext", "git")
        context = self.mapping(root.get("sourceContext"), ("sourceContext",))
        if context and context.get("git") is None:
            self.fault(at, "is required: git is the only source")
        git = self.mapping(context.get("git"), at)
        url_key = "repoURL" if "repoURL" in git else "repoUrl"
        url = self.text(git.get(url_key), (*at, url_key))
        if not url:
            self.fault((*at, url_key), "is required: the URL of a git repository")
        source: GitSource[S] = GitSource(
            repo_url=url,
            branch=self.text(git.get("branch"), (*at, "branch")),
            commit=self.text(git.get("commit"), (*at, "commit")),
            tag=self.text(git.get("tag"), (*at, "tag")),
            repo_dir=self.text(git.get("repoDir"), (*at, "repoDir")),
            auth=self.git_auth(git.get("gitAuth"), (*at, "gitAuth")),
        )
        self.check_revision(source, at)
        return source

    def check_revision(self, source: GitSource[S], at: Pointer) -> None:
        named = [n for n in ("branch", "commit", "tag") if getattr(source, n)]
        if len(named) > 1:
            both = " and ".join(f"'{name}'" for name in named)
            self.fault((*at, named[1]), f"{both} exclude one another; keep one of them")
        if not named and not is_relative_url(source.repo_url):
            self.fault(at, "needs one of 'branch', 'commit' and 'tag'")
        if source.commit and not _COMMIT.match(source.commit):
            self.fault((*at, "commit"), "is not a commit's hash: 7 to 64 hexadecimal digits")
        for name in ("branch", "tag"):
            value = getattr(source, name)
            if value and not _is_ref(value):
                self.fault((*at, name), f"{value[:80]!r} cannot be the name of a {name}")
        if _climbs_out(source.repo_dir):
            self.fault(
                (*at, "repoDir"),
                "leaves the repository; give a directory below its root, such as 'infra/web'",
            )

    def git_auth(self, value: object, at: Pointer) -> GitAuth[S] | None:
        auth = self.mapping(value, at)
        kinds = [k for k in ("accessToken", "sshAuth", "basicAuth") if auth.get(k) is not None]
        if not kinds:
            if auth:
                self.fault(at, "needs one of accessToken, sshAuth and basicAuth")
            return None
        if len(kinds) > 1:
            self.fault(at, f"only one of them at a time: {' and '.join(kinds)} are both set")
        ssh_at, basic_at = (*at, "sshAuth"), (*at, "basicAuth")
        ssh = self.mapping(auth.get("sshAuth"), ssh_at)
        key = "sshPrivateKey" if "sshPrivateKey" in ssh else "privateKey"
        password = ssh.get("password")
        return GitAuth(
            access_token=self.secret(auth.get("accessToken"), (*at, "accessToken"))
            if "accessToken" in kinds
            else None,
            ssh=SshAuth(
                private_key=self.secret(ssh.get(key), (*ssh_at, key)),
                password=None if password is None else self.secret(password, (*ssh_at, "password")),
            )
            if "sshAuth" in kinds
            else None,
            basic=self.basic_auth(auth.get("basicAuth"), basic_at, "userName")
            if "basicAuth" in kinds
            else None,
        )

    def basic_auth(self, value: object, at: Pointer, user_key: str) -> BasicAuth[S]:
        auth = self.mapping(value, at)
        user = auth.get(user_key)
        if user is None:
            self.fault((*at, user_key), "is required")
        return BasicAuth(
            user_name=self.text(user, (*at, user_key))
            if not isinstance(user, dict)
            else self.secret(user, (*at, user_key)),
            password=self.secret(auth.get("password"), (*at, "password")),
        )

    def image(self, value: object) -> tuple[str, BasicAuth[S] | None]:
        at: Pointer = ("executorContext", "executorImage")
        if not isinstance(value, dict):
            return self.text(value, at), None
        credentials = value.get("credentials")
        reference = self.text(value.get("reference"), (*at, "reference"))
        if not reference and any(part is not None for part in value.values()):
            self.fault((*at, "reference"), "is required: the name of an image")
        return (
            reference,
            None
            if credentials is None
            else self.basic_auth(credentials, (*at, "credentials"), "username"),
        )

    def environment(self, value: object) -> tuple[EnvironmentVariable[S], ...]:
        at: Pointer = ("operationContext", "environmentVariables")
        found: list[EnvironmentVariable[S]] = []
        for name, given in self.mapping(value, at).items():
            here = (*at, name)
            if not _VARIABLE_NAME.match(name):
                self.fault(here, "is no variable's name: letters, digits and '_', no digit first")
                continue
            plain = isinstance(given, str) or given is None
            found.append(
                EnvironmentVariable(
                    name=name,
                    value=self.text(given, here) if plain else self.secret(given, here),
                )
            )
        return tuple(sorted(found, key=lambda v: v.name))

    def secret(self, value: object, at: Pointer) -> S | str:
        """Read a secret: `{secret: X}`, `{isSecret, value}`, or what stands for X by itself.

        A key with null is absent, as the official Python client writes them all. That client
        also knows `plaintext`, a value that is no secret, beside an empty `secret`.
        """
        inner = value
        if isinstance(value, dict):
            given = {key: part for key, part in value.items() if part is not None}
            plain = _plain_value(given)
            if plain is not None:
                return plain
            key = "value" if "isSecret" in given else "secret"
            if "ciphertext" in given:
                self.fault(at, "holds a ciphertext of another service; give {secret: …}")
                return ""
            if key not in given:
                self.fault(at, f"needs a key '{key}'")
                return ""
            if not isinstance(given.get("plaintext", ""), str):
                self.fault((*at, "plaintext"), "is no string")
            if not isinstance(given.get("isSecret", True), bool):
                self.fault((*at, "isSecret"), "is neither true nor false")
            inner, at = given[key], (*at, key)
        elif value is None:
            self.fault(at, "is required")
            return ""
        elif not isinstance(value, str):
            self.fault(at, "needs a string, or an object with a key 'secret'")
            return ""
        read = self.read_secret(inner, at)
        if isinstance(read, Fault):
            self.faults.append(read)
            return ""
        secret: S = read
        return secret

    def check_unserved(self, root: Mapping[str, object]) -> None:
        """Refuse what a deployment would have to do otherwise than asked."""
        for at, why in _UNSERVED.items():
            value: object = root
            for key in at:
                value = value.get(key) if isinstance(value, dict) else None
            # Null, and for the pool an empty text, as clients write what they leave out.
            if value is not None and (value != "" or at != ("agentPoolID",)):
                self.fault(at, why)


def _plain_value(given: Mapping[str, object]) -> str | None:
    """Return the value of a secret's form that says it is none."""
    name = "value" if given.get("isSecret") is False else "plaintext"
    text = given.get(name)
    if not isinstance(text, str) or "\0" in text or given.get("secret", "") != "":
        return None
    return None if "ciphertext" in given else text


@lru_cache(maxsize=1024)
def _is_ref(name: str) -> bool:
    """Whether git could hold such a ref: `git check-ref-format`'s rules, and no leading dash."""
    if name.startswith("-") or len(name) > 500:  # noqa: PLR2004 - longer than any real one
        return False
    forbidden = re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|\Z)", name)
    return forbidden is None and not name.startswith(("/", ".")) and not name.endswith(("/", "."))


def _climbs_out(repo_dir: str) -> bool:
    """Whether a path could leave the repository, however it is written."""
    if _PLAIN_PATH.match(repo_dir):
        return False
    if len(repo_dir) > 1000 or repo_dir.startswith(("/", "~", "-")):  # noqa: PLR2004 - a path's limit
        return True
    plain = repo_dir.replace("\\", "/").replace("\uff0e", ".").replace("\u2024", ".")
    plain = re.sub("%2e", ".", plain, flags=re.IGNORECASE)
    plain = re.sub("%2f|%5c", "/", plain, flags=re.IGNORECASE)
    return ".." in plain.split("/") or ".git" in plain.lower().split("/") or plain.startswith("/")


def request_to_json(request: DeploymentRequest[Secret], dialect: Dialect) -> dict[str, object]:
    """Write a create's body; the only place where secrets leave."""
    body: dict[str, object] = {
        "sourceContext": {"git": _source_to_json(request.source, dialect)},
        "operationContext": _context_to_json(request, dialect),
    }
    if request.executor_image:
        body["executorContext"] = {"executorImage": _image_json(request)}
    if dialect is Dialect.TODAY:
        body["operation"] = str(request.operation)
        body["inheritSettings"] = request.inherit_settings
        if request.cache:
            body["cacheOptions"] = {"enable": True}
    return body


def _source_to_json(source: GitSource[Secret], dialect: Dialect) -> dict[str, object]:
    preview = dialect is Dialect.PREVIEW
    git: dict[str, object] = {"repoURL" if preview else "repoUrl": source.repo_url}
    texts = {
        "branch": source.branch,
        "commit": source.commit,
        "tag": source.tag,
        "repoDir": source.repo_dir,
    }
    git |= {key: text for key, text in texts.items() if text}
    if source.auth is not None:
        git["gitAuth"] = _auth_to_json(source.auth, dialect)
    return git


def _context_to_json(request: DeploymentRequest[Secret], dialect: Dialect) -> dict[str, object]:
    context: dict[str, object] = {}
    if dialect is Dialect.PREVIEW:
        context["operation"] = str(request.operation)
    if request.pre_run_commands:
        context["preRunCommands"] = list(request.pre_run_commands)
    if request.environment:
        context["environmentVariables"] = {
            v.name: _secret_json(v.value) for v in request.environment
        }
    options = _options_to_json(request)
    if options:
        context["options"] = options
    if request.oidc.asked:
        context["oidc"] = oidc_to_json(request.oidc)
    return context


def _options_to_json(request: DeploymentRequest[Secret]) -> dict[str, object]:
    options = request.options
    written: dict[str, object] = {
        "skipInstallDependencies": request.skip_install_dependencies,
        "skipIntermediateDeployments": options.skip_intermediate,
        "shell": options.shell,
        "deleteAfterDestroy": options.delete_after_destroy,
        "remediateIfDriftDetected": options.remediate_drift,
    }
    return {name: value for name, value in written.items() if value}


def _secret_json(value: Secret | str) -> object:
    return value if isinstance(value, str) else {"secret": value.value}


def _image_json(request: DeploymentRequest[Secret]) -> object:
    credentials = request.image_credentials
    if credentials is None:
        return request.executor_image
    return {
        "reference": request.executor_image,
        "credentials": {
            "username": _secret_json(credentials.user_name),
            "password": _secret_json(credentials.password),
        },
    }


def _auth_to_json(auth: GitAuth[Secret], dialect: Dialect) -> dict[str, object]:
    if auth.ssh is not None:
        key = "privateKey" if dialect is Dialect.PREVIEW else "sshPrivateKey"
        ssh: dict[str, object] = {key: _secret_json(auth.ssh.private_key)}
        if auth.ssh.password is not None:
            ssh["password"] = _secret_json(auth.ssh.password)
        return {"sshAuth": ssh}
    if auth.basic is not None:
        return {
            "basicAuth": {
                "userName": _secret_json(auth.basic.user_name),
                "password": _secret_json(auth.basic.password),
            }
        }
    token = auth.access_token
    return {} if token is None else {"accessToken": _secret_json(token)}
