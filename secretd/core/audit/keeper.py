"""The audit devices of this daemon over its life: from configuration and from the API, through seal and unseal.

Devices of the configuration are opened when the barrier opens, because the keys that hash and chain are behind
it. Devices that the API made are entries behind the barrier; every daemon opens them when the generation says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec
import structlog

from secretd.core.audit.broker import AuditBroker
from secretd.core.audit.entry import EntryBuilder
from secretd.core.audit.line import AuditHead
from secretd.core.audit.place import DeviceSpec, api_device
from secretd.core.audit.redact import Redactor
from secretd.core.keys import Keys
from secretd.sdk.clock import Clock
from secretd.sdk.errors import AuditError, InvalidRequestError, SealedError, SecretdError
from secretd.sdk.storage import decode, encode
from secretd.storage.barrier import Barrier
from secretd.storage.pool import Pool
from secretd.storage.view import EntryView

log = structlog.get_logger()
_FOLDER = "audit/"


class _Stored(msgspec.Struct):
    """A device made by the API, as it is kept."""

    path: str
    type: str
    description: str
    options: dict[str, str]


class AuditKeeper:
    """Opens, closes and lists audit devices; hands out the broker."""

    def __init__(
        self, *, pool: Pool, barrier: Barrier, keys: Keys, clock: Clock, node: str, devices: Sequence[DeviceSpec],
        api_folder: str,
    ) -> None:  # fmt: skip
        self._pool = pool
        self._barrier = barrier
        self._keys = keys
        self._clock = clock
        self._node = node
        self._configured = tuple(devices)
        self._api_folder = api_folder
        self._broker: AuditBroker | None = None
        self._builder: EntryBuilder | None = None

    def tools(self) -> tuple[AuditBroker, EntryBuilder]:
        """What the pipeline records with; SealedError while sealed."""
        if self._broker is None or self._builder is None:
            raise SealedError
        return self._broker, self._builder

    async def open(self) -> None:
        """When the barrier has opened: the devices of the configuration. One that cannot open fails its groups."""
        await self.close()
        keys = self._keys.loaded
        redactor = Redactor(keys.audit)
        broker = AuditBroker(redactor, node=self._node, chain_key=keys.chain, clock=self._clock)
        heads = await self._known_heads()
        for spec in self._configured:
            await broker.add(spec, known=heads.get(spec.path), must_open=False)
        self._broker, self._builder = broker, EntryBuilder(redactor, self._clock)

    async def close(self) -> None:
        """When the daemon ends: write what is pending. Nothing is recorded, hence nothing served, from here."""
        broker, self._broker = self._broker, None
        if broker is not None:
            await self._save(await broker.close())

    def reopen(self) -> None:
        """SIGHUP."""
        if self._broker is not None:
            self._broker.reopen()

    async def reload(self) -> None:
        """The generation changed: open and close what the API made or removed, here or on another daemon."""
        broker, _ = self.tools()
        wanted = {stored.path: stored for stored in await self._list_stored()}
        configured = {spec.path for spec in self._configured}
        present = {spec.path for spec in broker.devices()}
        for path in present - configured - wanted.keys():
            await broker.remove(path)
        heads = await self._known_heads()
        for path in wanted.keys() - present:
            try:
                await broker.add(self._spec(wanted[path]), known=heads.get(path), must_open=False)
            except InvalidRequestError as error:
                log.warning("audit.device_refused", device=path, reason=error.message)

    async def enable(self, path: str, *, kind: str, options: dict[str, str], description: str) -> None:
        """Make a device by the API. It records when this returns."""
        broker, _ = self.tools()
        spec = api_device(path, kind=kind, options=options, description=description, folder=self._api_folder)
        try:
            await broker.add(spec)
        except AuditError as error:  # the caller's choice of a file, not a failure to record
            raise InvalidRequestError(error.message) from None
        stored = _Stored(spec.path, kind, description, {"file_path": spec.file_path})
        try:
            async with self._pool.transaction() as runner:
                view = EntryView(runner, self._barrier, prefix="core/")
                await view.put(_FOLDER + _flat(spec.path), encode(stored), version=0)
                await runner.execute("bump_audit", 0)
        except SecretdError:
            await broker.remove(spec.path)
            raise

    async def disable(self, path: str) -> None:
        """Remove a device that the API made; those of the configuration stay."""
        path = path.strip("/") + "/"
        if path in {spec.path for spec in self._configured}:
            raise InvalidRequestError(
                "this audit device comes from the configuration",
                hint="remove its [[audit]] table and restart",
            )
        async with self._pool.transaction() as runner:
            await EntryView(runner, self._barrier, prefix="core/").delete(_FOLDER + _flat(path))
            await runner.execute("bump_audit", 0)
        broker, _ = self.tools()
        await broker.remove(path)

    async def save_heads(self) -> None:
        """Tell storage how far each chain has come: each second, and at the end."""
        if self._broker is not None:
            await self._save(self._broker.heads())

    async def _save(self, heads: Sequence[AuditHead]) -> None:
        for head in heads:
            await self._pool.execute(
                "save_audit_head", head.node, head.device, head.seq, head.chain, head.time
            )

    async def list_heads(self, device: str = "") -> list[AuditHead]:
        """What storage knows, of all daemons."""
        rows = await self._pool.fetch("list_audit_heads", device)
        return [AuditHead(row[0], row[1], row[2], row[3], row[4]) for row in rows]

    async def _known_heads(self) -> dict[str, AuditHead]:
        return {head.device: head for head in await self.list_heads() if head.node == self._node}

    async def _list_stored(self) -> list[_Stored]:
        view = EntryView(self._pool, self._barrier, prefix="core/")
        found = []
        for name in await view.list(_FOLDER):
            with contextlib.suppress(SecretdError):
                entry = await view.get(_FOLDER + name)
                if entry is not None:
                    found.append(decode(entry.value, _Stored))
        return found

    def _spec(self, stored: _Stored) -> DeviceSpec:
        return api_device(
            stored.path,
            kind=stored.type,
            options=stored.options,
            description=stored.description,
            folder=self._api_folder,
        )


def _flat(path: str) -> str:
    """A device's path as one name, so that a listing finds it whatever slashes it has."""
    return path.strip("/").replace("/", "%")
