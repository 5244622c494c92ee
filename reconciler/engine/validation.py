"""Whether a create can be accepted, and which of its values are secret. Pure.

A `Refusal` is for a person: it names the field by its path, what is wrong and what would be
right, and never a secret's value.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote

from reconciler.api.types import (
    MARKER_PREFIX,
    RESERVED_VARIABLES,
    DeploymentRequest,
    EnvironmentVariable,
    Secret,
    ShownVariable,
)
from reconciler.engine.images import refuse as refuse_image
from reconciler.git.urls import Reach, over_ssh
from reconciler.git.urls import refuse as refuse_source

__all__ = [
    "MOST_MASKED_LINES",
    "Accepted",
    "Policy",
    "Refusal",
    "Reserved",
    "check",
    "exported_secrets",
    "looks_secret",
    "masked_lines",
    "proxy_secrets",
    "secret_values",
    "shown_environment",
]

# Linux gives a program no argument and no variable longer than this (MAX_ARG_STRLEN).
LONGEST_VALUE_BYTES = 128 * 1024 - 1

# All variables together: half of what Linux gives a program at its usual 8 MiB of stack, so
# that PULUMI_ENV and the engine's own still fit.
LARGEST_ENVIRONMENT_BYTES = 1024 * 1024

# Each is a step, a process and a log; a person reads them.
MOST_COMMANDS = 100

# Each line of a secret is looked for in all output, in some twenty forms: so many cost 0.3 s and
# 40 MB for a deployment. A kubeconfig has 30, a chain of certificates some hundred.
MOST_MASKED_LINES = 2000

# A part of a variable's name that makes its value secret, whatever the value is: anywhere in the
# name (DBPASSWORD, APIKEY), at the end of a word of it (GITHUBTOKEN_2, but not TOKENIZER), or as
# its last word (SSH_KEY, but not KEY_NAME or PASS_THROUGH). docs/secrets.md lists them.
TERMS_ANYWHERE = (
    *("SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL"),
    *("PRIVATE_KEY", "ACCESS_KEY", "API_KEY"),
)
TERMS_ENDING_A_WORD = ("TOKEN", "TOKENS")
TERMS_AS_LAST_WORD = (
    *("KEY", "PWD", "PASS", "AUTH", "AUTHORIZATION", "BEARER", "COOKIE", "DSN", "SAS"),
)
_TERMS = re.compile(
    "|".join(term.replace("_", "_?") for term in TERMS_ANYWHERE)
    + rf"|(?:{'|'.join(TERMS_ENDING_A_WORD)})(?:_|\d*\Z)"
    + rf"|(?:\A|_)(?:{'|'.join(TERMS_AS_LAST_WORD)})\Z"
)
_IN_VALUE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY|://[^/@\s]*:[^/@\s]+@")

_URL_PASSWORD = re.compile(r"://[^/@:\s]*:([^/@\s]+)@")

# A random value in letters of both cases and digits: at least this long, and nearly as mixed
# as its length allows. A UUID or a commit's hash has one case and at most 4 bits a character
# (3.65 in the API's own example, which shows it); a path or a name of words repeats letters.
SHORTEST_RANDOM = 24
_BITS_A_CHARACTER = 4.5
_SHARE_OF_POSSIBLE = 0.88
_RANDOM_RUN = re.compile(rf"[A-Za-z0-9+/=]{{{SHORTEST_RANDOM},}}")
_RANDOM_RUN_OF_A_PATH = re.compile(rf"[A-Za-z0-9+=]{{{SHORTEST_RANDOM},}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What this engine allows.

    `reach` is how far it goes for a source; `refuse_images` why it takes no image, where so.
    """

    reach: Reach = Reach()  # noqa: RUF009 - a frozen value
    issues_tokens: bool = False
    refuse_images: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a create is not accepted."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A request that can run. Plain variables that look secret have become secrets.

    `marker` is the name of the variable that says who asked, or empty.
    """

    request: DeploymentRequest[Secret]
    marker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """What the engine's own variables say about one deployment."""

    id: str
    version: int
    build_url: str
    backend_url: str

    def variables(self) -> dict[str, str]:
        """Return them, but for the token, which is made for each run."""
        return {
            "PULUMI_BACKEND_URL": self.backend_url,
            "PULUMI_CI_BUILD_ID": self.id,
            "PULUMI_CI_BUILD_NUMBER": str(self.version),
            "PULUMI_CI_BUILD_URL": self.build_url,
            "PULUMI_CI_SYSTEM": "Pulumi Deploy",
        }


