"""Where a device's file is, and how it is opened so that no name leads anywhere else.

Only the configuration names a folder. What an API names is walked component by component below that folder
with O_NOFOLLOW, so that neither `..` nor a symlink put there meanwhile leads out (CVE-2025-6000).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from secretd.sdk.errors import InvalidRequestError

Fsync = Literal["none", "group"]
LOCAL_TYPES = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
# For writing at the end and reading the tail; non-blocking because a FIFO must not hang us.
_FILE_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
# What clients send although it is the default; any other value or option is refused.
_HARMLESS = {"log_raw": "false", "hmac_accessor": "true", "format": "json"}


@dataclass(slots=True, frozen=True)
class DeviceSpec:
    """An audit device: ``path`` is its name in `sys/audit`, ending in ``/``; ``file_path`` is absolute.

    ``folder`` is set for a device made by the API: nothing below that folder is followed through symlinks.
    """

    path: str
    file_path: str
    required: bool = False
    fsync: Fsync = "none"
    description: str = ""
    folder: str = ""
    type: str = "file"

    def describe(self) -> dict[str, object]:
        """The device as `sys/audit` lists it."""
        options = {"file_path": self.file_path}
        return {
            "path": self.path,
            "type": self.type,
            "description": self.description,
            "options": options,
            "local": not self.folder,
        }


def api_device(
    path: str, *, kind: str, options: Mapping[str, object], description: str = "", folder: str = ""
) -> DeviceSpec:
    """The device that a `sys/audit/{path}` call asks for. InvalidRequestError for all that it may not ask."""
    if kind != "file":
        raise InvalidRequestError("unknown audit backend: the type is not one of: file")
    if not folder:
        raise InvalidRequestError(
            "audit devices by API are refused: audit_api_dir is not set",
            hint="add an [[audit]] table to the configuration, or set audit_api_dir",
        )
    name = path.strip("/")
    if not all(_PART.match(part) for part in name.split("/")):
        raise InvalidRequestError("the device's path has letters, digits, '_', '-', '.' and '/'")
    return DeviceSpec(
        path=name + "/", file_path=_api_file(options, folder), description=description, folder=folder
    )


def _api_file(options: Mapping[str, object], folder: str) -> str:
    for name, value in options.items():
        if name not in ("file_path", "path") and str(value).lower() != _HARMLESS.get(name):
            raise InvalidRequestError("a file device takes the option file_path and no other")
    file_path = options.get("file_path", options.get("path"))
    if not isinstance(file_path, str) or not file_path:
        raise InvalidRequestError("the option file_path is missing")
    root = folder.rstrip("/") + "/"
    below = file_path[len(root) :] if file_path.startswith(root) else ""
    if not below or not all(_PART.match(part) for part in below.split("/")):
        raise InvalidRequestError(
            "file_path is not below audit_api_dir",
            hint="name an absolute path without '.', '..' or empty parts, below the folder that the configuration sets",
        )
    return file_path


def open_file(spec: DeviceSpec) -> int:
    """A descriptor that appends to the device's file, which is made 0600 (folders 0700) if absent.

    OSError if that fails, if a symlink is in the way, if it is no regular file, or if another process
    has it: two writers would tear each other's chain.
    """
    folder = _open_folder(spec)
    try:
        descriptor = _open_name(Path(spec.file_path).name, folder)
    finally:
        os.close(folder)
    try:
        _require_ours(descriptor, spec)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _open_folder(spec: DeviceSpec) -> int:
    parent = Path(spec.file_path).parent
    if not spec.folder:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(parent, _FOLDER_FLAGS)
    folder = os.open(spec.folder, _FOLDER_FLAGS)
    for part in parent.relative_to(spec.folder).parts:
        try:
            below = _enter(part, folder)
        finally:
            os.close(folder)
        folder = below
    return folder


def _enter(part: str, folder: int) -> int:
    with contextlib.suppress(FileExistsError):  # if it is no folder, or a symlink to one, opening fails
        os.mkdir(part, 0o700, dir_fd=folder)
    return os.open(part, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)


def _open_name(name: str, folder: int) -> int:
    try:
        descriptor = os.open(name, _FILE_FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
    except FileExistsError:
        return os.open(name, _FILE_FLAGS, dir_fd=folder)
    os.fchmod(descriptor, 0o600)  # a umask may have taken the owner's own bits
    return descriptor


def _require_ours(descriptor: int, spec: DeviceSpec) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is no regular file")
    if spec.folder and found.st_nlink > 1:
        raise OSError("it has a second name")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError("another writer has it") from None


def file_system(path: str, *, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the file system that a path is on, "" if this machine does not tell."""
    try:
        rows = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    real = os.path.realpath(path)
    for row in rows:
        fields, _, rest = row.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields.split()[4])
        is_above = real == point or real.startswith(point.rstrip("/") + "/")
        if is_above and len(point) >= len(best):
            best, kind = point, rest.split()[0]
    return kind
