"""The settings of a stack: what a create that says nothing else is given. Pure.

They are kept as the body of a create without its operation, in today's dialect. A create
inherits them by the rules of `inherit`; they are changed by JSON merge patches (RFC 7396).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconciler.api.create_body import is_relative_url, request_to_json
from reconciler.api.dialects import Dialect
from reconciler.api.types import DeploymentRequest, Secret
from reconciler.api.wire import Pointer

__all__ = [
    "as_create",
    "change_secrets",
    "from_request",
    "in_one_form",
    "in_one_spelling",
    "inherit",
    "marked",
    "merge_patch",
    "only_known",
]

Body = dict[str, object]

# What stands where settings name no repository, and no revision of it, while they are checked.
_SOME_URL = "https://settings.invalid/without-a-repository"
_SOME_BRANCH = "without-a-revision"

_REVISIONS = ("branch", "commit", "tag")

# Where a secret can stand: a key of its own, or any key of a map (`*`).
_LEAF: Mapping[str, object] = {}
_SECRETS: Mapping[str, object] = {
    "operationContext": {"environmentVariables": {"*": _LEAF}},
    "sourceContext": {
        "git": {
            "gitAuth": {
                "accessToken": _LEAF,
                "sshAuth": {"privateKey": _LEAF, "sshPrivateKey": _LEAF, "password": _LEAF},
                "basicAuth": {"userName": _LEAF, "password": _LEAF},
            }
        }
    },
    "executorContext": {"executorImage": {"credentials": {"username": _LEAF, "password": _LEAF}}},
}

# Everything that a create's body can say.
_KNOWN: Mapping[str, object] = {
    "operation": _LEAF,
    "inheritSettings": _LEAF,
    "tag": _LEAF,
    "sourceContext": {
        "git": {
            **dict.fromkeys(("repoUrl", "branch", "commit", "tag", "repoDir"), _LEAF),
            "gitAuth": {
                "accessToken": _LEAF,
                "sshAuth": {"sshPrivateKey": _LEAF, "password": _LEAF},
                "basicAuth": {"userName": _LEAF, "password": _LEAF},
            },
        }
    },
    "operationContext": {
        "preRunCommands": _LEAF,
        "environmentVariables": {"*": _LEAF},
        "options": dict.fromkeys(
            (
                *("skipInstallDependencies", "skipIntermediateDeployments", "shell"),
                *("deleteAfterDestroy", "remediateIfDriftDetected"),
            ),
            _LEAF,
        ),
        "oidc": {
            "aws": dict.fromkeys(("roleArn", "sessionName", "duration", "policyArns"), _LEAF),
            "azure": dict.fromkeys(("clientId", "tenantId", "subscriptionId"), _LEAF),
            "gcp": dict.fromkeys(
                (
                    *("projectId", "workloadPoolId", "providerId", "serviceAccount"),
                    *("region", "tokenLifetime"),
                ),
                _LEAF,
            ),
        },
    },
    "executorContext": {
        "executorImage": {
            "reference": _LEAF,
            "credentials": {"username": _LEAF, "password": _LEAF},
        },
        "executorRootPath": _LEAF,
    },
    "cacheOptions": {"enable": _LEAF},
}

# Credentials whose text is a secret also where nobody says so; a user name is not.
_ALWAYS_SECRET = frozenset({"accessToken", "sshPrivateKey", "password"})


def merge_patch(target: object, patch: object) -> object:
    """Return the target with the patch applied, as RFC 7396 says; neither is changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def change_secrets(body: object, change: Callable[[object, Pointer], object]) -> object:
    """Return a body with `change` applied to whatever stands where a secret can; nulls stay."""
    return _change(body, _SECRETS, (), change)


def _change(
    value: object,
    places: Mapping[str, object],
    at: Pointer,
    change: Callable[[object, Pointer], object],
) -> object:
    if value is None:
        return None
    if not places:
        return change(value, at)
    if not isinstance(value, dict):
        return value
    every = places.get("*")
    return {
        key: _change(inner, below, (*at, key), change)
        if isinstance(below := places.get(key, every), Mapping)
        else inner
        for key, inner in value.items()
    }


def only_known(body: object) -> object:
    """Return a body of a create, in one spelling, without the keys that nobody reads."""
    return _only(body, _KNOWN)


def _only(value: object, known: Mapping[str, object]) -> object:
    if not known or not isinstance(value, dict):
        return value
    every = known.get("*")
    return {
        key: _only(inner, below)
        for key, inner in value.items()
        if isinstance(below := known.get(key, every), Mapping)
    }


def marked(body: object, looks_secret: Callable[[str, str], bool]) -> object:
    """Return a body whose secrets are in one form, with each text that is one as `{"secret": …}`.

    A credential's text always is; a variable's where its name and value look like one.
    """

    def mark(value: object, at: Pointer) -> object:
        if not isinstance(value, str):
            return value
        name, variable = str(at[-1]), at[-2] == "environmentVariables"
        secret = looks_secret(name, value) if variable else name in _ALWAYS_SECRET
        return {"secret": value} if secret else value

    return change_secrets(body, mark)


def in_one_form(value: object) -> object:
    """Return a value that can be a secret as text where it is none, else as `{"secret": …}`.

    A sealed one, and what is neither, stay as they are but for their nulls.
    """
    if not isinstance(value, dict):
        return value
    given = {key: part for key, part in value.items() if part is not None}
    plain, text = given.get("plaintext"), given.get("value")
    if "ciphertext" in given:
        return given
    if isinstance(given.get("isSecret"), bool) and isinstance(text, str):
        return {"secret": text} if given["isSecret"] else text
    if isinstance(plain, str) and given.get("secret", "") == "":
        return plain
    return given


