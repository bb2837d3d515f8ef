"""The one way of a request. The numbers are repeated at the steps.

(1) sealed?  (2) token → policies, one storage read at most  (3) request limits  (4) authorise or raise
(5) audit the request  (6) route to the engine  (7) register lease or token  (8) wrap if asked
(9) audit the response  (10) answer

Authorisation sees the very string that the router sees. A step that fails raises. What was made for an answer
that cannot be recorded is ended again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from secretd.core.audit.broker import AuditBroker
from secretd.core.audit.entry import ClearKeys, EntryBuilder, Holder, Trail
from secretd.core.caches import Caches
from secretd.core.faults import Faults
from secretd.core.helptext import help_of
from secretd.core.keys import Keys
from secretd.core.leases.issuer import Issuer
from secretd.core.lifecycle import Lifecycle
from secretd.core.mounts.table import MountTable
from secretd.core.policy.acl import Acl
from secretd.core.policy.model import Capability
from secretd.core.policy.store import PolicyStore
from secretd.core.router import Route, Router
from secretd.core.shelter import Shelter
from secretd.core.tokens.service import TokenService
from secretd.sdk.clock import rfc3339
from secretd.sdk.engine import System
from secretd.sdk.errors import (
    InvalidRequestError,
    NoHandlerError,
    NotInitializedError,
    PermissionDeniedError,
    SealedError,
    SecretdError,
)
from secretd.sdk.fields import Sensitive
from secretd.sdk.path import Path
from secretd.sdk.request import ANONYMOUS, HELP, LIST, UPDATE, Call, Caller, Operation, Request
from secretd.sdk.response import Response
from secretd.sdk.secret_type import Issues
from secretd.storage.tokens import TokenRow, Tokens
from secretd.storage.view import EntryView

log = structlog.get_logger()
_CAPABILITY = {
    Operation.CREATE: Capability.CREATE,
    Operation.READ: Capability.READ,
    Operation.UPDATE: Capability.UPDATE,
    Operation.PATCH: Capability.PATCH,
    Operation.DELETE: Capability.DELETE,
    Operation.LIST: Capability.LIST,
}
_CREATE_AND_UPDATE = {"create", "update"}
_NOTHING_CLEAR = ClearKeys()


@dataclass(slots=True)
class SystemCall(Call):
    """A call to a mount that sees core: the whole request, and the token behind it."""

    request: Request = None  # type: ignore[assignment]  # dataclass inheritance wants a default; always given
    token: TokenRow | None = None
    acl: Acl | None = None


@dataclass(slots=True)
class _Way:
    """What the steps know of a request by now."""

    request: Request
    router: Router
    token: TokenRow | None = None
    acl: Acl | None = None
    route: Route | None = None
    rest: str = ""
    row: Path | None = None
    holes: dict[str, str] | None = None
    trail: Trail | None = None
    caller: Caller = ANONYMOUS
    denial: SecretdError | None = None
    is_last_use: bool = False


class Pipeline:
    """Handles requests."""

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        caches: Caches,
        keys: Keys,
        tokens: Tokens,
        policies: PolicyStore,
        mounts: MountTable,
        system: System,
        issuer: Issuer,
        token_service: TokenService,
        audit: Callable[[], tuple[AuditBroker, EntryBuilder]],
        shelter: Shelter,
        faults: Faults,
        sealed_rows: Callable[[Request], tuple[Path, dict[str, str]] | None],
    ) -> None:
        self._lifecycle = lifecycle
        self._caches = caches
        self._keys = keys
        self._tokens = tokens
        self._policies = policies
        self._mounts = mounts
        self._system = system
        self._issuer = issuer
        self._token_service = token_service
        self._audit = audit
        self._shelter = shelter
        self._faults = faults
        self._sealed_rows = sealed_rows

    async def handle(self, request: Request) -> Response:
        """Serve one request; every error is a SecretdError."""
        while_sealed = self._sealed_rows(request)
        if while_sealed is not None:
            row, holes = while_sealed
            return await self._run_unsealed(row, holes, request)
        if not self._lifecycle.is_open:  # (1)
            raise SealedError if await self._lifecycle.is_initialized() else NotInitializedError
        way = await self._identify(request)  # (2)
        denial = way.denial or await self._authorise(way) or _unwrappable(request)  # (3) (4)
        broker, builder = self._audit()
        await self._admit(broker, builder, way, denial)  # (5)
        response: Response | None = None
        error: BaseException | None = None
        try:
            response = await self._serve(way)  # (6) (7)
        except BaseException as trouble:
            error = trouble
            raise
        finally:
            await self._conclude(broker, way, response, error)  # (9)
        await self._faults.reach("5.answered")
        return response  # (10)

    async def _admit(
        self, broker: AuditBroker, builder: EntryBuilder, way: _Way, denial: SecretdError | None
    ) -> None:
        """(5) Record what is asked, and its refusal; a refused last use is a last use all the same."""
        try:
            if broker.is_enabled:
                trail = way.trail = self._begin_trail(builder, way)
                refusal = () if denial is None else (trail.response_entry(None, error=denial),)
                await broker.record(trail.request_entry(error=denial), *refusal)
            if denial is not None:
                raise denial
        except BaseException:
            if way.is_last_use:
                await self._shelter.run(self._end_used_up(way))
            raise

    def body_limit(self, path: str, operation: Operation) -> int:
        """The bytes that a route declares to need; 0 = no more than any other. Asks no storage."""
        try:
            route, rest = self._caches.router.find(path)
            row, _ = route.table.find(operation, rest)
        except SecretdError:
            return 0
        return 0 if row.open else row.max_bytes

    async def is_good(self, token: Sensitive | None) -> bool:
        """Whether this token may send a large body at all."""
        if token is None or not self._lifecycle.is_open:
            return False
        generations, row = await self._tokens.look(self._keys.hash_token(token.reveal()))
        if row is not None:
            await self._caches.refresh(
                generations
            )  # body_limit follows; the mount may be newer than our router
        return row is not None

    async def undelivered(self, response: Response) -> None:
        """The answer could not be written: what it gave out is held by nobody. A renewal gave out nothing."""
        if response.lease is not None and response.data is not None:
            await self._issuer.undelivered(response.lease.id)

    async def _run_unsealed(self, row: Path, holes: dict[str, str], request: Request) -> Response:
        call = SystemCall(
            request_id=request.id, operation=request.operation, path=request.path, data=request.data,
            caller=ANONYMOUS, client_address=request.client_address, mount=None, view=None, system=self._system,  # type: ignore[arg-type]  # these rows run without a mount
            request=request,
        )  # fmt: skip
        return await row.handler(call, row.decode(request.data, holes)) or Response()

    async def _identify(self, request: Request) -> _Way:
        """(2) One read: generations and token. An open row needs no token, and then none is looked at."""
        token_id = self._keys.hash_token(request.token.reveal()) if request.token else None
        generations, token = await self._tokens.look(token_id)
        way = _Way(request, await self._caches.refresh(generations), token)
        with contextlib.suppress(SecretdError):  # raised again by (6), for those who may know what is there
            way.route, way.rest = way.router.find(request.path)
            if request.operation is not HELP:
                way.row, way.holes = way.route.table.find(request.operation, way.rest)
        if way.row is not None and way.row.open:
            way.token = None
        elif token is None:
            way.denial = PermissionDeniedError()
        else:
            way.caller = _caller(token)
            way.acl = await self._policies.acl(token.policies)
        return way

    async def _authorise(self, way: _Way) -> SecretdError | None:
        """(4) The reason to refuse, for the audit entry; None = go on."""
        if way.acl is None:
            return None
        try:
            await self._require(way, way.acl)
        except SecretdError as denial:
            return denial
        return None

    async def _require(self, way: _Way, acl: Acl) -> None:
        request, row = way.request, way.row
        if request.operation is not HELP and not acl.is_root:
            operation = Operation.CREATE if await self._creates(way, acl) else request.operation
            acl.require(_CAPABILITY[operation], request.path, request.data, wrap_ttl=request.wrap_ttl)
            if row is not None and row.sudo:
                acl.require_sudo(request.path, is_list=operation is LIST)
        if way.token is not None and way.token.num_uses:
            left = await self._tokens.use(way.token.id)
            if left is None:
                raise PermissionDeniedError
            way.is_last_use = left == 0

    async def _creates(self, way: _Way, acl: Acl) -> bool:
        """Whether this is an UPDATE of what is not there; asked only where that decides."""
        request, row = way.request, way.row
        if request.operation is not UPDATE or row is None or row.exists is None:
            return False
        # One rule decides about both. Who has both is let in, who has neither is not: no engine need be asked.
        if len(_CREATE_AND_UPDATE.intersection(acl.capabilities(request.path))) != 1:
            return False
        return not await row.exists(self._call(way), row.decode(request.data, way.holes or {}))

    async def _serve(self, way: _Way) -> Response:
        """(6) and (7)."""
        route = way.route
        if route is None:
            raise NoHandlerError
        if way.request.operation is HELP:
            return self._help(way, route)
        if way.row is None:
            way.row, way.holes = route.table.find(
                way.request.operation, way.rest
            )  # raises what it raised before
        call, row = self._call(way), way.row
        fields = row.decode(call.data, way.holes or {})
        if isinstance(row.handler, Issues) and way.token is not None:
            response = await self._issuer.issue(call, way.token, row.handler.secret_type, fields)
        else:
            response = await row.handler(call, fields) or Response()
        if response.login is not None:
            response = await self._log_in(call, response)
        unknown = row.unknown(call.data)
        if unknown and (response.data is not None or response.is_empty is False):
            call.warn("Endpoint ignored these unrecognized parameters: [" + " ".join(sorted(unknown)) + "]")
        response.warnings += call.warnings
        if call.operation is LIST and response.data is not None and not response.data.get("keys"):
            return Response(status=404, body={"errors": []})
        return response

    async def _log_in(self, call: Call, response: Response) -> Response:
        login = response.login
        if login is None:
            return response
        view = call.view
        role_key = view.key(login.role_key) if login.role_key and isinstance(view, EntryView) else ""
        answer = await self._token_service.log_in(
            login, mount=call.mount, path=call.mount.path + call.path, role_key=role_key
        )
        answer.warnings += response.warnings
        return answer

    def _help(self, way: _Way, route: Route) -> Response:
        return Response(body=help_of(route, way.rest))

    def _call(self, way: _Way) -> Call:
        request, route = way.request, way.route
        if route is None:
            raise NoHandlerError
        shared = {
            "request_id": request.id,
            "operation": request.operation,
            "path": way.rest,
            "data": request.data,
            "caller": way.caller,
            "client_address": request.client_address,
            "mount": route.mount,
            "view": self._mounts.view(route.mount.id),
            "system": self._system,
            "headers": request.headers,
            "peer_certificates": request.peer_certificates,
            "list_pages": request.list_pages,
        }
        if route.engine.kind == "system":
            return SystemCall(**shared, request=request, token=way.token, acl=way.acl)  # type: ignore[arg-type]  # as below
        return Call(**shared)  # type: ignore[arg-type]  # one dict for both kinds of call

    def _begin_trail(self, builder: EntryBuilder, way: _Way) -> Trail:
        token, route = way.token, way.route
        holder = Holder()
        if token is not None:
            holder = Holder(
                accessor=token.accessor,
                display_name=token.display_name,
                policies=token.policies,
                token_policies=token.policies,
                entity_id=token.entity_id,
                token_type="service",  # noqa: S106 -- a kind
                token_ttl=token.creation_ttl,
                token_issue_time=rfc3339(token.creation_time) or "",
                metadata=token.metadata or {},
            )
        clear = _NOTHING_CLEAR
        if route is not None:
            config = route.record.config
            if config.audit_non_hmac_request_keys or config.audit_non_hmac_response_keys:
                clear = ClearKeys(
                    frozenset(config.audit_non_hmac_request_keys),
                    frozenset(config.audit_non_hmac_response_keys),
                )
        return builder.begin(way.request, holder=holder, mount=route.mount if route else None, clear=clear)

    async def _conclude(
        self, broker: AuditBroker, way: _Way, response: Response | None, error: BaseException | None
    ) -> None:
        """(9) An answer that could not be recorded, or whose client went meanwhile, is told to nobody: take it back."""
        try:
            if way.trail is not None:
                await broker.record(way.trail.response_entry(response, error=error))
            await self._end_used_up(way)
        except BaseException:
            if response is not None:
                await self._shelter.run(self._take_back(response))
            raise

    async def _take_back(self, response: Response) -> None:
        if response.lease is not None and response.data is not None:
            await self._issuer.undelivered(response.lease.id)
        if response.auth is not None and response.auth.is_new:
            token_id = self._keys.hash_token(response.auth.client_token)
            await self._token_service.end(token_id, "undelivered")

    async def _end_used_up(self, way: _Way) -> None:
        """A token whose last use this was ends when it has been served."""
        token = way.token
        if token is None or not way.is_last_use:
            return
        try:
            await self._token_service.end(token.id, "used up")
        except SecretdError as trouble:
            log.warning("token.end_delayed", accessor=token.accessor, error=trouble.code)


def _unwrappable(request: Request) -> SecretdError | None:
    """(8) is not built: who asks for a wrapped answer must not get it in clear."""
    if request.wrap_ttl is None:
        return None
    return InvalidRequestError(
        "response wrapping is not supported yet", hint="ask again without X-Vault-Wrap-TTL"
    )


def _caller(token: TokenRow) -> Caller:
    return Caller(
        display_name=token.display_name,
        accessor=token.accessor,
        entity_id=token.entity_id,
        token_key=token.id.hex(),
        policies=token.policies,
        metadata=token.metadata or {},
        is_root=token.is_root,
    )
