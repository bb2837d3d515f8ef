"""Tables of TOML become Structs; whatever does not fit is a ConfigError with the key's name and a hint.

A message never repeats a value: what stands under a mistyped key may be a secret. msgspec's own messages
are thrown away for that reason, and because they name no key as the file does.

======================  ===========================================================================
a secret value          is
======================  ===========================================================================
``file:PATH``           the file's content
``cred:NAME``           a systemd credential, from ``$CREDENTIALS_DIRECTORY``
``env:NAME``            an environment variable; children and crash reports see those, so it warns
anything else           itself, where the key takes plain text (``storage.url``)
======================  ===========================================================================
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import inspect

from secretd.crypto.seal import parse_static_key
from secretd.sdk.errors import ConfigError
from secretd.sdk.fields import Duration, Sensitive
from secretd.server.config_schema import ListenAddress, Networks, Section, StaticKey

SectionT = TypeVar("SectionT", bound=Section)
_SOURCE = re.compile(r"(file|cred|env):(.*)\Z", re.DOTALL)
_SOURCES_HINT = "name a source: file:PATH, cred:NAME or env:NAME"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_KEY = re.compile(r"[A-Za-z0-9_-]{1,40}\Z")
_MAX_SECRET = 64 * 1024  # bytes
_WANTED: Mapping[object, str] = {
    Duration: 'a number of seconds or text like "90s" or "1h30m" is wanted',
    Networks: 'a list of networks is wanted, as in ["10.0.0.0/8", "fd00::/8"]',
    ListenAddress: 'HOST:PORT, "[::1]:8200" or "unix:/run/secretd.sock" is wanted',
}


class Reader:
    """Reads tables, relative paths from ``folder``, and collects what to warn about in ``warnings``."""

    def __init__(self, *, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self.warnings: list[str] = []

    def read_table(self, kind: type[SectionT], table: object, *, name: str, note: str = "") -> SectionT:
        """Read one table; ``name`` is the section, ``note`` says which table of several."""
        if not isinstance(table, dict):
            raise ConfigError(f"{name} is not a table", hint=f"write [{name}] above its keys")
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        require_known(table, fields, prefix=f"{name}.")
        found: dict[str, Any] = {}
        for field in fields.values():
            if field.name in table:
                found[field.name] = self._read(field, table[field.name], f"{name}.{field.name}{note}")
            elif field.required:
                raise ConfigError(f"{name}.{field.name}{note} is missing", hint=_wanted(field.type))
        return kind(**found)

    def read_tables(self, kind: type[SectionT], tables: object, *, name: str) -> tuple[SectionT, ...]:
        """Read an array of tables."""
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ConfigError(f"{name} is not a list of tables", hint=f"write [[{name}]], with two brackets")
        return tuple(
            self.read_table(kind, table, name=name, note=table_note(number, len(tables)))
            for number, table in enumerate(tables)
        )

    def resolve(self, value: str, *, key: str) -> bytes | None:
        """Bytes of the source that ``value`` names; None if it names none."""
        match = _SOURCE.match(value)
        if match is None:
            return None
        kind, name = match.groups()
        if kind == "file":
            return self._read_file(self.absolute(name, key=key), key=key)
        if not _NAME.match(name):
            raise ConfigError(f"{key}: the name after {kind}: is not one", hint=_SOURCES_HINT)
        return self._read_env(name, key=key) if kind == "env" else self._read_cred(name, key=key)

    def _read(self, field: msgspec.structs.FieldInfo, value: object, key: str) -> object:
        kind = _bare(field.type)
        if not value and isinstance(value, str) and field.default is None:
            return None  # an empty text is the way to write "not set"
        if kind in (Sensitive, StaticKey, Path) and not isinstance(value, str):
            raise ConfigError(f"{key} is not text", hint="write it in quotes")
        if kind is Sensitive:
            return self._read_text(str(value), key=key)
        if kind is StaticKey:
            return self._read_static_key(str(value), key=key)
        if kind is Path:
            return self.absolute(str(value), key=key)
        try:
            if kind in (Duration, Networks, ListenAddress):
                return kind.parse(value)
            return msgspec.convert(value, field.type, strict=True)
        except (msgspec.ValidationError, ValueError):
            raise ConfigError(f"{key} has a wrong type or an impossible value", hint=_wanted(kind)) from None

    def _read_text(self, value: str, *, key: str) -> Sensitive:
        content = self.resolve(value, key=key)
        try:
            text = value if content is None else content.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ConfigError(f"{key}: the source holds no text", hint="UTF-8 is wanted") from None
        if not text.strip():
            raise ConfigError(f"{key} is empty", hint=f"write it out, or {_SOURCES_HINT}")
        return Sensitive(text)

    def _read_static_key(self, value: str, *, key: str) -> StaticKey:
        content = self.resolve(value, key=key)
        if content is None:
            # Configuration files are copied, compared and pasted; a key that opens everything is not.
            raise ConfigError(f"{key} does not stand in the configuration itself", hint=_SOURCES_HINT)
        try:
            return StaticKey(parse_static_key(content).hex())
        except ConfigError as error:
            raise ConfigError(f"{key} is not 32 bytes, raw, hex or base64", hint=error.hint) from None

    def absolute(self, text: str, *, key: str) -> Path:
        """Return the path, from the configuration's folder on if it is relative."""
        if not text or "\0" in text:
            raise ConfigError(f"{key} names no path", hint="an absolute path, or one from this file's folder")
        return Path(os.path.normpath(self._folder / text))

    def _read_file(self, path: Path, *, key: str) -> bytes:
        try:
            # Non-blocking: a FIFO without a writer must not hang the start.
            with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read(_MAX_SECRET + 1) if stat.S_ISREG(mode) else b""
        except OSError as error:
            reason = (error.strerror or "unreadable").lower()
            raise ConfigError(
                f"{key}: the file cannot be read: {reason}", hint="check the path and its permissions"
            ) from None
        if not content or len(content) > _MAX_SECRET:
            raise ConfigError(
                f"{key}: the file is empty, too large or no regular file", hint="check the path"
            )
        if mode & stat.S_IRWXO:
            self.warnings.append(f"{key}: everybody on this machine can open the file; make its mode 0600")
        return content

    def _read_env(self, name: str, *, key: str) -> bytes:
        value = self._environ.get(name)
        if not value:
            raise ConfigError(f"{key}: the environment variable {name} is not set", hint=_SOURCES_HINT)
        self.warnings.append(
            f"{key} comes from the environment, which other programs may see; prefer file: or cred:"
        )
        return os.fsencode(value)

    def _read_cred(self, name: str, *, key: str) -> bytes:
        folder = self._environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise ConfigError(
                f"{key}: there are no systemd credentials here",
                hint=f"add LoadCredential={name}:PATH to the unit, or use file:PATH",
            )
        return self._read_file(Path(folder) / name, key=key)


