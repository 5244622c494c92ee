from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import pytest

from reconciler.api.oidc import AwsOidc
from reconciler.engine.oidc.aws import (
    AwsCredentials,
    Refused,
    Unreachable,
    assume_role,
    endpoint,
)

ROLE = AwsOidc(
    role_arn="arn:aws:iam::123456789012:role/deploy",
    session_name="web",
    duration=timedelta(hours=1, minutes=30),
    policy_arns=("arn:aws:iam::aws:policy/A", "arn:aws:iam::aws:policy/B"),
)
GOOD = (
    "<AssumeRoleWithWebIdentityResponse><Credentials><AccessKeyId>AKIA1</AccessKeyId>"
    "<SecretAccessKey>a/b+c=&amp;</SecretAccessKey><SessionToken>tok</SessionToken>"
    "<Expiration>2026-11-27T13:00:00Z</Expiration></Credentials>"
    "</AssumeRoleWithWebIdentityResponse>"
)


@contextmanager
def serving(status: int, body: str, location: str = "") -> Iterator[tuple[str, list[str]]]:
    """Serve one answer, and give the URL and the bodies that came."""
    bodies: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_GET(self) -> None:
            bodies.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_request_is_aws_s() -> None:
    """Role, session, duration and every policy go as AWS names them, the token with them."""
    with serving(200, GOOD) as (url, bodies):
        answer = assume_role(url, ROLE, "web-7", "the.token")
    assert answer == AwsCredentials(
        access_key_id="AKIA1",
        secret_access_key="a/b+c=&",
        session_token="tok",
        expires="2026-11-27T13:00:00Z",
    )
    assert {k: v[0] for k, v in parse_qs(bodies[0]).items()} == {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": ROLE.role_arn,
        "RoleSessionName": "web-7",
        "WebIdentityToken": "the.token",
        "DurationSeconds": "5400",
        "PolicyArns.member.1.arn": "arn:aws:iam::aws:policy/A",
        "PolicyArns.member.2.arn": "arn:aws:iam::aws:policy/B",
    }


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (
            403,
            "<Error><Code>AccessDenied</Code><Message>Not &quot;yours&quot;</Message></Error>",
            Refused('AccessDenied: Not "yours"'),
        ),
        (
            400,
            "<Error><Code>IDPCommunicationError</Code><Message>slow</Message></Error>",
            Unreachable("IDPCommunicationError: slow"),
        ),
        (429, "", Unreachable("HTTP status 429")),
        (503, "<html>", Unreachable("HTTP status 503")),
        (404, "nothing", Refused("HTTP status 404")),
        (200, "<html>a login page</html>", Refused("its answer holds no credentials")),
    ],
)
def test_what_aws_says_is_told(status: int, body: str, answer: object) -> None:
    """AWS's own words are told, and what passes is told from what stays."""
    with serving(status, body) as (url, _):
        assert assume_role(url, ROLE, "web", "t") == answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    """The token goes nowhere else, whatever the answer says."""
    with serving(200, GOOD) as (other, seen), serving(status, "", other) as (url, _):
        assert isinstance(assume_role(url, ROLE, "web", "t"), Refused)
    assert seen == []


def test_nobody_there() -> None:
    """A refused connection is told with its address."""
    with serving(200, "") as (url, _):
        gone = url
    answer = assume_role(gone, ROLE, "web", "t")
    assert isinstance(answer, Unreachable)
    assert gone in answer.message


@pytest.mark.parametrize(
    ("partition", "region", "url"),
    [
        ("aws", "", "https://sts.amazonaws.com"),
        ("aws", "eu-central-1", "https://sts.eu-central-1.amazonaws.com"),
        ("aws-cn", "cn-northwest-1", "https://sts.cn-northwest-1.amazonaws.com.cn"),
        ("aws-cn", "", "https://sts.cn-north-1.amazonaws.com.cn"),
        ("aws-us-gov", "", "https://sts.us-gov-west-1.amazonaws.com"),
        ("aws-us-gov", "us-gov-east-1", "https://sts.us-gov-east-1.amazonaws.com"),
        ("aws", "evil.example/x", "https://sts.amazonaws.com"),
        ("aws", "x@evil-1", "https://sts.amazonaws.com"),
    ],
)
def test_where_to_ask(partition: str, region: str, url: str) -> None:
    """The region of the deployment, else the partition's own; what is no region leads nowhere."""
    assert endpoint(f"arn:{partition}:iam::123456789012:role/x", region) == url
