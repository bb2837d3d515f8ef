"""``sys/audit``: where requests are recorded. The configuration's devices are seen here and changed there."""

from __future__ import annotations

from typing import Any

import msgspec

from secretd.core.parts import Parts
from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Sensitive
from secretd.sdk.path import Nothing, Path
from secretd.sdk.request import DELETE, READ, UPDATE, Call
from secretd.sdk.response import Response


class DeviceFields(msgspec.Struct):
    """A device by its path."""

    path: str


class EnableFields(msgspec.Struct):
    """A device to make."""

    path: str
    type: str = ""
    description: str = ""
    options: dict[str, Any] | None = None
    local: bool = False


class HashFields(msgspec.Struct):
    """A device, and what its entries hide."""

    path: str
    input: Sensitive | None = None


def paths(parts: Parts) -> tuple[Path, ...]:
    """The table."""
    devices = Devices(parts)
    return (
        Path(READ, "audit", Nothing, devices.list_all, sudo=True),
        Path(UPDATE, "audit/{path*}", EnableFields, devices.enable, sudo=True),
        Path(DELETE, "audit/{path*}", DeviceFields, devices.disable, sudo=True),
        Path(UPDATE, "audit-hash/{path*}", HashFields, devices.hash_text),
    )


class Devices:
    """Audit devices of the configuration and of the API."""

    def __init__(self, parts: Parts) -> None:
        self._audit = parts.audit

    async def list_all(self, call: Call, fields: Nothing) -> Response:
        """List the audit devices."""
        broker, _ = self._audit.tools()
        return Response(data={spec.path: spec.describe() for spec in broker.devices()})

    async def enable(self, call: Call, fields: EnableFields) -> None:
        """Make a file device below the folder that the configuration sets. It records when this answers."""
        options = {name: str(value) for name, value in (fields.options or {}).items()}
        await self._audit.enable(
            fields.path, kind=fields.type, options=options, description=fields.description
        )

    async def disable(self, call: Call, fields: DeviceFields) -> None:
        """Remove a device that the API made; its file stays."""
        await self._audit.disable(fields.path)

    async def hash_text(self, call: Call, fields: HashFields) -> Response:
        """What an entry of a device shows instead of a value, to search for it."""
        if not fields.input:
            raise InvalidRequestError('the "input" parameter is empty')
        broker, _ = self._audit.tools()
        return Response(data={"hash": broker.hash_text(fields.path, fields.input.reveal())}, spread=True)