def check(request: DeploymentRequest[Secret], policy: Policy) -> Accepted | Refusal:
    """Say whether the engine can run the request; all that is wrong with it, at once."""
    faults = tuple(_faults(request, policy))
    if faults:
        return Refusal("; ".join(faults))
    markers = _markers(request)
    environment = tuple(
        replace(v, value=Secret(v.value))
        if isinstance(v.value, str) and v.name not in markers and looks_secret(v.name, v.value)
        else v
        for v in request.environment
    )
    request = replace(request, environment=environment)
    lines = masked_lines(secret_values(request))
    if lines > MOST_MASKED_LINES:
        return Refusal(
            f"the secrets have {lines} lines in all; no more than {MOST_MASKED_LINES} can be kept "
            "out of logs: encode a long one in one line"
        )
    return Accepted(request=request, marker=markers[0] if markers else "")


def _faults(request: DeploymentRequest[Secret], policy: Policy) -> Iterator[str]:
    git = "sourceContext.git"
    why = refuse_source(over_ssh(request.source), policy.reach)
    if why:
        yield f"{git}.repoURL: {why}"
    if request.executor_image:
        why = refuse_image(request.executor_image) or policy.refuse_images
        if why:
            yield f"executorContext.executorImage: {why}"
    if request.oidc.asked and not policy.issues_tokens:
        yield (
            "operationContext.oidc: this engine has no address that a cloud knows it by; start it "
            "with --public-url https://…, or give credentials as secret environmentVariables"
        )
    yield from _command_faults(request.pre_run_commands)
    yield from _environment_faults(request)


def _command_faults(commands: tuple[str, ...]) -> Iterator[str]:
    at = "operationContext.preRunCommands"
    if len(commands) > MOST_COMMANDS:
        yield f"{at}: has {len(commands)} commands; at most {MOST_COMMANDS} are run"
    for index, command in enumerate(commands):
        if not command.strip():
            yield f"{at}[{index}]: is empty; a shell command belongs here"
        if _size(command) > LONGEST_VALUE_BYTES:
            yield f"{at}[{index}]: is longer than {LONGEST_VALUE_BYTES} bytes; put it in a file"


def _environment_faults(request: DeploymentRequest[Secret]) -> Iterator[str]:
    at = "operationContext.environmentVariables"
    total = 0
    for variable in request.environment:
        size = _size(variable.name) + 1 + _size(_text(variable))
        total += size
        if size > LONGEST_VALUE_BYTES:
            yield f"{at}.{variable.name}: is longer than {LONGEST_VALUE_BYTES} bytes"
    if total > LARGEST_ENVIRONMENT_BYTES:
        yield f"{at}: is larger than {LARGEST_ENVIRONMENT_BYTES} bytes in all"
    markers = _markers(request)
    if len(markers) > 1:
        both = " and ".join(markers[:2])
        yield f"{at}: {both} both say who asked; a deployment has one variable {MARKER_PREFIX}…"


def _markers(request: DeploymentRequest[Secret]) -> list[str]:
    return [v.name for v in request.environment if v.name.startswith(MARKER_PREFIX)]


def _text(variable: EnvironmentVariable[Secret]) -> str:
    value = variable.value
    return value if isinstance(value, str) else value.value


def _size(text: str) -> int:
    return len(text.encode())


