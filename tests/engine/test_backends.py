"""State in a bucket and in PostgreSQL: real ones, through the real Pulumi."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from tests.engine.harness import (
    NO_INSTALL,
    Gate,
    make_repository,
    make_slow_repository,
)
from tests.engine.served import command, served
from tests.moto_server import MotoServer
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.real

SHOWS = 'env | grep -E "AWS_|PGPASSWORD|BACKEND" | sort || true'


def keys(url: str, table: str) -> set[str]:
    """Return the keys of Pulumi's files in a table."""
    with psycopg.connect(url) as connection:
        query = sql.SQL("SELECT key FROM {}").format(sql.Identifier(table))
        found = connection.execute(query).fetchall()
    return {str(key) for (key,) in found}


def test_state_in_a_bucket(tmp_path: Path, moto: MotoServer) -> None:
    """Each organization has its part of the bucket; only Pulumi is given the bucket's keys."""
    s3 = moto.client("s3")
    s3.create_bucket(Bucket="states")
    repository = make_repository(tmp_path / "repository")
    endpoint = moto.url.removeprefix("http://")
    backend = f"s3://states/pulumi?region=us-east-1&endpoint={endpoint}&disableSSL=true"
    backend += "&s3ForcePathStyle=true"
    environment = {"AWS_ACCESS_KEY_ID": "AKIA-engine", "AWS_SECRET_ACCESS_KEY": "engine-canary"}
    with served(tmp_path / "engine", "--backend", backend, environment=environment) as engine:
        for organization in ("acme", "globex"):
            api, stack = engine.api(organization), f"{organization}/web/dev"
            for _ in range(2):
                made = api.create(
                    stack,
                    repository,
                    preRunCommands=[SHOWS],
                    environmentVariables={"AWS_ACCESS_KEY_ID": {"secret": "AKIA-program"}},
                )["id"]
                log = "".join(api.log(stack, made)) if api.ended(stack, made) else ""
                assert api.ended(stack, made)["status"] == "succeeded", log
                assert "AWS_ACCESS_KEY_ID=[secret]" in log
                assert "AWS_SHARED_CREDENTIALS_FILE" not in log
                assert "canary" not in log
            shown = api.deployment(stack, made)["configuration"]["environmentVariables"]
            urls = [v["value"] for v in shown if v["name"] == "PULUMI_BACKEND_URL"]
            assert urls[0].startswith(f"s3://states/pulumi/{organization}?")
    objects = {o["Key"] for o in s3.list_objects_v2(Bucket="states")["Contents"]}
    for organization in ("acme", "globex"):
        assert f"pulumi/{organization}/.pulumi/stacks/web/dev.json" in objects
    assert not (tmp_path / "engine" / "backends" / "acme").exists()


def test_state_in_postgres_outlives_a_lost_engine(tmp_path: Path, postgres: PostgresServer) -> None:
    """An engine that was killed in an operation frees its lock there, and nobody else's."""
    url = postgres.make_database("postgres")
    at = urlsplit(url)
    backend = f"postgres://{at.username}@{at.hostname}:{at.port}{at.path}?sslmode=disable"
    environment = {"RECONCILER_BACKEND_PASSWORD": postgres.password}
    gate = Gate(tmp_path / "gate")
    gate.directory.mkdir()
    slow = make_slow_repository(tmp_path / "slow", gate, "thing")
    quick, data, stack = make_repository(tmp_path / "quick"), tmp_path / "engine", "acme/web/dev"
    options = ("--backend", backend, "--allow-write", str(gate.directory))
    with served(data, *options, environment=environment) as engine:
        made = engine.api().create(stack, slow, options=NO_INSTALL)["id"]
        gate.begun("thing")
        locks = {key for key in keys(url, "pulumi_state_acme") if "/locks/" in key}
        assert len(locks) == 1
        engine.process.kill()
        engine.process.wait()
    gate.open("thing")
    with served(data, *options, environment=environment) as engine:
        api = engine.api()
        ended = api.ended(stack, made)
        assert ended["ending"]["kind"] == "interrupted"
        assert "the stack's lock was freed" in "".join(api.log(stack, made))
        assert not {key for key in keys(url, "pulumi_state_acme") if "/locks/" in key}
        again = api.create(stack, quick, preRunCommands=[SHOWS])["id"]
        log = "".join(api.log(stack, again)) if api.ended(stack, again) else ""
        assert api.ended(stack, again)["status"] == "succeeded", log
        assert "PGPASSWORD" not in log
        assert "table=pulumi_state_acme" in log
        assert postgres.password not in log
    for path in (*data.rglob("*"), data.with_name("engine.err")):
        if path.is_file():
            assert postgres.password.encode() not in path.read_bytes(), path


def test_somebody_else_s_lock_stays(tmp_path: Path, postgres: PostgresServer) -> None:
    """On a stack that somebody holds the operation fails by Pulumi's words, and the lock stays."""
    url = postgres.make_database("postgres")
    at = urlsplit(url)
    backend = f"postgres://{at.username}@{at.hostname}:{at.port}{at.path}?sslmode=disable"
    environment = {"PGPASSWORD": postgres.password}
    repository, stack = make_repository(tmp_path / "repository"), "acme/web/dev"
    # Pulumi takes the database's name for a folder.
    lock = f"{at.path[1:]}/.pulumi/locks/organization/web/dev/theirs.json"
    with served(tmp_path / "engine", "--backend", backend, environment=environment) as engine:
        api = engine.api()
        made = api.create(stack, repository)["id"]
        assert api.ended(stack, made)["status"] == "succeeded", api.log(stack, made)
        content = (
            '{"data": "eyJwaWQiOjEsInVzZXJuYW1lIjoiYW5uIiwiaG9zdG5hbWUiOiJoIiwidGltZXN0YW1wIjoi'
            'MjAyNi0xMS0yN1QxMjowMDowMFoifQ=="}'
        )
        with psycopg.connect(url) as connection:
            insert = "INSERT INTO pulumi_state_acme (key, data) VALUES (%s, %s)"
            connection.execute(insert, (lock, content))
        made = api.create(stack, repository)["id"]
        assert api.ended(stack, made)["status"] == "failed"
        assert "currently locked by 1 lock" in "".join(api.log(stack, made))
    assert lock in keys(url, "pulumi_state_acme")


def test_a_backend_that_cannot_be_is_refused_at_the_start(tmp_path: Path) -> None:
    """A password in the arguments and an unknown kind end the start, with what would be right."""
    said = command(
        "serve", "--listen", "127.0.0.1:0", "--backend", "postgres://u:canary@h/d",
        data=tmp_path / "engine", code=2,
    )  # fmt: skip
    assert "RECONCILER_BACKEND_PASSWORD" in said
    assert "canary" not in said
