"""From an ``sdk.Response`` to bytes: Vault's envelope, always complete, or a bare body, or nothing."""

from __future__ import annotations

from typing import Any

import msgspec

from secretd.sdk.fields import encode_plain
from secretd.sdk.response import Response, TokenGrant

_encoder = msgspec.json.Encoder(enc_hook=encode_plain)
# On every answer: nothing may keep it, no browser may guess its type, and nobody learns what runs here.
COMMON_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "secretd"}
JSON_HEADERS = {
    "Content-Type": "application/json",
    **COMMON_HEADERS,
}  # exactly: some clients compare it with ==


def encode_response(response: Response, request_id: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers. Only 200, 204 or what the engine said; a 204 has no body."""
    if response.raw is not None:
        body, kind = response.raw
        return response.status or 200, body, {"Content-Type": kind, **COMMON_HEADERS}
    if response.body is not None:
        return response.status or 200, _encoder.encode(response.body), JSON_HEADERS
    if response.is_empty:
        return response.status or 204, b"", COMMON_HEADERS
    return response.status or 200, _encoder.encode(envelope(response, request_id)), JSON_HEADERS


def envelope(response: Response, request_id: str) -> dict[str, Any]:
    """The common envelope; ``spread`` also puts the data at top level, where no key of the envelope is."""
    lease = response.lease
    whole: dict[str, Any] = {
        "request_id": request_id,
        "lease_id": lease.id if lease else "",
        "renewable": lease.renewable if lease else False,
        "lease_duration": lease.duration if lease else response.lease_duration,
        "data": response.data,
        "wrap_info": None,
        "warnings": response.warnings or None,
        "auth": _auth(response.auth) if response.auth else None,
    }
    if response.spread and response.data:
        return {**response.data, **whole}
    return whole


def _auth(grant: TokenGrant) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "client_token": grant.client_token,
        "accessor": grant.accessor,
        "policies": list(grant.policies),
        "token_policies": list(grant.token_policies),
        "metadata": grant.metadata or None,
        "lease_duration": grant.lease_duration,
        "renewable": grant.renewable,
        "entity_id": grant.entity_id,
        "token_type": grant.token_type,
        "orphan": grant.orphan,
        "mfa_requirement": None,
        "num_uses": grant.num_uses,
    }
    if grant.identity_policies:
        shown["identity_policies"] = list(grant.identity_policies)
    return shown
