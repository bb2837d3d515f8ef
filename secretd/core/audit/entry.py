"""Audit entries in Vault's shape: one for a request before it is served, one for its answer before it is told.

:meth:`EntryBuilder.begin` gives a :class:`Trail` per request; it hashes token, accessor and data once and
uses the encoded halves again in the response's entry. An entry is a JSON object as bytes, without chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from secretd.core.audit.redact import NOTHING_CLEAR, Redactor
from secretd.sdk.clock import Clock, rfc3339
from secretd.sdk.errors import SecretdError

if TYPE_CHECKING:
    from secretd.sdk.engine import Mount
    from secretd.sdk.request import Request
    from secretd.sdk.response import Response, TokenGrant


@dataclass(slots=True, frozen=True)
class Holder:
    """The token behind a request, as entries show it. ``token_ttl`` is in seconds, 0 = not shown."""

    accessor: str = ""
    display_name: str = ""
    policies: tuple[str, ...] = ()
    token_policies: tuple[str, ...] = ()
    identity_policies: tuple[str, ...] = ()
    entity_id: str = ""
    token_type: str = ""
    token_ttl: int = 0
    token_issue_time: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


NO_HOLDER = Holder()


@dataclass(slots=True, frozen=True)
class ClearKeys:
    """A mount's ``audit_non_hmac_request_keys`` and ``audit_non_hmac_response_keys``."""

    request: frozenset[str] = NOTHING_CLEAR
    response: frozenset[str] = NOTHING_CLEAR


NO_CLEAR_KEYS = ClearKeys()


class EntryBuilder:
    """Makes entries. ``headers`` maps lower-case names of headers to record to whether to hash them."""

    __slots__ = ("clock", "headers", "redactor")

    def __init__(
        self, redactor: Redactor, clock: Clock, *, headers: Mapping[str, bool] | None = None
    ) -> None:
        self.redactor = redactor
        self.clock = clock
        self.headers: Mapping[str, bool] = headers or {}

    def begin(
        self,
        request: Request,
        *,
        holder: Holder = NO_HOLDER,
        mount: Mount | None = None,
        clear: ClearKeys = NO_CLEAR_KEYS,
    ) -> Trail:
        """The trail of one request. Data is read here, so begin before an engine may change it."""
        hashed = self.redactor.hash_text
        token = hashed(request.token.reveal()) if request.token else ""
        accessor = hashed(holder.accessor) if holder.accessor else ""
        auth = _encode(_auth(holder, token, accessor))
        return Trail(self, auth, _encode(self._request(request, token, accessor, mount, clear)), mount, clear)

    def _request(
        self, request: Request, token: str, accessor: str, mount: Mount | None, clear: ClearKeys
    ) -> dict[str, Any]:
        shown: dict[str, Any] = {"id": request.id, "operation": request.operation.value}
        if mount is not None:
            shown |= _mount(mount)
        if token:
            shown["client_token"] = token
        if accessor:
            shown["client_token_accessor"] = accessor
        shown["namespace"] = {"id": request.namespace or "root"}
        shown["path"] = request.path
        if request.data:
            shown["data"] = self.redactor.redact(request.data, clear=clear.request)
        shown["remote_address"] = request.client_address
        if request.wrap_ttl is not None:
            shown["wrap_ttl"] = request.wrap_ttl
        if self.headers and (headers := self._headers(request)):
            shown["headers"] = headers
        return shown

    def _headers(self, request: Request) -> dict[str, list[str]]:
        given = {name.lower(): value for name, value in request.headers.items()}
        return {
            name: [self.redactor.hash_text(given[name]) if is_hashed else given[name]]
            for name, is_hashed in self.headers.items()
            if name in given
        }


