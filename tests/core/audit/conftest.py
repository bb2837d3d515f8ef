"""What tests of the audit share: a clock that tests move, keys, devices on real files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from secretd.core.audit.device import FileDevice
from secretd.core.audit.line import AuditHead
from secretd.core.audit.place import DeviceSpec


@dataclass
class Hands:
    """A clock that goes only when it is moved."""

    seconds: float = 100.0

    def now(self) -> datetime:
        return datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def move(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Bench:
    """A folder for files, a key, and devices made of them."""

    folder: Path
    clock: Hands
    key: bytes = bytes(range(32))
    devices: list[FileDevice] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.folder / "audit.jsonl"

    def spec(self, name: str = "file", *, required: bool = False, **more: Any) -> DeviceSpec:
        return DeviceSpec(f"{name}/", str(more.pop("file", self.file)), required=required, **more)

    def device(self, *, known: AuditHead | None = None, spec: DeviceSpec | None = None) -> FileDevice:
        made = FileDevice(spec or self.spec(), node="n1", chain_key=self.key, clock=self.clock, known=known)
        made.open()
        self.devices.append(made)
        return made


def entry(number: int) -> bytes:
    """An entry that tests can find again."""
    return json.dumps({"type": "request", "request": {"id": f"r{number}"}}).encode()


def entries(*numbers: int) -> list[bytes]:
    return [entry(number) for number in numbers]


def read(*files: Path) -> list[dict[str, Any]]:
    """The lines of files, decoded."""
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


def ids(*files: Path) -> list[str]:
    """Ids of the recorded requests, in order."""
    return [line["request"]["id"] for line in read(*files) if "request" in line]


@pytest.fixture
def clock() -> Hands:
    """A clock that stands still until a test moves it."""
    return Hands()


@pytest.fixture
def bench(tmp_path: Path, clock: Hands) -> Any:
    """A place for devices; those made there are closed after the test."""
    made = Bench(tmp_path, clock)
    yield made
    for device in made.devices:
        device.close()


@pytest.fixture
def numbered() -> Callable[..., list[bytes]]:
    """``numbered(1, 2)``: entries with the ids r1 and r2."""
    return entries


@pytest.fixture
def recorded() -> Callable[..., list[str]]:
    """``recorded(file, …)``: ids of the requests in files, in order."""
    return ids


@pytest.fixture
def decoded() -> Callable[..., list[dict[str, Any]]]:
    """``decoded(file, …)``: the lines of files."""
    return read
