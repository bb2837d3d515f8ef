"""``sys/internal/specs/openapi``: the interface as a document, of the mounts that the token may see."""

from __future__ import annotations

import msgspec

from secretd.core.helptext import openapi
from secretd.core.parts import Parts
from secretd.sdk.path import Path
from secretd.sdk.request import READ, UPDATE, Call
from secretd.sdk.response import Response
from secretd.system.call import own_acl


class SpecFields(msgspec.Struct):
    """What Vault's clients say and we do the same for."""

    generic_mount_paths: bool = False
    context: str = ""


def paths(parts: Parts) -> tuple[Path, ...]:
    """The table."""
    specs = Specs(parts)
    return (
        Path(READ, "internal/specs/openapi", SpecFields, specs.read),
        Path(UPDATE, "internal/specs/openapi", SpecFields, specs.read),
    )


class Specs:
    """Describes mounts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def read(self, call: Call, fields: SpecFields) -> Response:
        """Read the OpenAPI document of every mount below which the token may do something."""
        acl = own_acl(call)
        routes = [route for route in self._parts.caches.router.routes if acl.sees_mount(route.record.path)]
        return Response(body=openapi(routes, version=self._parts.about.version))
