"""A create's body, in either dialect, and deployment settings in the API's form. Pure."""

from __future__ import annotations

from typing import Final

from reconciler.api.types import PREVIEW_OPERATIONS
from reconciler.api.wire import Pointer
from reconciler.importing.draft import Draft, RefusalError
from reconciler.importing.fields import Fields
from reconciler.importing.source import Source, put_paths, put_source, repository_url

__all__ = ["put_cloud", "put_integration", "put_operation", "read_request"]

_CONTEXT: Final[Pointer] = ("operationContext",)
_AUTH: Final[Pointer] = ("sourceContext", "git", "gitAuth")
_POOL: Final = "there are no agent pools; workers are started with `engine worker`"
_WHY: Final = {
    "agentPoolID": _POOL,
    "agentPoolId": _POOL,
    "tag": "is a name for people that a spec does not have; labels are",
    "cacheOptions": "a spec does not say what is cached",
    "source": "repeats sourceContext",
}
_OPTIONS: Final = (
    "skipInstallDependencies",
    "skipIntermediateDeployments",
    "deleteAfterDestroy",
    "remediateIfDriftDetected",
)
_CLOUDS: Final = {
    "aws": (("roleArn", "sessionName", "duration"), ("policyArns",)),
    "azure": (("clientId", "tenantId", "subscriptionId"), ()),
    "gcp": (
        (
            "projectId",
            "region",
            "workloadPoolId",
            "providerId",
            "serviceAccount",
            "tokenLifetime",
        ),
        (),
    ),
}


def read_request(draft: Draft, value: object, at: Pointer) -> None:
    """Read a request, or settings, which have the same form."""
    root = Fields(draft, value, at)
    context = root.below("operationContext")
    if root.left.get("operation") and "inheritSettings" not in root.left:
        message = "settings stored for the stack are not merged in; inheritSettings: true does that"
        draft.note(root.place("inheritSettings"), message)
    put_operation(draft, root, context)
    _source(draft, root)
    _executor(draft, root.below("executorContext"))
    _context(draft, context)
    if root.flag("inheritSettings"):
        draft.switch(("inheritSettings",))
    root.take("version")  # counts the changes of settings
    root.close(_WHY)


def put_operation(draft: Draft, root: Fields, context: Fields) -> None:
    """Put the operation, which is at the top in today's API and in its context before."""
    place = root.place("operation") if "operation" in root.left else context.place("operation")
    outer, inner = root.text("operation"), context.text("operation")
    operation = outer or inner or "update"
    if operation not in PREVIEW_OPERATIONS:
        message = f"{operation[:40]!r} is no state of a stack; a schedule can run it"
        raise RefusalError(place, message)
    if operation == "update":
        return
    draft.put((*_CONTEXT, "operation"), operation)
    if operation == "destroy":
        draft.switch(("reconcile", "suspend"))
        draft.put(("reconcile", "confirm"), "destroy")
        draft.comment(("reconcile", "suspend"), "This spec DESTROYS its stack, once it is resumed.")
        draft.note(place, "the spec would destroy the stack, so it is suspended until you say so")


def put_integration(draft: Draft, fields: Fields) -> str:
    """Read what an integration says of a repository; returns its URL, or an empty text."""
    provider, repository = fields.text("provider"), fields.text("repository")
    fields.take("installationId")
    commits = fields.choice("deployCommits")
    paths = fields.texts("paths")
    if commits is False and repository:
        draft.put(("reconcile", "onChange"), ["spec"])
    put_paths(draft, paths, fields.place("paths"))
    reviews = "pull requests are not looked at"
    fields.close(dict.fromkeys(("previewPullRequests", "pullRequestTemplate"), reviews))
    url = repository_url(provider, repository)
    if url:
        message = f"the repository is taken to be {url}; a private one needs gitAuth"
        draft.note(fields.place("repository"), message)
    return url


def _source(draft: Draft, root: Fields) -> None:
    context = root.below("sourceContext")
    alone = "git" in root.left and not context.left  # the part of a request by itself
    git = (root if alone else context).below("git")
    context.close(dict.fromkeys(("hg", "template"), "git is the only source"))
    integrations = [put_integration(draft, root.below(key)) for key in ("gitHub", "vcs")]
    given = git.text("repoUrl"), git.text("repoURL")
    put_source(
        draft,
        Source(
            at=git.at,
            url=next((url for url in (*given, *integrations) if url), ""),
            branch=git.text("branch"),
            commit=git.text("commit"),
            tag=git.text("tag"),
            folder=git.text("repoDir"),
        ),
    )
    _git_auth(draft, git.below("gitAuth"))
    git.close()


