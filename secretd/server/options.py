"""What the command line tells the daemon. Built by ``cli/server.py`` and ``cli/audit.py`` only.

Nothing is checked here beyond the shape: the daemon's configuration refuses with a key and a hint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secretd.sdk.fields import Sensitive

if TYPE_CHECKING:
    from pathlib import Path

DEV_LISTEN_ADDRESS = "127.0.0.1:8200"


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """``secretd server``: exactly one of ``config`` and ``dev`` is set.

    ``is_check`` validates ``config`` and ends. ``storage`` (a URL, it may hold a password) and ``data``
    (a folder for the embedded database; None: a temporary one) belong to dev mode, as do the
    root token (None: a random one) and the listen address (``HOST:PORT``).
    """

    config: Path | None = None
    is_check: bool = False
    dev: bool = False
    dev_root_token_id: Sensitive | None = None
    dev_listen_address: str = DEV_LISTEN_ADDRESS
    storage: Sensitive | None = None
    data: Path | None = None


@dataclass(frozen=True, kw_only=True)
class MigrateOptions:
    """``secretd migrate``: exactly one of ``config`` and ``storage`` is set."""

    config: Path | None = None
    storage: Sensitive | None = None
    print_sql: bool = False


@dataclass(frozen=True, kw_only=True)
class AuditVerifyOptions:
    """``secretd audit verify FILE``; the chain key and the heads come from ``config`` or ``storage``."""

    file: Path
    config: Path | None = None
    storage: Sensitive | None = None


def sensitive(value: str | None) -> Sensitive | None:
    """Hide an option that may hold a password or a token."""
    return None if value is None else Sensitive(value)
