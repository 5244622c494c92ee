from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.remote_backend import already_there, locked_since, parse
from reconciler.errors import UsageError

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIA-canary",
    "AWS_SECRET_ACCESS_KEY": "secret-canary",
    "AZURE_STORAGE_ACCOUNT": "account",
    "AZURE_STORAGE_KEY": "azure-canary",
    "GOOGLE_CREDENTIALS": "google-canary",
    "PGPASSWORD": "pg-canary",
}


def test_s3_has_a_profile_of_its_own() -> None:
    """A bucket's keys are in a profile, so that the program's own keys do not open it."""
    found = parse("s3://states/pulumi?region=eu-central-1&endpoint=s3.example.com", "acme", KEYS)
    parts = urlsplit(found.url)
    assert (parts.netloc, parts.path) == ("states", "/pulumi/acme")
    assert parse_qs(parts.query) == {
        "region": ["eu-central-1"],
        "endpoint": ["s3.example.com"],
        "profile": ["reconciler-backend"],
    }
    assert found.credentials == (
        "[reconciler-backend]\naws_access_key_id = AKIA-canary\n"
        "aws_secret_access_key = secret-canary\n"
    )
    assert found.variables == found.defaults == {}
    assert found.secrets == ("AKIA-canary", "secret-canary")
    assert "canary" not in repr(found)


def test_s3_by_the_machine_s_own_role() -> None:
    """Without keys there is no profile, and the region is the engine's own."""
    found = parse("s3://states", "acme", {"AWS_REGION": "eu-west-1"})
    assert found.url == "s3://states/acme?region=eu-west-1"
    assert found.credentials == ""


def test_azblob_and_gs() -> None:
    """Their variables are given to Pulumi, below those of the deployment."""
    azure = parse("azblob://states?storage_account=account", "acme", KEYS)
    assert azure.url == "azblob://states/acme?storage_account=account"
    assert azure.defaults == {
        "AZURE_STORAGE_ACCOUNT": "account",
        "AZURE_STORAGE_KEY": "azure-canary",
    }
    assert azure.secrets == ("azure-canary",)
    google = parse("gs://states/a/b/", "acme", KEYS)
    assert google.url == "gs://states/a/b/acme"
    assert google.defaults == {"GOOGLE_CREDENTIALS": "google-canary"}
    assert google.secrets == ("google-canary",)


def test_postgres_has_a_table_an_organization() -> None:
    """The password is no part of the URL, and each organization has a table of its own."""
    found = parse("postgres://pulumi@db.example.com/states?sslmode=require", "acme", KEYS)
    assert found.url == (
        "postgres://pulumi@db.example.com/states?sslmode=require&table=pulumi_state_acme"
    )
    assert found.variables == {"PGPASSWORD": "pg-canary"}
    ours = KEYS | {"RECONCILER_BACKEND_PASSWORD": "ours"}
    assert parse("postgres://h/d", "acme", ours).variables == {"PGPASSWORD": "ours"}


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", fullmatch=True)


@given(NAMES, NAMES)
def test_two_organizations_never_share_a_table(one: str, other: str) -> None:
    """Names that differ in anything have tables that do, of names that PostgreSQL keeps whole."""
    tables = [
        parse_qs(urlsplit(parse("postgres://h/d", name, {}).url).query)["table"][0]
        for name in (one, other)
    ]
    assert (tables[0] == tables[1]) == (one == other)
    for table in tables:
        assert table == table.lower()
        assert table.replace("_", "").isalnum()
        assert len(f"{table}_key_prefix_idx") <= 63


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://example.com", "none of file:///DIR, s3://BUCKET"),
        ("s3://", "none of"),
        ("mongodb://h/d", "none of"),
        ("s3://bucket#x", "none of"),
        ("postgres://u:canary@h/d", "RECONCILER_BACKEND_PASSWORD"),
        ("postgres://h/d?password=canary", "RECONCILER_BACKEND_PASSWORD"),
        ("http://u:canary@h/d", "none of"),
        ("s3://[canary", "no URL"),
    ],
)
def test_what_is_refused(url: str, words: str) -> None:
    """Another kind of place and a password in the arguments are refused, unseen."""
    with pytest.raises(UsageError) as refused:
        parse(url, "acme", {})
    assert words in str(refused.value)
    assert "canary@" not in str(refused.value)
    assert "password=canary" not in str(refused.value)


LOCKED = (
    "error: could not create stack: the stack is currently locked by 1 lock(s). Either wait for "
    "the other process(es) to end or delete the lock file with `pulumi cancel`.\n"
    "  s3://b/.pulumi/locks/organization/web/dev/abc.json: created by u@h (pid 1) at {}\n"
)
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def test_what_pulumi_says_of_locks() -> None:
    """Locks that were made since a moment are told from older ones, in any zone."""
    mine = LOCKED.format("2026-11-27T13:00:00+01:00")
    assert locked_since(mine, NOON)
    assert locked_since(LOCKED.format("2026-11-27T12:00:00Z"), NOON + timedelta(seconds=0.9))
    assert not locked_since(LOCKED.format("2026-11-27T11:59:58Z"), NOON)
    both = mine + mine.splitlines()[1].replace("13:00:00", "09:00:00") + "\n"
    assert not locked_since(both, NOON)
    assert not locked_since("error: stack 'organization/web/dev' already exists", NOON)
    assert not locked_since("", NOON)


def test_what_pulumi_says_of_a_stack_that_is_there() -> None:
    """A stack that exists is told from one that is locked."""
    assert already_there("error: stack 'organization/web/dev' already exists\n")
    assert not already_there(LOCKED.format("2026-11-27T12:00:00Z"))
    assert not already_there("error: unable to open bucket s3://b: AccessDenied")
