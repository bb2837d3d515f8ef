"""The fields of KV's paths. Data of callers is in no repr."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secretd.sdk.fields import Duration

Versions = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class Named(msgspec.Struct):
    """A secret's path; "" is the root of the mount."""

    path: str


class Chosen(Named):
    """``version``: which one; 0 = the current one."""

    version: int = 0


class Outline(Chosen):
    """``depth``: levels of objects to show; 0 = all."""

    depth: int = 0


class Content(Named):
    """``data``: the secret, an object. ``options``: ``cas``, the version that must be the current one."""

    data: dict[str, Any] | None = None
    options: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def __rich_repr__(self) -> list[Any]:
        return []


class Numbers(Named):
    """``versions``: a list of numbers, one number, or comma-separated text."""

    versions: list[int] | int | str | None = None


class Settings(msgspec.Struct):
    """What a mount, or one secret, wants of its versions. Absent: unchanged; null: back to the default."""

    max_versions: Versions | UnsetType | None = UNSET
    cas_required: bool | UnsetType | None = UNSET
    delete_version_after: Duration | UnsetType | None = UNSET
    metadata_cas_required: bool | UnsetType | None = UNSET


class Metadata(Settings, kw_only=True):
    """Settings of one secret, and words of its owner's own (not secret, at most 64)."""

    path: str
    custom_metadata: dict[str, Any] | UnsetType | None = UNSET
    metadata_cas: int | UnsetType | None = UNSET
