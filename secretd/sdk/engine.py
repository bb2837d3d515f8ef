"""What an engine is, and what core lends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from secretd.sdk.clock import Clock
from secretd.sdk.fields import Sensitive
from secretd.sdk.plugin import DatabasePlugin
from secretd.sdk.storage import View

if TYPE_CHECKING:
    from secretd.sdk.path import Path
    from secretd.sdk.secret_type import SecretType


@dataclass(slots=True, frozen=True)
class Mount:
    """An engine at a prefix, as its calls see it. ``path`` ends in ``/``; spans are seconds."""

    id: str
    path: str
    accessor: str
    type: str
    default_lease_ttl: int
    max_lease_ttl: int
    options: dict[str, str] = field(default_factory=dict)


class System(Protocol):
    """What core lends to engines."""

    clock: Clock

    def database_plugin(self, name: str) -> DatabasePlugin:
        """The plugin of that name, behind its child process. InvalidRequestError if not allowed."""

    async def storage_clock_offset(self) -> float:
        """Seconds by which storage's clock is ahead of this machine's (measured, cached for a minute)."""

    async def generate_password(self, policy: str) -> Sensitive:
        """By a password policy's name; InvalidRequestError if there is none."""

    async def password_bits(self, policy: str) -> float:
        """Entropy that the policy's passwords have at least."""

    async def count_leases(self, mount: Mount, *, target: str = "", role: str = "") -> int:
        """Leases of the mount that are not over."""


@dataclass(slots=True, frozen=True)
class Timer:
    """Timed work of every mount of an engine: run when due, rescheduled ``interval`` seconds later."""

    name: str
    interval: int
    run: Callable[[System, View, Mount], Awaitable[None]]


@dataclass(slots=True, frozen=True)
class Engine:
    """An engine or auth method: data first. ``open_paths`` of an auth method are its logins.

    ``started`` runs once when a mount is made (defaults into its storage), inside the mounting request.
    """

    type: str
    kind: Literal["secret", "auth", "system"]
    paths: tuple[Path, ...]
    secrets: tuple[SecretType, ...] = ()
    timers: tuple[Timer, ...] = ()
    help: str = ""
    started: Callable[[System, View, Mount], Awaitable[None]] | None = None
