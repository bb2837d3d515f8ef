"""Telling systemd how the daemon is, where it asks: one datagram to the socket that it names."""

from __future__ import annotations

import socket
from collections.abc import Mapping


def notify(state: str, *, environ: Mapping[str, str]) -> bool:
    """Send ``READY=1``, ``RELOADING=1``, ``STOPPING=1`` or ``STATUS=…``; whether it was taken. Never raises.

    ``environ`` is the process's (``NOTIFY_SOCKET``); without a socket in it nothing happens.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)  # a full or dead manager must not stop the daemon
            sender.connect(address)
            sender.send(state.encode())
    except OSError:
        return False
    return True
