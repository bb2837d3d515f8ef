"""TLS to a target: what each sslmode accepts. On PostgreSQL 17: the embedded 18 is built without TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from cryptography import x509

from secretd.sdk.errors import TargetUnavailableError
from secretd.sdk.plugin import Reach
from secretd.server.embedded import EmbeddedPostgres
from secretd_postgresql.database import PostgresDatabase
from support.certificates import Folder, certificate, new_key
from support.clusters import binaries

WITH_TLS = 17


def make_certificates(path: Path) -> Folder:
    """A server's certificate for ``localhost`` only, and one that vouches for nobody here."""
    path.mkdir()
    made = Folder(path, {})
    for name, host in (("server", "localhost"), ("stranger", "localhost")):
        key = new_key()
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        made.save(name, key, certificate(host, key, is_ca=True, extra=(names,)))
        made.key(name).chmod(0o600)
    return made


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[tuple[Folder, Any]]:
    """A server with TLS; its address is the superuser's."""
    made = make_certificates(tmp_path / "certificates")
    settings = {
        "ssl": "on",
        "ssl_cert_file": str(made.cert("server")),
        "ssl_key_file": str(made.key("server")),
    }
    async with EmbeddedPostgres(tmp_path / "pg", bin_dir=binaries(WITH_TLS), settings=settings) as server:
        yield made, urlsplit(server.dsn(tcp=True))


async def is_encrypted(target: Any, mode: str, host: str, **changes: Any) -> bool:
    """Log in under that mode, and ask the server whether the session was encrypted."""
    plugin = PostgresDatabase(Reach())
    url = f"postgresql://{target.username}@{host}:{target.port}/postgres?sslmode={mode}&application_name=us"
    config = (await plugin.describe({"connection_url": url, "password": target.password} | changes)).config
    try:
        await plugin.verify(config)
        connection = await asyncpg.connect(target.geturl())
        question = "SELECT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'us'"
        found = bool(await connection.fetchval(question))
        await connection.close()
    finally:
        await plugin.close()
    return found


async def test_modes(target: tuple[Folder, Any]) -> None:
    """Each mode encrypts, and checks authority and name, as far as libpq's of that name does."""
    made, place = target
    ours, foreign = made.cert("server").read_text(), made.cert("stranger").read_text()
    accepted = [
        ("prefer", "127.0.0.1", ""),
        ("require", "127.0.0.1", ""),
        ("require", "127.0.0.1", ours),
        ("verify-ca", "127.0.0.1", ours),
        ("verify-full", "localhost", ours),
    ]
    for mode, host, authority in accepted:
        assert await is_encrypted(place, mode, host, tls_ca=authority), (mode, host)
    assert not await is_encrypted(place, "disable", "127.0.0.1")
    refused = [
        ("require", "127.0.0.1", foreign),
        ("verify-ca", "127.0.0.1", foreign),
        ("verify-full", "localhost", foreign),
        ("verify-full", "127.0.0.1", ours),  # another name
        ("verify-full", "localhost", ""),  # the system's authorities
    ]
    for mode, host, authority in refused:
        with pytest.raises(TargetUnavailableError, match="TLS"):
            await is_encrypted(place, mode, host, tls_ca=authority)


async def test_client_certificate(target: tuple[Folder, Any]) -> None:
    """A pair of certificate and key is loaded without touching a disk."""
    made, place = target
    pair = {"tls_certificate": made.cert("server").read_text(), "private_key": made.key("server").read_text()}
    assert await is_encrypted(place, "require", "127.0.0.1", **pair)