def shown_environment(
    request: DeploymentRequest[Secret], reserved: Reserved
) -> tuple[ShownVariable, ...]:
    """Return the variables as a GET lists them, sorted by name; a secret has no value.

    The engine's own are over the request's, as they are for the program; the build URL, which
    only the program needs, is left out, as the API does.
    """
    shown = {
        v.name: ShownVariable(name=v.name, value=v.value)
        if isinstance(v.value, str)
        else ShownVariable(name=v.name, secret=True)
        for v in request.environment
        if v.name not in RESERVED_VARIABLES
    }
    for name, value in reserved.variables().items():
        if name != "PULUMI_CI_BUILD_URL":
            shown[name] = ShownVariable(name=name, value=value)
    token = "PULUMI_ACCESS_TOKEN"  # noqa: S105 - the variable's name
    shown[token] = ShownVariable(name=token, secret=True)
    return tuple(shown[name] for name in sorted(shown))


def secret_values(request: DeploymentRequest[Secret]) -> tuple[str, ...]:
    """Return the value of every secret in the request: what its logs must not show."""
    variables = [v.value.value for v in request.environment if isinstance(v.value, Secret)]
    values = [*variables, *(part for value in variables for part in _url_passwords(value))]
    auth, image = request.source.auth, request.image_credentials
    if image is not None:
        of_image = (image.user_name, image.password)
        values += [part.value for part in of_image if isinstance(part, Secret)]
    if auth is not None:
        inside = [auth.access_token]
        if auth.ssh is not None:
            inside += [auth.ssh.private_key, auth.ssh.password]
        if auth.basic is not None:
            inside.append(auth.basic.password)
            # A user name is public unless its sender said otherwise.
            if isinstance(auth.basic.user_name, Secret):
                inside.append(auth.basic.user_name)
        values += [v if isinstance(v, str) else v.value for v in inside if v is not None]
    return tuple(value for value in values if value)


def masked_lines(secrets: Iterable[str]) -> int:
    """Return how many texts logs are searched for: each line of each of these secrets."""
    return len({line for secret in secrets for line in secret.splitlines()})


def exported_secrets(variables: Mapping[str, str]) -> frozenset[str]:
    """Return what the logs must not show of variables that a command has exported."""
    values = [value for name, value in variables.items() if looks_secret(name, value)]
    return frozenset((*values, *(part for value in values for part in _url_passwords(value))))


def proxy_secrets(variables: Mapping[str, str]) -> frozenset[str]:
    """Return the passwords that proxies are to be shown, which may be given without a scheme."""
    urls = {name: value for name, value in variables.items() if name.lower().endswith("_proxy")}
    return exported_secrets({n: v if "://" in v else f"http://{v}" for n, v in urls.items()})


def _url_passwords(value: str) -> Iterator[str]:
    """Yield the passwords of URLs in a text, as they are there and as a program reads them."""
    for found in _URL_PASSWORD.findall(value):
        yield found
        yield unquote(found)


def looks_secret(name: str, value: str) -> bool:
    """Whether a plain value is to be treated as a secret: by key terms, and by entropy.

    A term in the name is enough; the entropy of the value is, where it is far above that of
    a UUID.
    """
    if name in RESERVED_VARIABLES:
        return name == "PULUMI_ACCESS_TOKEN"
    if _TERMS.search(name.upper()):
        return True
    return _IN_VALUE.search(value) is not None or _looks_random(value)


def _looks_random(value: str) -> bool:
    is_path = value.startswith(("/", ".", "~")) or "://" in value
    runs = (_RANDOM_RUN_OF_A_PATH if is_path else _RANDOM_RUN).findall(value)
    return any(_is_mixed(run) and _is_dense(run) for run in runs)


def _is_mixed(run: str) -> bool:
    return all(re.search(kind, run) for kind in ("[A-Z]", "[a-z]", "[0-9]"))


def _is_dense(run: str) -> bool:
    """Whether the entropy of a run's characters is near the most its length allows."""
    length = len(run)
    bits = -sum(n / length * math.log2(n / length) for n in Counter(run).values())
    return bits >= min(_BITS_A_CHARACTER, _SHARE_OF_POSSIBLE * math.log2(length))
