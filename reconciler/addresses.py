"""Where to listen, and who is reached there: this machine alone, or others as well."""

from __future__ import annotations

from reconciler.errors import UsageError

__all__ = ["is_loopback", "parse"]

LARGEST_PORT = 65535


def parse(text: str, option: str, example: str, *, names: bool = False) -> tuple[str, int]:
    """Read the value of an option that says where to listen, such as 127.0.0.1:80 or [::1]:80.

    With `names`, a host's name will do. UsageError names the option, and an example of it.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    right = bool(colon and host) and port.isascii() and port.isdigit()
    if not right or int(port[:6]) > LARGEST_PORT or not (names or _is_address(host)):
        raise UsageError(f"{option} {text!r} is no address and port such as {example}")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether a host, by its address without brackets or its name, is this machine alone."""
    from ipaddress import ip_address  # noqa: PLC0415 - rarely used

    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    from ipaddress import ip_address  # noqa: PLC0415 - rarely used

    try:
        ip_address(host)
    except ValueError:
        return False
    return True
