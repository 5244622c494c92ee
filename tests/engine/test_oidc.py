"""The engine as an issuer: clouds that check its tokens, and programs that use what they give."""

from __future__ import annotations

import base64
import hmac
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from joserfc import jwk, jws, jwt
from joserfc.jwk import RSAKey

from reconciler.clock import SystemClock
from reconciler.engine.config import Layout
from reconciler.engine.oidc.issuer import Issuer
from reconciler.engine.secrets_box import open_box
from reconciler.engine.store import Store
from tests.engine import relying_party
from tests.engine.harness import LIMIT_S, Api, Gate, make_repository
from tests.engine.relying_party import RefusedError, RelyingParty, strict_sts
from tests.engine.served import Served, command, served
from tests.moto_server import ACCOUNT, MotoServer
from tests.waiting import eventually

pytestmark = pytest.mark.real

ROLE = f"arn:aws:iam::{ACCOUNT}:role/deploy"
SUBJECT = "pulumi:deploy:org:acme:project:web:stack:{stack}:operation:update:scope:write"
AZURE = {"clientId": "client-1", "tenantId": "tenant-1", "subscriptionId": "subscription-1"}
GCP = {
    "projectId": "123456789012",
    "workloadPoolId": "pool",
    "providerId": "provider",
    "serviceAccount": "deploy@p.iam.gserviceaccount.com",
    "region": "europe-west3",
}


@dataclass(frozen=True)
class World:
    """An engine that is an issuer, and a repository to deploy."""

    engine: Served
    api: Api
    gate: Gate
    repository: Path

    @property
    def issuer(self) -> str:
        return f"{self.engine.url}/oidc"

    def run(self, stack: str, **context: object) -> tuple[dict[str, Any], str]:
        """Deploy, and return the deployment as it ended and its log."""
        made = self.api.create(f"acme/web/{stack}", self.repository, **context)["id"]
        ended = self.api.ended(f"acme/web/{stack}", made)
        return ended, "".join(self.api.log(f"acme/web/{stack}", made))

    def token(self, stack: str) -> str:
        """Deploy a program that writes its identity token to where the test may read it."""
        path = self.gate.directory / f"{stack}.token"
        self.run(stack, preRunCommands=[f'printf "%s" "$PULUMI_OIDC_TOKEN" >{path}', "exit 1"])
        return path.read_text()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, moto: MotoServer) -> Iterator[World]:
    """An engine that asks a strict STS, which trusts stacks whose names begin with `aws`."""
    root = tmp_path_factory.mktemp("oidc")
    gate = Gate(root / "gate")
    gate.directory.mkdir()
    repository = make_repository(root / "repository")
    prepare(moto)
    asked: list[RelyingParty] = []

    class Later(RelyingParty):
        """A party that is made when the engine's address is known."""

        def check(self, token: str) -> dict[str, Any]:
            return asked[0].check(token)

    with (
        strict_sts(moto.url, Later(issuer="", audience="", subject="")) as sts,
        served(
            *(root / "engine", "--aws-sts-url", sts, "--allow-write", str(gate.directory)),
            public=True,
        ) as engine,
    ):
        world = World(engine, engine.api(), gate, repository)
        trusted = SUBJECT.format(stack="aws*")
        asked.append(relying_party.aws(world.issuer, "acme", trusted))
        yield world