class Trail:
    """One request on its way: its two entries share what is encoded already."""

    __slots__ = ("_auth", "_builder", "_clear", "_mount", "_request")

    def __init__(
        self, builder: EntryBuilder, auth: bytes, request: bytes, mount: Mount | None, clear: ClearKeys
    ) -> None:
        self._builder = builder
        self._auth = auth
        self._request = request
        self._mount = mount
        self._clear = clear

    def request_entry(self, *, error: BaseException | None = None) -> bytes:
        """The entry to be recorded before the request is served."""
        return b"%b%b}" % (self._opening(b"request"), _error(error))

    def response_entry(
        self,
        response: Response | None,
        *,
        error: BaseException | None = None,
        wrap_info: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The entry to be recorded before the answer is told; ``response`` None says there is none."""
        shown = _encode(self._response(response, wrap_info))
        return b'%b,"response":%b%b}' % (self._opening(b"response"), shown, _error(error))

    def _opening(self, kind: bytes) -> bytes:
        now = (rfc3339(self._builder.clock.now()) or "").encode()
        return b'{"time":"%b","type":"%b","auth":%b,"request":%b' % (now, kind, self._auth, self._request)

    def _response(self, response: Response | None, wrap_info: Mapping[str, Any] | None) -> dict[str, Any]:
        shown = _mount(self._mount) if self._mount is not None else {}
        redactor = self._builder.redactor
        if wrap_info:
            shown["wrap_info"] = _wrap_info(wrap_info, redactor)
        if response is None:
            return shown
        if response.lease is not None:
            shown["secret"] = {"lease_id": response.lease.id}
        if response.auth is not None:
            shown["auth"] = _grant(response.auth, redactor)
        data = response.body if response.data is None else response.data
        if data is not None:
            # A field that the engine calls sensitive stays hidden, however the mount was tuned.
            clear = self._clear.response - response.sensitive_fields
            shown["data"] = redactor.redact(data, clear=clear)
        if response.warnings:
            shown["warnings"] = response.warnings
        return shown


def error_text(error: BaseException) -> str:
    """An error as entries show it: our own message, or a foreign error's class (its text may hold values)."""
    return error.message if isinstance(error, SecretdError) else type(error).__name__


def _error(error: BaseException | None) -> bytes:
    return b"" if error is None else b',"error":' + _encode(error_text(error))


def _auth(holder: Holder, token: str, accessor: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"client_token": token} if token else {}
    if accessor:
        shown["accessor"] = accessor
    for name in ("display_name", "policies", "token_policies", "identity_policies", "entity_id"):
        if value := getattr(holder, name):
            shown[name] = value
    if holder.metadata:
        shown["metadata"] = dict(holder.metadata)
    shown["token_type"] = holder.token_type or "default"
    if holder.token_ttl:
        shown["token_ttl"] = holder.token_ttl
    if holder.token_issue_time:
        shown["token_issue_time"] = holder.token_issue_time
    return shown


def _mount(mount: Mount) -> dict[str, Any]:
    return {"mount_point": mount.path, "mount_type": mount.type, "mount_accessor": mount.accessor}


def _grant(grant: TokenGrant, redactor: Redactor) -> dict[str, Any]:
    holder = Holder(
        policies=grant.policies,
        token_policies=grant.token_policies,
        identity_policies=grant.identity_policies,
        entity_id=grant.entity_id,
        token_type=grant.token_type,
        token_ttl=grant.lease_duration,
        metadata=grant.metadata,
    )
    return _auth(holder, redactor.hash_text(grant.client_token), redactor.hash_text(grant.accessor))


def _wrap_info(wrap_info: Mapping[str, Any], redactor: Redactor) -> dict[str, Any]:
    plain = {name: wrap_info[name] for name in ("ttl", "creation_time", "creation_path") if name in wrap_info}
    hidden = ("token", "accessor", "wrapped_accessor")
    return plain | {name: redactor.redact(wrap_info[name]) for name in hidden if wrap_info.get(name)}


_encoder = msgspec.json.Encoder()


def _encode(value: Any) -> bytes:
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:  # a lone surrogate in a key, path or header: show it escaped, write the entry
        return _encoder.encode(_escaped(value))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escaped(item) for item in value]
    return value
