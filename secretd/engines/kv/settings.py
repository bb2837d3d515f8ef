"""The settings of a KV v2 mount."""

from __future__ import annotations

from msgspec import UNSET

from secretd.engines.kv.schemas import Settings
from secretd.engines.kv.secret import CONFIG_KEY, Config, Secret
from secretd.engines.kv.shelf import find_config
from secretd.sdk.fields import go_duration
from secretd.sdk.path import Nothing
from secretd.sdk.request import Call
from secretd.sdk.response import Response
from secretd.sdk.storage import save


async def read(call: Call, fields: Nothing) -> Response:
    """Read what the mount wants of all its secrets."""
    config = await find_config(call.view)
    return Response(
        data={
            "cas_required": config.cas_required,
            "delete_version_after": go_duration(config.delete_version_after),
            "max_versions": config.max_versions,
            "metadata_cas_required": config.metadata_cas_required,
        }
    )


async def write(call: Call, fields: Settings) -> None:
    """Change what the mount wants of all its secrets. A negative ``delete_version_after``: versions live on."""
    async with call.view.transaction() as view:
        config = await find_config(view)
        apply(fields, config)
        await save(view, CONFIG_KEY, config)


def apply(fields: Settings, target: Config | Secret) -> None:
    """Take over what was said; null is the default again."""
    if fields.max_versions is not UNSET:
        target.max_versions = fields.max_versions or 0
    if fields.cas_required is not UNSET:
        target.cas_required = bool(fields.cas_required)
    if fields.delete_version_after is not UNSET:
        target.delete_version_after = int(fields.delete_version_after or 0)
    if fields.metadata_cas_required is not UNSET:
        target.metadata_cas_required = bool(fields.metadata_cas_required)
