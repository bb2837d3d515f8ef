"""Which plugins are installed and which of them may run. Reads installed metadata; imports no plugin.

A plugin answers to its entry point's name (``postgresql-database-plugin``) and to its distribution's name
(``secretd-postgresql``). It may run when the allow-list names its distribution, and, where a pin is set,
when its RECORD has that digest and its files are those of the RECORD.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from secretd.sdk.errors import ConfigError, InvalidRequestError
from secretd.sdk.plugin import Contract

GROUPS: Final[dict[Contract, str]] = {"database": "secretd.databases"}
_ALLOWED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:==([0-9A-Za-z.!+-]+?)(\.\*)?)?\Z")


class PluginInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One installed plugin. ``entry`` is ``module:attribute`` below ``folder``, imported by children only."""

    name: str
    contract: Contract
    distribution: str
    version: str
    entry: str
    folder: str
    is_allowed: bool


class PluginCatalog:
    """``allow``: names as in ``secretd-postgresql==0.1.*``; ``pins``: name → ``sha256:`` hex over RECORD."""

    def __init__(self, *, allow: Iterable[str], pins: Mapping[str, str] | None = None) -> None:
        self._allow = tuple(_parse_allowed(text) for text in allow)
        self._pins = {_normal(name): _parse_pin(name, pin) for name, pin in (pins or {}).items()}

    def list_plugins(self) -> tuple[PluginInfo, ...]:
        """Every installed plugin, allowed or not, by name."""
        found = [self._info(*found) for found in _entries()]
        return tuple(sorted(found, key=lambda info: (info.name, info.distribution)))

    def get_plugin(self, name: str) -> PluginInfo:
        """Return the allowed plugin of that name. Raises InvalidRequestError with a hint."""
        plugins = self.list_plugins()
        named = [info for info in plugins if info.name == name or info.distribution == _normal(name)]
        if not named:
            raise InvalidRequestError("no such plugin is installed", hint="see `secretd plugin list`")
        allowed = [info for info in named if info.is_allowed]
        if not allowed:
            raise InvalidRequestError(
                f"plugin {named[0].distribution} is not allowed",
                hint=f'add "{named[0].distribution}=={named[0].version}" to [plugins] allow',
            )
        if len(allowed) > 1:
            raise InvalidRequestError("several plugins have this name", hint="use the distribution's name")
        self._require_pin(allowed[0])
        return allowed[0]

    def get_digest(self, distribution: str) -> str:
        """Return what a pin of that distribution would be. Raises InvalidRequestError."""
        return _digest(distribution)

    def _info(
        self, contract: Contract, entry: metadata.EntryPoint, dist: metadata.Distribution
    ) -> PluginInfo:
        name, version = _normal(dist.name), dist.version
        return PluginInfo(
            name=entry.name,
            contract=contract,
            distribution=name,
            version=version,
            entry=entry.value,
            folder=str(dist.locate_file("")),
            is_allowed=any(_matches(rule, name, version) for rule in self._allow),
        )

    def _require_pin(self, info: PluginInfo) -> None:
        pin = self._pins.get(info.distribution)
        if pin is None:
            return
        if not hmac.compare_digest(_digest(info.distribution), pin):
            raise InvalidRequestError(
                f"plugin {info.distribution} is not the one that is pinned",
                hint=f"compare [plugins.pins] with `secretd plugin info {info.distribution}`",
            )
        _require_files(info.distribution)


def _entries() -> Iterator[tuple[Contract, metadata.EntryPoint, metadata.Distribution]]:
    for contract, group in GROUPS.items():
        for dist in metadata.distributions():
            for entry in dist.entry_points.select(group=group):
                yield contract, entry, dist


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _parse_allowed(text: str) -> tuple[str, str | None, bool]:
    match = _ALLOWED.match(text.strip())
    if match is None:
        raise ConfigError("plugins.allow has an entry that is not NAME, NAME==1.2.3 or NAME==1.2.*")
    return _normal(match[1]), match[2], match[3] is not None


def _parse_pin(name: str, pin: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", pin):
        raise ConfigError(f"plugins.pins.{_normal(name)} is not sha256: and 64 lower-case hex digits")
    return pin


def _matches(rule: tuple[str, str | None, bool], name: str, version: str) -> bool:
    wanted_name, wanted, is_prefix = rule
    if name != wanted_name:
        return False
    return wanted is None or version == wanted or (is_prefix and version.startswith(wanted + "."))


def _distribution(name: str) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise InvalidRequestError("no such plugin is installed", hint="see `secretd plugin list`") from None


def _digest(name: str) -> str:
    dist = _distribution(name)
    # Neither read_text(), which translates line ends (pip writes RECORD with CRLF, and a pin is over bytes), nor
    # dist.files, which fails on a RECORD that somebody has bent.
    infos = [
        info for info in Path(str(dist.locate_file(""))).glob("*.dist-info")
        if _normal(info.name.partition("-")[0]) == _normal(dist.name) and (info / "RECORD").is_file()
    ]  # fmt: skip
    if len(infos) != 1:
        raise InvalidRequestError(f"plugin {_normal(name)} has no RECORD", hint="install it from a wheel")
    return "sha256:" + hashlib.sha256((infos[0] / "RECORD").read_bytes()).hexdigest()


def _require_files(name: str) -> None:
    """A RECORD vouches for nothing unless the files are what it lists."""
    for file in _distribution(name).files or ():
        if file.hash is None:  # RECORD itself and compiled caches
            continue
        try:
            digest = hashlib.new(file.hash.mode, file.read_binary()).digest()
        except (OSError, ValueError):
            digest = b""
        shown = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if not hmac.compare_digest(shown, file.hash.value):
            raise InvalidRequestError(f"a file of plugin {_normal(name)} is not as it was installed")
