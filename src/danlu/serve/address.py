"""Where a server is reached, and whether that asks for a key. Both servers want the same."""

from __future__ import annotations

import contextlib
import ipaddress
import os

from danlu.base.errors import UserError

KEY = "DANLU_API_KEY"


def keys_around() -> tuple[str, ...]:
    """Return the keys that the environment holds, several with commas: each of them opens."""
    return tuple(filter(None, map(str.strip, os.environ.get(KEY, "").split(","))))


def first_key() -> str:
    """Return one of them for who asks, "" where there is none."""
    return next(iter(keys_around()), "")


def need_key(host: str, keyed: bool, insecure: bool) -> None:
    """Refuse to be reached from elsewhere without a key; in a container, where its port is published."""
    reached = os.environ.get("DANLU_PUBLISHED") or host
    if not loopback(reached) and not keyed and not insecure:
        raise UserError(
            f"--host {reached}: anybody who reaches this host could use the server",
            f"--api-key KEY (or {KEY}=KEY in the environment), or --insecure if that is meant",
        )


def loopback(host: str) -> bool:
    """Say whether only this host can reach an address.

    >>> loopback("localhost"), loopback("127.0.0.2"), loopback("::1"), loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def literal(host: str) -> str:
    """Return the address that servers take `localhost` for; any other host as it is."""
    return "127.0.0.1" if host == "localhost" else host


def bracketed(host: str) -> str:
    """Return a host as it is written before a port.

    >>> bracketed("127.0.0.1"), bracketed("::1")
    ('127.0.0.1', '[::1]')
    """
    return f"[{host}]" if ":" in host else host


def url(host: str, port: int) -> str:
    """Return where a server that listens there is asked from here: of all addresses, at the loopback.

    >>> url("0.0.0.0", 80), url("::", 80), url("10.0.0.1", 80)
    ('http://127.0.0.1:80', 'http://[::1]:80', 'http://10.0.0.1:80')
    """
    host = literal(host)
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://{bracketed(host)}:{port}"
