"""The only module that knows asyncpg. Its errors end here: they hold statements and values.

A statement ends in one of three ways: an answer, a definite refusal (:class:`RefusedError`), or silence
(:class:`SilentError`), after which nothing is known.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from typing import Any, Protocol, cast

import asyncpg  # type: ignore[import-untyped]  # it ships no types; this module alone imports it

_LOST = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04")  # the session ended: nothing is definite


class RefusedError(Exception):
    """The target refused, definitely. ``code`` is the SQLSTATE, ``name`` the name of its condition."""

    def __init__(self, code: str, name: str) -> None:
        super().__init__(name)
        self.code = code
        self.name = name


class SilentError(Exception):
    """No answer, or one that says nothing: whatever was asked may happen yet"""


class TlsError(SilentError):
    """No session: TLS was not agreed on, or the certificate was not accepted"""


class LoginError(Exception):
    """The target refused the login"""


class Link(Protocol):
    """One session on a target."""

    @property
    def is_usable(self) -> bool:
        """Whether the session is open and between transactions."""

    async def run(self, text: str) -> str:
        """Run statements as one message; return the last one's tag."""

    async def rows(self, text: str, *args: Any) -> Sequence[Any]:
        """Run one statement with parameters; return its rows, which go by name and by number."""

    async def value(self, text: str, *args: Any) -> Any:
        """Return the first column of the first row, None when there is none."""

    async def roll_back(self) -> None:
        """Leave a failed transaction."""

    async def reset(self) -> None:
        """Forget what foreign statements have set in the session."""

    async def close(self) -> None:
        """End the session politely."""

    def terminate(self) -> None:
        """Drop the session at once."""


async def dial(
    host: str,
    port: int,
    *,
    database: str,
    user: str,
    password: str,
    tls: ssl.SSLContext | str | bool,
    seconds: float,
    application_name: str,
) -> Link:
    """Open a session. Raises LoginError, RefusedError, TlsError or SilentError."""
    try:
        async with asyncio.timeout(seconds):
            connection = await asyncpg.connect(
                host=host,
                port=port,
                user=user,
                password=password,
                database=database,
                ssl=tls,
                timeout=seconds,
                server_settings={"application_name": application_name},
            )
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError):
        raise LoginError from None
    except ssl.SSLError:
        raise TlsError from None
    except Exception as error:
        raise _translate(error) from None
    return cast("Link", _AsyncpgLink(connection))


class _AsyncpgLink:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @property
    def is_usable(self) -> bool:
        return not self._connection.is_closed() and not self._connection.is_in_transaction()

    async def run(self, text: str) -> str:
        try:
            return str(await self._connection.execute(text))
        except Exception as error:
            raise _translate(error) from None

    async def rows(self, text: str, *args: Any) -> Sequence[Any]:
        try:
            return cast("Sequence[Any]", await self._connection.fetch(text, *args))
        except Exception as error:
            raise _translate(error) from None

    async def value(self, text: str, *args: Any) -> Any:
        try:
            return await self._connection.fetchval(text, *args)
        except Exception as error:
            raise _translate(error) from None

    async def roll_back(self) -> None:
        if not self._connection.is_closed() and self._connection.is_in_transaction():
            await self.run("ROLLBACK")

    async def reset(self) -> None:
        await self.run(
            "RESET SESSION AUTHORIZATION; RESET ALL; UNLISTEN *; CLOSE ALL; SELECT pg_advisory_unlock_all()"
        )

    async def close(self) -> None:
        try:
            await self._connection.close(timeout=1)
        except Exception:
            self._connection.terminate()

    def terminate(self) -> None:
        self._connection.terminate()


def _translate(error: Exception) -> Exception:
    code = getattr(error, "sqlstate", None)
    if not isinstance(error, asyncpg.PostgresError) or not isinstance(code, str):
        return SilentError()
    if code.startswith(_LOST):
        return SilentError()
    return RefusedError(code, _condition(type(error), code))


def _condition(kind: type, code: str) -> str:
    """``InsufficientPrivilegeError`` → ``insufficient_privilege``; an unknown code stays a code."""
    if kind.__module__.startswith("asyncpg") and kind.__name__ not in {
        "PostgresError",
        "UnknownPostgresError",
    }:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__.removesuffix("Error")).lower()
    return "sqlstate_" + re.sub(r"[^0-9A-Z]", "", code)