def table_note(number: int, count: int) -> str:
    """Say which of several tables, counted from 0, is meant."""
    return f" (table {number + 1})" if count > 1 else ""


def require_known(table: Iterable[str], known: Iterable[str], *, prefix: str = "", hint: str = "") -> None:
    """Raise ConfigError for the first key that is not known, with the nearest that is."""
    names = list(known)
    for key in table:
        if key in names:
            continue
        shown = key if _KEY.match(key) else "(a key)"
        near = difflib.get_close_matches(key, names, n=1)
        hint = f"did you mean {prefix}{near[0]}?" if near else hint or f"known: {', '.join(names)}"
        raise ConfigError(f"{prefix}{shown} is not a known key", hint=hint)


def _bare(kind: Any) -> Any:
    """Return ``X`` of ``X | None``."""
    inner = [part for part in get_args(kind) if part is not type(None)]
    return inner[0] if type(None) in get_args(kind) and len(inner) == 1 else kind


def _wanted(kind: Any) -> str:
    kind = _bare(kind)
    if kind in _WANTED:
        return _WANTED[kind]
    if kind in (Sensitive, StaticKey):
        return _SOURCES_HINT
    if kind is Path:
        return "a path in quotes is wanted"
    info = inspect.type_info(kind)
    if isinstance(info, inspect.LiteralType):
        return "one of " + ", ".join(f'"{value}"' for value in info.values) + " is wanted"
    if isinstance(info, inspect.IntType):
        return f"a whole number from {info.ge} to {info.le} is wanted"
    if isinstance(info, inspect.BoolType):
        return "true or false, without quotes, is wanted"
    if isinstance(info, inspect.VarTupleType):
        return 'a list of texts is wanted, as in ["a", "b"]'
    if isinstance(info, inspect.DictType):
        return 'a table of texts is wanted, as in [plugins.pins] secretd-postgresql = "sha256:…"'
    return "text in quotes is wanted"