def _git_auth(draft: Draft, auth: Fields) -> None:
    """Put the first of the ways in, in the order in which the API takes them."""
    ssh, token, basic = (auth.take(key) for key in ("sshAuth", "accessToken", "basicAuth"))
    given = {"sshAuth": ssh, "accessToken": token, "basicAuth": basic}
    given = {key: value for key, value in given.items() if value not in (None, "", {})}
    if given:
        draft.tree["sourceContext"]["git"].pop("gitAuth", None)
    for number, (key, value) in enumerate(given.items()):
        if number:
            draft.hide(value)
            draft.lose(auth.place(key), "a spec has one way in, and the first of them is kept")
        elif key == "accessToken":
            draft.secret((*_AUTH, "accessToken"), "GIT_ACCESS_TOKEN", value)
        elif key == "sshAuth":
            _ssh(draft, Fields(draft, value, auth.place(key)))
        else:
            basic_fields = Fields(draft, value, auth.place(key))
            _user_and_password(draft, basic_fields, (*_AUTH, key), ("userName", "GIT"))
    auth.close()


def _ssh(draft: Draft, ssh: Fields) -> None:
    at = (*_AUTH, "sshAuth")
    for key in ("sshPrivateKey", "privateKey"):
        value = ssh.take(key)
        if value is not None:
            draft.secret((*at, "sshPrivateKey"), "GIT_SSH_KEY", value)
    password = ssh.take("password")
    if password not in (None, ""):
        draft.secret((*at, "password"), "GIT_SSH_PASSWORD", password)
    ssh.close()


def _user_and_password(draft: Draft, auth: Fields, at: Pointer, names: tuple[str, str]) -> None:
    user_key, hint = names
    user, password = auth.take(user_key), auth.take("password")
    if isinstance(user, dict):
        _put_given(draft, (*at, user_key), f"{hint}_USER_NAME", user)
    else:
        draft.put((*at, user_key), auth.as_text(user, auth.place(user_key)))
    draft.secret((*at, "password"), f"{hint}_PASSWORD", password)
    auth.close()


def _put_given(draft: Draft, at: Pointer, hint: str, value: dict[str, object]) -> None:
    """Put what stands where a secret may: a value that says it is none stays plain."""
    plain = _plain(value)
    if plain is None:
        draft.secret(at, hint, value)
    else:
        draft.put(at, plain)


def _plain(value: dict[str, object]) -> str | None:
    """Return the value of a secret's form that says it is none."""
    key = "value" if value.get("isSecret") is False else "plaintext"
    text = value.get(key)
    secret = value.get("secret") or value.get("ciphertext")
    return text if isinstance(text, str) and not secret else None


def _executor(draft: Draft, executor: Fields) -> None:
    at: Pointer = ("executorContext", "executorImage")
    value = executor.take("executorImage")
    here = executor.place("executorImage")
    if isinstance(value, dict):
        image = Fields(draft, value, here)
        reference = image.text("reference")
        credentials = image.take("credentials")
        if reference:
            draft.put(at, reference)
        if credentials is not None and reference:
            draft.put(at, {"reference": reference})
            fields = Fields(draft, credentials, image.place("credentials"))
            _user_and_password(draft, fields, (*at, "credentials"), ("username", "IMAGE"))
        else:
            draft.hide(credentials)
        image.close()
    else:
        reference = executor.as_text(value, here)
        if reference:
            draft.put(at, reference)
    root = "the engine chooses its own directories"
    executor.close({"workingDirectory": root, "executorRootPath": root})


def _context(draft: Draft, context: Fields) -> None:
    commands = context.texts("preRunCommands")
    if commands:
        draft.put((*_CONTEXT, "preRunCommands"), commands)
    _variables(draft, context)
    options = context.below("options")
    for key in _OPTIONS:
        if options.flag(key):
            draft.switch((*_CONTEXT, "options", key))
    shell = options.text("shell")
    if shell:
        draft.put((*_CONTEXT, "options", "shell"), shell)
    options.close()
    oidc = context.below("oidc")
    for cloud in _CLOUDS:
        put_cloud(draft, cloud, oidc.below(cloud), {})
    oidc.close()
    context.close({"role": "there are no roles but the token's"})


def _variables(draft: Draft, context: Fields) -> None:
    variables = context.below("environmentVariables")
    for name, value in variables.left.items():
        place = variables.place(name)
        if isinstance(value, dict):
            plain = _plain(value)
            if plain is None:
                draft.secret_environment(name, value, place)
            else:
                draft.environment(name, plain, place)
        elif isinstance(value, str):
            draft.environment(name, value, place)
        else:
            text = variables.as_text(value, place)
            draft.environment(name, text, place)


def put_cloud(draft: Draft, cloud: str, fields: Fields, names: dict[str, str]) -> None:
    """Put what a cloud's credentials are asked for with; `names` says what a key is called here."""
    texts, lists = _CLOUDS[cloud]
    for key in texts:
        text = fields.text(names.get(key, key))
        if text:
            draft.put((*_CONTEXT, "oidc", cloud, key), text)
    for key in lists:
        found = fields.texts(names.get(key, key))
        if found:
            draft.put((*_CONTEXT, "oidc", cloud, key), found)
    fields.close()
