"""From settings to a session on the target's primary: addresses are checked, then dialled by number.

A name is resolved once and the very addresses that passed the check are used, so that a name that changes
between two look-ups opens no way into a denied network.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from typing import Any

from secretd.sdk.errors import InvalidRequestError, TargetAuthError, TargetError, TargetUnavailableError
from secretd.sdk.plugin import Reach
from secretd_postgresql.config import Settings
from secretd_postgresql.driver import Link, LoginError, RefusedError, SilentError, TlsError, dial

_VERIFYING = frozenset({"verify-ca", "verify-full"})


class _NamedContext(ssl.SSLContext):
    """Checks the certificate against the name that was written, though we dial a number."""

    host = ""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        kwargs["server_hostname"] = self.host
        return super().wrap_bio(*args, **kwargs)


class Dialer:
    """Opens sessions on one target; holds no connection itself."""

    def __init__(self, settings: Settings, reach: Reach) -> None:
        self._settings = settings
        self._denied = [ipaddress.ip_network(text) for text in reach.deny_networks]
        self._seconds = settings.connect_timeout or reach.connect_timeout
        if reach.connect_timeout:
            self._seconds = min(self._seconds, reach.connect_timeout)

    async def open(self, *, database: str = "", user: str = "", password: str | None = None) -> Link:
        """Return a session on the primary, as the admin unless told otherwise.

        Raises TargetAuthError, TargetUnavailableError or TargetError; the first host that answers decides.
        """
        failure: Exception = TargetUnavailableError()
        try:
            async with asyncio.timeout(self._seconds):
                for host, port in self._settings.hosts:
                    try:
                        return await self._open_host(
                            host, port, database=database, user=user, password=password
                        )
                    except TargetUnavailableError as error:
                        failure = error
        except TimeoutError:
            failure = TargetUnavailableError("the target did not accept a connection in time")
        raise failure

    async def _open_host(
        self, host: str, port: int, *, database: str, user: str, password: str | None
    ) -> Link:
        tls = self._tls(host)
        failure: Exception = TargetUnavailableError()
        for address in await self._addresses(host, port):
            try:
                link = await dial(
                    address,
                    port,
                    database=database or self._settings.database,
                    user=user or self._settings.user,
                    password=self._settings.password.reveal() if password is None else password,
                    tls=tls,
                    seconds=self._seconds,
                    application_name=self._settings.application_name,
                )
            except LoginError:
                raise TargetAuthError(None if not user else "the target refused the login") from None
            except RefusedError as error:
                failure = _refusal(error)
            except TlsError:
                failure = TargetUnavailableError(
                    "TLS to the target failed", hint="see sslmode, sslrootcert and tls_ca of the connection"
                )
            except SilentError:
                failure = TargetUnavailableError()
            else:
                await self._require_primary(link)
                return link
        raise failure

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, checked. A socket's folder is an address of its own."""
        if host.startswith("/"):
            return [host]
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            raise TargetUnavailableError("the target's name is not known") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            self._require_allowed(address)
        return addresses

    def _require_allowed(self, address: str) -> None:
        number = ipaddress.ip_address(address.partition("%")[0])
        mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
        for one in (number, mapped):
            if one is not None and any(
                one in network for network in self._denied if network.version == one.version
            ):
                raise TargetError("the target is in a denied network", hint="see [targets] deny_networks")

    async def _require_primary(self, link: Link) -> None:
        if self._settings.attributes == "any":
            return
        try:
            is_standby = await link.value("SELECT pg_is_in_recovery()")
        except (RefusedError, SilentError):
            link.terminate()
            raise TargetUnavailableError from None
        if is_standby:
            link.terminate()
            raise TargetUnavailableError("the target is a standby")

    def _tls(self, host: str) -> ssl.SSLContext | str | bool:
        settings = self._settings
        has_ca = bool(settings.tls_ca or settings.sslrootcert)
        if host.startswith("/") or settings.sslmode == "disable":
            return False
        if settings.sslmode in {"allow", "prefer"} and not has_ca and not settings.tls_certificate:
            return settings.sslmode
        context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
        context.host = host
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # libpq: with a root certificate, "require" verifies it too.
        verifies = settings.sslmode in _VERIFYING or has_ca
        context.check_hostname = settings.sslmode == "verify-full"
        context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
        _load(context, settings, verifies=verifies)
        return context


def _load(context: ssl.SSLContext, settings: Settings, *, verifies: bool) -> None:
    try:
        if verifies and settings.tls_ca:
            context.load_verify_locations(cadata=settings.tls_ca)
        elif verifies and settings.sslrootcert not in {"", "system"}:
            context.load_verify_locations(cafile=settings.sslrootcert)
        elif verifies:
            context.load_default_certs()
        if settings.tls_certificate:
            _load_pair(context, settings.tls_certificate + "\n" + settings.private_key.reveal())
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        raise InvalidRequestError("the connection's certificates cannot be read") from None


def _load_pair(context: ssl.SSLContext, pem: str) -> None:
    """OpenSSL wants a path; this one is memory of ours and never a disk's."""
    fd = os.memfd_create("pair", os.MFD_CLOEXEC)
    try:
        os.write(fd, pem.encode())
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _refusal(error: RefusedError) -> Exception:
    if error.code.startswith("53") or error.code == "57P03":
        return TargetUnavailableError(f"the target accepts no connection now: {error.name}")
    return TargetError(f"the target refused the connection: {error.name}")
