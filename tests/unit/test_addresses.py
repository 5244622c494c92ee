"""Where to listen, and whether that is this machine alone."""

import pytest

from reconciler.addresses import is_loopback, parse
from reconciler.errors import UsageError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:0", ("::1", 0)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),  # noqa: S104 - read, not listened at
    ],
)
def test_an_address_with_its_port(text: str, found: tuple[str, int]) -> None:
    """Of an IPv6 address the brackets are left out."""
    assert parse(text, "--metrics", "…") == found


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "here:80"),
        *("127.0.0.1:" + "9" * 5000, "127.0.0.1:٣", "127.0.0.1:8_0", "[]:80"),
    ],
)
def test_what_is_none_is_refused_with_an_example(text: str) -> None:
    """The message names the option, what was given, and what would do."""
    with pytest.raises(UsageError, match=r"--metrics .* such as 127\.0\.0\.1:9464"):
        parse(text, "--metrics", "127.0.0.1:9464")


def test_a_name_only_where_names_will_do() -> None:
    """An engine may listen at a host's name."""
    assert parse("localhost:80", "--listen", "…", names=True) == ("localhost", 80)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_alone(host: str) -> None:
    """Nobody else reaches these."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.x"])  # noqa: S104
def test_others_as_well(host: str) -> None:
    """A name is taken for what it may lead to."""
    assert not is_loopback(host)
