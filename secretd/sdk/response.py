"""What an engine answers. The envelope around it is made in ``http/envelope.py``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Auth:
    """A login that succeeded: what token to make. Spans are seconds; 0 = not set."""

    display_name: str
    policies: tuple[str, ...] = ()
    ttl: int = 0
    max_ttl: int = 0
    explicit_max_ttl: int = 0
    period: int = 0
    num_uses: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    no_default_policy: bool = False
    renewable: bool = True
    role_key: str = ""  # the view key of the role; FOR SHARE while the token is born, "" = none
    alias_name: str = ""


@dataclass(slots=True)
class LeaseGrant:
    """The lease of an answer, as core registered it."""

    id: str
    duration: int
    renewable: bool


@dataclass(slots=True)
class TokenGrant:
    """The token of an answer, as core made it; ``client_token`` is its only appearance in clear."""

    client_token: str
    accessor: str
    policies: tuple[str, ...]
    token_policies: tuple[str, ...]
    metadata: dict[str, str]
    lease_duration: int
    renewable: bool
    entity_id: str = ""
    token_type: str = "service"  # noqa: S105 -- a kind, not a secret
    orphan: bool = True
    num_uses: int = 0
    identity_policies: tuple[str, ...] = ()
    is_new: bool = True  # born by this request; False: renewed, somebody holds it already


@dataclass(slots=True)
class Response:
    """An answer. ``data`` goes into the envelope; ``spread`` also puts it at top level (``sys/mounts``).

    ``body`` replaces the envelope altogether (``sys/health``); ``status`` replaces 200. A response with
    neither data, body, lease nor auth is a 204. ``raw`` is a body that is no JSON (metrics), with its type.
    """

    data: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    lease: LeaseGrant | None = None
    login: Auth | None = None  # an auth method's wish; core turns it into ``auth``
    auth: TokenGrant | None = None
    lease_duration: int = 0  # a hint without a lease (KV v1)
    spread: bool = False
    body: dict[str, Any] | None = None
    status: int | None = None
    raw: tuple[bytes, str] | None = None
    sensitive_fields: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be said: a 204."""
        return (
            self.data is None
            and self.body is None
            and self.raw is None
            and self.lease is None
            and self.auth is None
            and not self.warnings
        )


def names(found: list[str], *, info: dict[str, Any] | None = None) -> Response:
    """A LIST's answer; an empty list becomes a 404 with no errors at the edge."""
    data: dict[str, Any] = {"keys": found}
    if info:
        data["key_info"] = info
    return Response(data=data)