def prepare(moto: MotoServer) -> None:
    """Make a role that may write to one bucket, and two buckets."""
    moto.reset()
    iam, s3 = moto.client("iam"), moto.client("s3")
    anybody = {"Version": "2012-10-17", "Statement": []}
    iam.create_role(RoleName="deploy", AssumeRolePolicyDocument=json.dumps(anybody))
    allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::ours/*"}
    document = {"Version": "2012-10-17", "Statement": [allowed]}
    iam.put_role_policy(RoleName="deploy", PolicyName="write", PolicyDocument=json.dumps(document))
    for bucket in ("ours", "theirs"):
        s3.create_bucket(Bucket=bucket)


# ---------------------------------------------------------------- AWS

USE = f"""\
{sys.executable} - <<'END'
import boto3
from botocore.exceptions import ClientError
s3 = boto3.client("s3")
s3.put_object(Bucket="ours", Key="made", Body=b"by the program")
try:
    s3.put_object(Bucket="theirs", Key="made", Body=b"by the program")
except ClientError as error:
    print("refused:", error.response["Error"]["Code"])
END"""


def test_a_program_works_with_what_aws_gave(world: World, moto: MotoServer) -> None:
    """A program writes to S3 by the role's policy, and AWS refuses it what the role may not."""
    name, stack = "aws-uses", "acme/web/aws-uses"
    made = world.api.create(
        stack,
        world.repository,
        oidc={
            "aws": {
                "roleArn": ROLE,
                "sessionName": "run-${deployment.version}-${stack.name}",
                "duration": "1h0m0s",
                "policyArns": ["arn:aws:iam::aws:policy/AmazonS3FullAccess"],
            }
        },
        environmentVariables={"AWS_ENDPOINT_URL": moto.url, "AWS_REGION": "us-east-1"},
        preRunCommands=[world.gate.waits(name), USE, 'echo "key $AWS_SECRET_ACCESS_KEY"'],
    )["id"]
    world.gate.begun(name)
    # From here on moto checks signatures and policies, as AWS does.
    moto.check_permissions(on=True)
    try:
        world.gate.open(name)
        ended = world.api.ended(stack, made)
    finally:
        moto.check_permissions(on=False)
    log = "".join(world.api.log(stack, made))
    assert ended["status"] == "succeeded", log
    body = moto.client("s3").get_object(Bucket="ours", Key="made")["Body"].read()
    assert body == b"by the program"
    assert "refused: AccessDenied" in log
    assert "key [secret]\n" in log
    assert f"AWS: {ROLE} as run-1-aws-uses, until 20" in log
    names = [step["name"] for step in ended["jobs"][0]["steps"]]
    assert names[:3] == [
        "Download deployment executor",
        "Fetch provider credentials via OIDC",
        "Get source",
    ]


def test_a_cloud_that_refuses_fails_its_step(world: World) -> None:
    """Where AWS says no, the step fails with AWS's words and what its policy must name."""
    ended, log = world.run("other", oidc={"aws": {"roleArn": ROLE, "sessionName": "web"}})
    assert ended["status"] == "failed"
    steps = {step["name"]: step["status"] for step in ended["jobs"][0]["steps"]}
    assert steps["Fetch provider credentials via OIDC"] == "failed"
    assert steps["Get source"] == "not-started"
    assert f"AWS gave no credentials for {ROLE}: AccessDenied: Not authorized: subject" in log
    assert f"the issuer {world.issuer}, the audience acme and the subject " in log
    assert SUBJECT.format(stack="other") in log


# ---------------------------------------------------------------- Azure and Google Cloud

SHOW = """\
for name in ARM_CLIENT_ID ARM_TENANT_ID ARM_SUBSCRIPTION_ID ARM_USE_OIDC AZURE_CLIENT_ID \\
    AZURE_TENANT_ID GOOGLE_PROJECT GOOGLE_CLOUD_PROJECT GOOGLE_REGION CLOUDSDK_COMPUTE_REGION; do
    eval "echo $name=\\$$name"
done
cmp "$GOOGLE_APPLICATION_CREDENTIALS" - <<END && echo same configuration
$GOOGLE_CREDENTIALS
END
"""


def test_programs_have_what_azure_and_google_need(world: World) -> None:
    """Variables and files of both clouds are there, the request's own project before a hint."""
    out = world.gate.directory / "clouds.json"
    code = (
        "import json, os, pathlib; e = os.environ; g = json.loads(e['GOOGLE_CREDENTIALS']); "
        "read = lambda p: pathlib.Path(p).read_text(); "
        "print(json.dumps({'env': {k: v for k, v in e.items() "
        "if k.startswith(('ARM_', 'AZURE_', 'GOOGLE_', 'CLOUDSDK_', 'PULUMI_OIDC'))}, "
        "'azure': read(e['AZURE_FEDERATED_TOKEN_FILE']), "
        "'google': read(g['credential_source']['file']), "
        "'file': read(e['GOOGLE_APPLICATION_CREDENTIALS'])}))"
    )
    ended, log = world.run(
        "clouds",
        oidc={"azure": AZURE, "gcp": GCP},
        environmentVariables={"GOOGLE_PROJECT": "my-project", "ARM_CLIENT_ID": "mine"},
        preRunCommands=[f'{sys.executable} -c "{code}" >{out}'],
    )
    assert ended["status"] == "succeeded", log
    seen = json.loads(out.read_text())
    environment, token = seen["env"], seen["env"]["PULUMI_OIDC_TOKEN"]
    assert seen["azure"] == seen["google"] == environment["ARM_OIDC_TOKEN"] == token
    assert seen["file"] == environment["GOOGLE_CREDENTIALS"]
    assert environment["ARM_CLIENT_ID"] == environment["AZURE_CLIENT_ID"] == "client-1"
    assert environment["ARM_USE_OIDC"] == "true"
    assert environment["GOOGLE_PROJECT"] == "my-project"
    assert environment["GOOGLE_CLOUD_PROJECT"] == "123456789012"
    assert environment["GOOGLE_REGION"] == "europe-west3"
    assert "Azure: a token for the application client-1" in log
    assert "Google Cloud: a token for the service account deploy@p" in log
    assert token not in log
    subject = SUBJECT.format(stack="clouds")
    claims = relying_party.azure(world.issuer, "acme", subject).check(token)
    assert claims["stackId"] == "acme/web/clouds"
    party = relying_party.gcp(world.issuer, "acme", project="web", operation="update")
    assert party.check(token) == claims
    with pytest.raises(RefusedError, match="condition"):
        relying_party.gcp(world.issuer, "acme", project="db").check(token)


def test_every_deployment_of_an_issuer_has_a_token(world: World) -> None:
    """Without `oidc` in the request there is the token itself, for other relying parties."""
    token = world.token("plain")
    claims = relying_party.aws(world.issuer, "acme", SUBJECT.format(stack="*")).check(token)
    assert claims["deployment"] == "1"
    assert claims["exp"] - claims["iat"] == 3600


# ---------------------------------------------------------------- what is refused


def key_of(world: World) -> tuple[str, RSAKey]:
    """Return the engine's own signing key, as only the engine's host can read it."""
    layout = Layout(world.engine.data)
    store = Store(layout.database)
    try:
        box = open_box(layout.key, create=False)
        issuer = Issuer(store.facts, box, SystemClock(), world.engine.url)
        key = next(key for key, state in issuer.states() if state == "signs")
    finally:
        store.close()
    return key.id, jwk.RSAKey.import_key(key.private)


def sign(header: dict[str, Any], claims: dict[str, Any], key: RSAKey) -> str:
    return jwt.encode(header, claims, key, algorithms=["RS256", "HS256", "PS256"])


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def with_password(text: str, password: bytes) -> str:
    """Sign by hand: a careful library refuses to be used so."""
    signature = hmac.digest(password, text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


Forge = Callable[[dict[str, Any], str, RSAKey], str]
STRANGER = jwk.RSAKey.generate_key(2048, private=True)


def changed(**claims: object) -> Forge:
    """Return a forgery with the engine's own key, and other claims."""
    return lambda said, kid, key: sign({"alg": "RS256", "kid": kid}, said | claims, key)


FORGERIES: dict[str, Forge] = {
    "another's signature": lambda said, kid, _: sign({"alg": "RS256", "kid": kid}, said, STRANGER),
    "an unknown key": lambda said, _, key: sign({"alg": "RS256", "kid": "other"}, said, key),
    "a key of its own in the header": lambda said, _, __: sign(
        {"alg": "RS256", "kid": "own", "jwk": STRANGER.as_dict(private=False)}, said, STRANGER
    ),
    "no signature": lambda said, kid, _: f"{encoded({'alg': 'none', 'kid': kid})}.{encoded(said)}.",
    "no signature under our algorithm": lambda said, kid, _: (
        f"{encoded({'alg': 'RS256', 'kid': kid})}.{encoded(said)}."
    ),
    "the public key as a password": lambda said, kid, key: with_password(
        f"{encoded({'alg': 'HS256', 'kid': kid})}.{encoded(said)}", key.as_pem(private=False)
    ),
    "another algorithm of the same key": lambda said, kid, key: jws.serialize_compact(
        {"alg": "PS256", "kid": kid}, json.dumps(said), key, algorithms=["PS256"]
    ),
    "another issuer": changed(iss="https://api.pulumi.com/oidc"),
    "another audience": changed(aud="globex"),
    "another stack": changed(sub=SUBJECT.format(stack="production")),
    "another operation": changed(
        sub="pulumi:deploy:org:acme:project:web:stack:victim:operation:destroy:scope:write"
    ),
    "no subject": changed(sub=None),
    "expired": changed(exp=int(time.time()) - 60),
    "no expiry": changed(exp=0),
    "valid for too long": changed(exp=int(time.time()) + 30 * 24 * 3600),
    "not valid yet": changed(nbf=int(time.time()) + 24 * 3600),
    "from the future": changed(iat=int(time.time()) + 24 * 3600),
}


@pytest.fixture(scope="module")
def victim(world: World) -> tuple[str, str, RSAKey]:
    """A good token of the engine's, and the key that signed it."""
    return world.token("victim"), *key_of(world)


@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_token_is_refused(
    world: World, victim: tuple[str, str, RSAKey], cloud: str, forgery: str
) -> None:
    """What the engine signed is accepted in each cloud's form, and everything else is not."""
    token, kid, key = victim
    subject = SUBJECT.format(stack="victim")
    party = {
        "aws": relying_party.aws(world.issuer, "acme", subject),
        "azure": relying_party.azure(world.issuer, "acme", subject),
        "gcp": relying_party.gcp(world.issuer, "acme", sub=subject),
    }[cloud]
    claims = party.check(token)
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert header == {"alg": "RS256", "typ": "JWT", "kid": kid}
    with pytest.raises(RefusedError):
        party.check(FORGERIES[forgery](claims, kid, key))
    head, body, signature = token.split(".")
    for broken in (f"{head}.{body}.{signature[:-8]}AAAAAAAA", f"{head}.{body}", "", "x.y.z"):
        with pytest.raises(RefusedError, match="signature"):
            party.check(broken)


# ---------------------------------------------------------------- keys


def test_keys_are_changed_beside_the_engine(world: World) -> None:
    """A rotated key is shown and its tokens stay good; a withdrawn one is refused at once."""
    party = relying_party.aws(world.issuer, "acme", SUBJECT.format(stack="*"))
    token = world.token("rotates")
    new = command("keys", "rotate", data=world.engine.data).split()[0]
    listed = command("keys", "list", data=world.engine.data)
    states = {line.split()[0]: line.split()[1] for line in listed.splitlines()}
    assert states[new] == "next"
    assert party.check(token)
    served_keys = requests.get(f"{world.issuer}/.well-known/jwks", timeout=LIMIT_S)
    assert served_keys.headers["Cache-Control"] == "public, max-age=300"
    assert {key["kid"] for key in served_keys.json()["keys"]} == set(states)
    assert all(
        set(key) == {"kty", "use", "alg", "kid", "n", "e"} for key in served_keys.json()["keys"]
    )
    old = next(name for name, state in states.items() if state == "signs")
    command("keys", "withdraw", old, data=world.engine.data)
    with pytest.raises(RefusedError, match="signature"):
        party.check(token)
    assert party.check(world.token("rotated"))
    assert "there is no key" in command("keys", "withdraw", old, data=world.engine.data, code=2)
    noted = command("audit", "list", "--organization", "", data=world.engine.data)
    assert new in noted
    assert old in noted


def test_the_documents_can_be_served_elsewhere(world: World) -> None:
    """The exported documents are those that the engine serves."""
    exported = json.loads(
        command("keys", "export", "--public-url", world.engine.url, data=world.engine.data)
    )
    for name, path in (("openid-configuration", "openid-configuration"), ("jwks", "jwks")):
        url = f"{world.issuer}/.well-known/{path}"
        assert exported[name] == requests.get(url, timeout=LIMIT_S).json()


def test_an_engine_without_an_address_issues_nothing(api: Api, stack: str) -> None:
    """Without a public URL a request for cloud credentials is refused, and says what to do."""
    source = {"repoURL": "https://example.com/r.git", "branch": "main"}
    answer = api.post(api.path(stack), api.body(source, oidc={"azure": AZURE}))
    assert answer.status_code == 400
    assert "operationContext.oidc: " in answer.json()["message"]
    assert "--public-url" in answer.json()["message"]
    assert api.refused("/oidc/.well-known/openid-configuration")[0] == 404


def runs(api: Api, stack: str, made: str) -> str:
    steps = api.deployment(stack, made)["jobs"][0]["steps"]
    return str({s["name"]: s["status"] for s in steps}["Fetch provider credentials via OIDC"])


def test_a_cloud_that_does_not_answer_can_be_left(tmp_path: Path, world: World) -> None:
    """While AWS is not to be reached, a cancel ends the deployment at once."""
    with served(tmp_path / "engine", "--aws-sts-url", "http://127.0.0.1:9", public=True) as engine:
        api, stack = engine.api(), "acme/web/waits"
        aws = {"roleArn": ROLE, "sessionName": "web"}
        made = api.create(stack, world.repository, oidc={"aws": aws})["id"]
        eventually(lambda: runs(api, stack, made) != "not-started", "AWS is asked")
        begun = time.monotonic()
        eventually(lambda: api.cancel(stack, made) in {200, 404}, "it is cancelled")
        ended = api.ended(stack, made)
        assert time.monotonic() - begun < 10
        assert ended["ending"]["kind"] == "canceled"
        assert "127.0.0.1:9 does not answer" in "".join(api.log(stack, made))