def in_one_spelling(body: object) -> object:
    """Return a body with today's names where the preview's are read too."""
    return _rename(body, _SPELLINGS)


_SPELLINGS: Mapping[str, object] = {
    "sourceContext": {
        "git": {
            "repoURL": "repoUrl",
            "gitAuth": {"sshAuth": {"privateKey": "sshPrivateKey"}},
        }
    }
}


def _rename(value: object, names: Mapping[str, object]) -> object:
    if not isinstance(value, dict):
        return value
    renamed: Body = {}
    for key, inner in value.items():
        new = names.get(key)
        if isinstance(new, str):
            renamed[new] = inner
        else:
            renamed.setdefault(key, _rename(inner, new) if isinstance(new, Mapping) else inner)
    return renamed


# ---------------------------------------------------------------- what a create inherits


def inherit(settings: Mapping[str, object], asked: Mapping[str, object]) -> Body:
    """Return the body of a create with the settings under it.

    The table in docs/api.md says it for people. A field that is absent, null or empty says
    nothing, as clients write all they have no value for; but a null takes an environment
    variable out. What is of another kind, empty or not, is left for the reader to refuse.
    """
    merged = dict(asked)
    _fill(merged, settings, "sourceContext", _inherit_source)
    _fill(merged, settings, "operationContext", _inherit_operation)
    _fill(merged, settings, "executorContext", _missing)
    _fill(merged, settings, "cacheOptions", _missing)
    return merged


def _fill(
    merged: Body,
    settings: Mapping[str, object],
    key: str,
    rule: Callable[[Body, Body], Body],
) -> None:
    """Put under one block of the request what the settings have there."""
    under, asked = settings.get(key), merged.get(key)
    if not isinstance(under, dict):
        return
    if asked is None or asked == {}:
        merged[key] = under
    elif isinstance(asked, dict):
        merged[key] = rule(under, asked)


# These may be a text or an object.
_OF_TWO_KINDS = frozenset({"executorImage"})


def _says_nothing(key: str, value: object, under: object) -> bool:
    """Whether a field is null, or empty and of the kind that the settings have there."""
    if value is None:
        return True
    alike = isinstance(value, type(under)) or (key in _OF_TWO_KINDS and under is not None)
    return alike and value in ("", [], {})


def _missing(under: Body, asked: Body) -> Body:
    """Take each field from the request, and where it says nothing from the settings."""
    return under | {
        key: value for key, value in asked.items() if not _says_nothing(key, value, under.get(key))
    }


def _inherit_source(under: Body, asked: Body) -> Body:
    merged = dict(asked)
    _fill(merged, under, "git", _inherit_git)
    return merged


def _inherit_git(under: Body, asked: Body) -> Body:
    # Another repository has other branches and directories, and is not shown the credentials.
    if asked.get("repoUrl") not in (None, "", under.get("repoUrl")):
        return asked
    if any(asked.get(name) not in (None, "") for name in _REVISIONS):
        under = {key: value for key, value in under.items() if key not in _REVISIONS}
    return _missing(under, asked)


def _inherit_operation(under: Body, asked: Body) -> Body:
    merged = _missing(under, asked)
    _fill_from(merged, under, asked, "options", _missing)
    _fill_from(merged, under, asked, "oidc", _missing)
    _fill_from(merged, under, asked, "environmentVariables", _inherit_variables)
    return merged


def _fill_from(
    merged: Body, under: Body, asked: Body, key: str, rule: Callable[[Body, Body], Body]
) -> None:
    below, above = under.get(key), asked.get(key)
    if isinstance(below, dict) and isinstance(above, dict):
        merged[key] = rule(below, above)


def _inherit_variables(under: Body, asked: Body) -> Body:
    return {name: value for name, value in (under | asked).items() if value is not None}


# ---------------------------------------------------------------- as a create, and back


def as_create(settings: Mapping[str, object]) -> Body:
    """Return settings as the body of a create that could be made with them.

    Where they leave the repository or its revision open, something stands in for it.
    """
    body = {**settings, "operation": "update", "inheritSettings": False}
    source = body.get("sourceContext")
    source = {} if source is None else source
    if not isinstance(source, dict):
        return body
    git = source.get("git")
    git = {} if git is None else git
    if not isinstance(git, dict):
        return body
    url = git.get("repoUrl")
    if url in (None, ""):
        git = git | {"repoUrl": _SOME_URL}
    relative = isinstance(url, str) and is_relative_url(url)
    if not relative and all(git.get(name) in (None, "") for name in _REVISIONS):
        git = git | {"branch": _SOME_BRANCH}
    body["sourceContext"] = source | {"git": git}
    return body


def from_request(request: DeploymentRequest[Secret]) -> Body:
    """Return the settings that `as_create` made this request of, in their one form."""
    body = request_to_json(request, Dialect.TODAY)
    del body["operation"], body["inheritSettings"]
    source = body.pop("sourceContext")
    git = source.get("git") if isinstance(source, dict) else None
    if isinstance(git, dict):
        kept = {k: v for k, v in git.items() if v not in (_SOME_URL, _SOME_BRANCH)}
        if kept:
            body["sourceContext"] = {"git": kept}
    return {key: value for key, value in body.items() if value}
