"""What a caller wants: a request as the pipeline sees it, and a call as an engine sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secretd.sdk.engine import Mount, System
    from secretd.sdk.fields import Sensitive
    from secretd.sdk.storage import View


class Operation(StrEnum):
    """What is asked of a path. CREATE is an UPDATE of something that is not there yet."""

    CREATE = "create"
    READ = "read"
    UPDATE = "update"
    PATCH = "patch"
    DELETE = "delete"
    LIST = "list"
    HELP = "help"


CREATE, READ, UPDATE, PATCH = Operation.CREATE, Operation.READ, Operation.UPDATE, Operation.PATCH
DELETE, LIST, HELP = Operation.DELETE, Operation.LIST, Operation.HELP
ROOT_NAMESPACE = ""


@dataclass(slots=True)
class Request:
    """One request after decoding. ``path`` is canonical, without ``/v1/`` and without a leading slash.

    The pipeline alone sees ``token``; engines get a :class:`Call`.
    """

    id: str
    operation: Operation
    path: str
    data: dict[str, Any] = field(default_factory=dict)
    token: Sensitive | None = None
    client_address: str = ""
    namespace: str = ROOT_NAMESPACE
    wrap_ttl: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    peer_certificates: tuple[bytes, ...] = ()
    list_pages: tuple[str, int] = ("", 0)  # after, limit (0 = all)


@dataclass(slots=True, frozen=True)
class Caller:
    """Who calls, as far as an engine may know. ``token_key`` names a token's cubbyhole, not the token."""

    display_name: str = ""
    accessor: str = ""
    entity_id: str = ""
    token_key: str = ""
    policies: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_root: bool = False


ANONYMOUS = Caller()


@dataclass(slots=True)
class Call:
    """A request at an engine's door: ``path`` is relative to the mount, ``view`` is its own storage."""

    request_id: str
    operation: Operation
    path: str
    data: dict[str, Any]
    caller: Caller
    client_address: str
    mount: Mount
    view: View
    system: System
    warnings: list[str] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    peer_certificates: tuple[bytes, ...] = ()
    list_pages: tuple[str, int] = ("", 0)

    def warn(self, sentence: str) -> None:
        """Add a line to the answer's ``warnings``."""
        self.warnings.append(sentence)
