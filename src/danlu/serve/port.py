"""A server's port: had before the model is read, so that a server that cannot have it says so at once."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

import psutil

from danlu.base.errors import UserError


def listening(host: str, port: int, another: str = "--port 0 takes a free one") -> socket.socket:
    """Return a socket that listens at a place; who comes before the server runs waits for it.

    `another` says how another port is had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as unless_had:
        try:
            # asyncio sends small pieces at once only where it sees that this is TCP; else each token may
            # wait 40 ms.
            found = unless_had.enter_context(socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP))
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((host, port))
            found.listen()  # or another server could take the same port meanwhile
        except (OSError, OverflowError) as error:
            raise _refused(host, port, another, error) from None
        unless_had.pop_all()
        return found


def _refused(host: str, port: int, another: str, error: OSError | OverflowError) -> UserError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        who = _listener(port)
        return UserError(
            f"port {port} of {host} is in use" + (f" by {who}" if who else ""),
            f"{another}; or end that process, if it is yours",
        )
    if number in (errno.EACCES, errno.EPERM):
        return UserError(
            f"port {port}: the system does not let you have it", "a port from 1024 on: --port 8000"
        )
    if isinstance(error, socket.gaierror) or number in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return UserError(
            f"--host: '{host}' is no address of this host", "127.0.0.1, or 0.0.0.0 for all of them"
        )
    return UserError(f"cannot listen on {host}, port {port}: {error}", "another --host or --port")


def _listener(port: int) -> str:
    """Return who listens on a port, as far as the system tells."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listens and connection.pid:
                own = " (you)" if connection.pid == os.getpid() else ""
                return f"{psutil.Process(connection.pid).name()}, process {connection.pid}{own}"
    return ""
