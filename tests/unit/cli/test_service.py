"""The daemon's service: how it is ended before it is one, and after."""

from __future__ import annotations

import pytest

from reconciler.cli.service import Service
from reconciler.sdnotify import ServiceManager
from tests.factories import spec
from tests.fakes.world import World


def test_a_ctrl_c_that_python_swallows_is_not_lost() -> None:
    """An interrupt before the loop ends the start, at the latest where the loop would begin."""
    service = Service(ServiceManager.of({}))
    service.begin()
    with pytest.raises(KeyboardInterrupt):
        service.interrupt()
    with pytest.raises(KeyboardInterrupt):
        service.begin()


def test_a_stop_ends_the_loop() -> None:
    """Once it is a daemon a signal stops it, and nothing is raised."""
    daemon = World(specs={"web": spec("web")}).daemon()
    service = Service(ServiceManager.of({}))
    service.follow(daemon)
    service.stop()
    assert daemon.stopped
