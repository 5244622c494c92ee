"""What `pulumi deployment settings get` prints, as JSON or as text. Pure.

It shows no value of a variable and no git credentials; both stay to be filled in, by name.
"""

from __future__ import annotations

import re
from typing import Any, Final

from reconciler.api.wire import Pointer
from reconciler.importing.draft import Draft
from reconciler.importing.fields import Fields
from reconciler.importing.request_body import put_cloud
from reconciler.importing.source import Source, put_paths, put_source, repository_url

__all__ = ["is_printed", "is_view", "read_printed", "read_view"]

_CONTEXT: Final[Pointer] = ("operationContext",)
_KEYS: Final = frozenset(
    {
        *("tag", "source", "runner", "preRunCommands", "environmentVariables", "oidc"),
        "advanced",
    }
)
# What the API calls a field → what it is called here.
_NAMES: Final = {
    "aws": {"duration": "sessionDuration"},
    "azure": {},
    "gcp": {"projectId": "projectNumber"},
}
_TITLE: Final = re.compile(
    r"(?:Tag: .*|Source(?:: (?:GitHub|Git))?|Deployment runner|Pre-run commands"
    r"|Environment variables|OIDC|Advanced)\Z"
)
_LINE: Final = re.compile(r"([^:]+):\s+(.*)\Z")
_LABELS: Final = {
    "Source": {
        "Repository": "repository",
        "Branch": "branch",
        "Commit": "commit",
        "Pulumi.yaml folder": "folder",
        "Run previews for PRs": "previewPullRequests",
        "Run updates on push": "runUpdatesOnPush",
        "PR stack template": "pullRequestTemplate",
        "Path filters": "pathFilters",
    },
    "Deployment runner": {
        "Runner pool": "pool",
        "Executor image": "executorImage",
        "Executor root path": "executorRootPath",
    },
    "Advanced": {
        "Skip install dependencies": "skipInstallDependencies",
        "Skip intermediate": "skipIntermediateDeployments",
        "Shell": "shell",
        "Delete after destroy": "deleteAfterDestroy",
    },
    "AWS": {
        "Role ARN": "roleArn",
        "Session name": "sessionName",
        "Session duration": "sessionDuration",
        "Policy ARNs": "policyArns",
    },
    "Azure": {
        "Client ID": "clientId",
        "Tenant ID": "tenantId",
        "Subscription ID": "subscriptionId",
    },
    "GCP": {
        "Project number": "projectNumber",
        "Workload pool": "workloadPoolId",
        "Provider": "providerId",
        "Service account": "serviceAccount",
        "Region": "region",
        "Token lifetime": "tokenLifetime",
    },
}
_SECTIONS: Final = {"Source": "source", "Deployment runner": "runner", "Advanced": "advanced"}
_LISTS: Final = {
    "Pre-run commands": "preRunCommands",
    "Environment variables": "environmentVariables",
}


def is_view(tree: object) -> bool:
    """Whether an object is what the command prints with `--output json`."""
    return isinstance(tree, dict) and bool(tree) and tree.keys() <= _KEYS


def read_view(draft: Draft, value: object, at: Pointer) -> None:
    """Read the JSON form."""
    root = Fields(draft, value, at)
    _source(draft, root.below("source"))
    runner = root.below("runner")
    image = runner.text("executorImage")
    if image:
        draft.put(("executorContext", "executorImage"), image)
    runner.close(
        {
            "pool": "there are no agent pools; workers are started with `engine worker`",
            "executorRootPath": "the engine chooses its own directories",
        }
    )
    commands = root.texts("preRunCommands")
    if commands:
        draft.put((*_CONTEXT, "preRunCommands"), commands)
    for index, name in enumerate(root.texts("environmentVariables")):
        _variable(draft, name, (*root.place("environmentVariables"), index))
    oidc = root.below("oidc")
    for cloud, names in _NAMES.items():
        put_cloud(draft, cloud, oidc.below(cloud), names)
    oidc.close()
    advanced = root.below("advanced")
    for key in ("skipInstallDependencies", "skipIntermediateDeployments", "deleteAfterDestroy"):
        if advanced.flag(key):
            draft.switch((*_CONTEXT, "options", key))
    shell = advanced.text("shell")
    if shell:
        draft.put((*_CONTEXT, "options", "shell"), shell)
    advanced.close()
    root.close({"tag": "is a name for people that a spec does not have; labels are"})


def _variable(draft: Draft, name: str, pointer: Pointer) -> None:
    if draft.reserved(name, pointer):
        return
    at = (*_CONTEXT, "environmentVariables", name)
    origin = "is not printed by `pulumi deployment settings get`"
    draft.refer(at, draft.variable(f"{draft.name}_{name}"), origin)
    draft.comment(at, "If it is no secret, write it here instead.")


def _source(draft: Draft, source: Fields) -> None:
    kind, repository = source.text("kind"), source.text("repository")
    url = repository_url("", repository) if kind == "github" else repository
    if source.choice("runUpdatesOnPush") is False:
        draft.put(("reconcile", "onChange"), ["spec"])
    put_paths(draft, source.texts("pathFilters"), source.place("pathFilters"))
    put_source(
        draft,
        Source(
            at=source.at,
            url=url,
            branch=source.text("branch"),
            commit=source.text("commit"),
            folder=source.text("folder"),
        ),
    )
    message = "git credentials are not printed; a private repository needs gitAuth"
    draft.note(source.place("repository"), message)
    reviews = "pull requests are not looked at"
    source.close(dict.fromkeys(("previewPullRequests", "pullRequestTemplate"), reviews))


def is_printed(text: str) -> bool:
    """Whether a text is what the command prints for people."""
    first = next((line.rstrip() for line in text.splitlines() if line.strip()), "")
    return bool(_TITLE.match(first))


def read_printed(text: str) -> tuple[dict[str, Any], int]:
    """Return the object a printed text means, and the first line that fits nowhere (0: none)."""
    found: dict[str, Any] = {}
    section = cloud = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.rstrip()
        if not line:
            continue
        if not line.startswith(" "):
            if not _TITLE.match(line):
                return found, number
            section = line.partition(":")[0]
            cloud = ""
            if section == "Source":
                kind = line.partition(": ")[2].lower() or "git"
                found["source"] = {"kind": kind}
            elif section == "Tag":
                found["tag"] = line.partition(":")[2].strip()
        elif section in _LISTS:
            found.setdefault(_LISTS[section], []).append(line[2:])
        elif section == "OIDC" and line.strip() in _LABELS and not line.startswith("    "):
            cloud = line.strip()
        elif not _printed_line(found, section, cloud, line.strip()):
            return found, number
    return found, 0


def _printed_line(found: dict[str, Any], section: str, cloud: str, line: str) -> bool:
    match = _LINE.match(line)
    key = _LABELS.get(cloud or section, {}).get(match[1] if match else "")
    if match is None or key is None:
        return False
    value: object = {"yes": True, "no": False}.get(match[2], match[2])
    if key in {"pathFilters", "policyArns"}:
        value = match[2].split(", ")
    node = found.setdefault("oidc", {}) if cloud else found
    node.setdefault(cloud.lower() if cloud else _SECTIONS[section], {})[key] = value
    return True
