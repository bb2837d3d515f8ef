"""Fixtures of tests of whole daemons."""

from __future__ import annotations

from support.served import make_daemon, open_daemon

__all__ = ["make_daemon", "open_daemon"]
