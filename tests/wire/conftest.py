"""Fixtures of tests over the wire: a daemon in dev mode that this worker's tests share."""

from __future__ import annotations

from support.served import dev_daemon, make_daemon, open_daemon

__all__ = ["dev_daemon", "make_daemon", "open_daemon"]
