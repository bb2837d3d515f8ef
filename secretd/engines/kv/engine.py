"""KV: secrets that people bring. ``KV2`` keeps versions, ``KV1`` does not; a mount's options choose."""

from __future__ import annotations

from secretd.engines.kv import data, metadata, misplaced, settings, subkeys, v1, versions
from secretd.engines.kv.schemas import Chosen, Content, Metadata, Named, Numbers, Outline, Settings
from secretd.engines.kv.shelf import exists
from secretd.sdk.engine import Engine
from secretd.sdk.path import Nothing, Path
from secretd.sdk.request import DELETE, LIST, PATCH, READ, UPDATE

LARGE = 1 << 28  # bytes: the server's own limit is the one that binds

PATHS_1 = (
    Path(READ, "{path*}", Named, v1.read),
    Path(UPDATE, "{path*}", Named, v1.write, exists=v1.exists, takes_any=True, max_bytes=LARGE),
    Path(DELETE, "{path*}", Named, v1.delete),
    Path(LIST, "{path*}", Named, v1.list_names),
)

PATHS_2 = (
    Path(READ, "config", Nothing, settings.read),
    Path(UPDATE, "config", Settings, settings.write),
    Path(READ, "data/{path*}", Chosen, data.read),
    Path(UPDATE, "data/{path*}", Content, data.write, exists=exists, max_bytes=LARGE),
    Path(PATCH, "data/{path*}", Content, data.patch, max_bytes=LARGE),
    Path(DELETE, "data/{path*}", Named, data.delete),
    Path(UPDATE, "delete/{path*}", Numbers, versions.delete),
    Path(UPDATE, "undelete/{path*}", Numbers, versions.undelete),
    Path(UPDATE, "destroy/{path*}", Numbers, versions.destroy),
    Path(READ, "metadata/{path*}", Named, metadata.read),
    Path(UPDATE, "metadata/{path*}", Metadata, metadata.write, exists=exists),
    Path(PATCH, "metadata/{path*}", Metadata, metadata.patch),
    Path(DELETE, "metadata/{path*}", Named, metadata.delete),
    Path(LIST, "metadata/{path*}", Named, metadata.list_names),
    Path(LIST, "metadata", Nothing, metadata.list_root),
    Path(READ, "subkeys/{path*}", Outline, subkeys.read),
    # Last: what fits no row above was meant for KV v1.
    Path(READ, "{path*}", Named, misplaced.answer, takes_any=True),
    Path(UPDATE, "{path*}", Named, misplaced.answer, takes_any=True),
    Path(PATCH, "{path*}", Named, misplaced.answer, takes_any=True),
    Path(DELETE, "{path*}", Named, misplaced.answer, takes_any=True),
    Path(LIST, "{path*}", Named, misplaced.answer, takes_any=True),
)

KV1 = Engine(type="kv", kind="secret", paths=PATHS_1, help="Secrets at paths, without versions.")
KV2 = Engine(type="kv", kind="secret", paths=PATHS_2, help="Secrets at paths, with versions.")
