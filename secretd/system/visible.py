"""``sys/internal/ui/mounts``: the mounts that a token may see. Every ``bao kv`` command asks it first.

No policy needs to name these paths: whoever may do something below a mount may know that it is there. So the rows
are open, and the token is judged here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from secretd.core.mounts.model import MountRecord
from secretd.core.parts import Parts
from secretd.core.policy.acl import Acl
from secretd.sdk.errors import NoHandlerError, PermissionDeniedError
from secretd.sdk.path import Nothing, Path
from secretd.sdk.request import READ, Call
from secretd.sdk.response import Response
from secretd.system.call import system_call
from secretd.system.mount_fields import shown_mount

_AUTH = "auth/"


class PlaceFields(msgspec.Struct):
    """A path below some mount."""

    path: str


def paths(parts: Parts) -> tuple[Path, ...]:
    """The table."""
    visible = Visible(parts)
    return (
        Path(READ, "internal/ui/mounts", Nothing, visible.list_all, open=True),
        Path(READ, "internal/ui/mounts/{path*}", PlaceFields, visible.read, open=True),
    )


class Visible:
    """What a token may know of mounts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def list_all(self, call: Call, fields: Nothing) -> Response:
        """List the mounts below which the token may do something; without one, those that are shown to all."""
        acl = await self._acl(call)
        found: dict[str, dict[str, Any]] = {"secret": {}, "auth": {}}
        for route in self._parts.caches.router.routes:
            record = route.record
            shown = self._shown(record, acl)
            if shown is not None:
                kind = "auth" if record.path.startswith(_AUTH) else "secret"
                found[kind][record.path.removeprefix(_AUTH)] = shown
        return Response(data=found)

    async def read(self, call: Call, fields: PlaceFields) -> Response:
        """Read which mount a path is at; 403 without any right below it, whether it is there or not."""
        acl = await self._acl(call)
        if acl is None:
            raise PermissionDeniedError
        try:
            route, _ = self._parts.caches.router.find(fields.path)
        except NoHandlerError:
            route = None
        if route is None or not acl.sees_mount(route.record.path):
            raise PermissionDeniedError(
                "preflight capability check returned 403, please ensure client's policies grant access to the path"
            )
        data = shown_mount(route.record, version=self._parts.about.version)
        return Response(data={**data, "path": route.record.path.removeprefix(_AUTH)})

    async def _acl(self, call: Call) -> Acl | None:
        token = system_call(call).request.token
        if token is None:
            return None
        row = await self._parts.tokens.find(self._parts.keys.hash_token(token.reveal()))
        if row is None:
            raise PermissionDeniedError
        return await self._parts.policies.acl(row.policies)

    def _shown(self, record: MountRecord, acl: Acl | None) -> dict[str, Any] | None:
        if acl is not None and acl.sees_mount(record.path):
            return shown_mount(record, version=self._parts.about.version)
        if record.config.listing_visibility == "unauth":
            config = record.config
            return {"type": record.type, "description": config.description, "options": config.options}
        return None
