from __future__ import annotations

import gc
import socket
import threading
import warnings
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.engine import serving
from reconciler.engine.config import EngineConfig


def test_an_answer_that_nobody_takes_leaves_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that reads nothing is dropped when the server ends."""
    monkeypatch.setattr(serving, "CLOSE_LIMIT_S", 1)
    config = EngineConfig(data=tmp_path, port=0)
    asked = threading.Event()

    async def large(_: Request) -> Response:
        asked.set()
        return Response(b"x" * 50_000_000)

    app = Starlette(routes=[Route("/", large)])
    gc.collect()
    with serving.listen(config) as listener, socket.socket() as client:
        with serving.answering(app, listener, config):
            client.connect(listener.getsockname())
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert asked.wait(30)
            assert client.recv(1) == b"H"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            gc.collect()
    assert [str(w.message) for w in caught] == []


def test_answers_do_not_wait_for_their_first_part(tmp_path: Path) -> None:
    """Connections send at once what there is to send, so that no answer is 40 ms late."""
    with serving.listen(EngineConfig(data=tmp_path, port=0)) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_loop_that_hangs_takes_no_turn(tmp_path: Path) -> None:
    """A server whose loop is held up by anything says so, and that it turns again."""
    config = EngineConfig(data=tmp_path, port=0)
    held, go_on = threading.Event(), threading.Event()

    async def hang(_: Request) -> Response:
        held.set()
        go_on.wait(60)  # on purpose: a loop must not wait like this
        return Response(b"")

    app = Starlette(routes=[Route("/", hang)])
    with serving.listen(config) as listener, socket.socket() as client:
        with serving.answering(app, listener, config) as turns:
            assert turns(30)
            client.connect(listener.getsockname())
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert held.wait(30)
            assert not turns(0.2)
            go_on.set()
            assert turns(30)
        assert not turns(0.2)
