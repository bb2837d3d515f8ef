"""``sys/policies`` and the older ``sys/policy``: what tokens may do, and how passwords are made."""

from __future__ import annotations

import base64
import binascii

import msgspec

from secretd.core.parts import Parts
from secretd.core.policy.acl import ROOT
from secretd.core.policy.builtin import DEFAULT, normalise_policy_name
from secretd.sdk.errors import InvalidRequestError, NotFoundError
from secretd.sdk.fields import NAME
from secretd.sdk.path import Nothing, Path
from secretd.sdk.request import DELETE, LIST, READ, UPDATE, Call
from secretd.sdk.response import Response, names


class NameFields(msgspec.Struct):
    """A policy's name."""

    name: str


class PolicyFields(msgspec.Struct):
    """A policy's text, plain or in base64; ``rules`` is its old name."""

    name: str
    policy: str | None = None
    rules: str | None = None


class PasswordFields(msgspec.Struct):
    """A password policy's text, plain or in base64."""

    name: str
    policy: str | None = None


def paths(parts: Parts) -> tuple[Path, ...]:
    """The table."""
    acl, old, password = AclPolicies(parts), OldPolicies(parts), PasswordPolicies(parts)
    return (
        Path(LIST, "policies/acl", Nothing, acl.list_names),
        Path(READ, "policies/acl/{name*}", NameFields, acl.read),
        Path(UPDATE, "policies/acl/{name*}", PolicyFields, acl.write),
        Path(DELETE, "policies/acl/{name*}", NameFields, acl.delete),
        Path(READ, "policy", Nothing, old.list_names),
        Path(LIST, "policy", Nothing, old.list_names),
        Path(READ, "policy/{name*}", NameFields, old.read),
        Path(UPDATE, "policy/{name*}", PolicyFields, old.write),
        Path(DELETE, "policy/{name*}", NameFields, acl.delete),
        Path(LIST, "policies/password", Nothing, password.list_names),
        Path(READ, "policies/password/{name}/generate", NameFields, password.generate),
        Path(READ, "policies/password/{name}", NameFields, password.read),
        Path(UPDATE, "policies/password/{name}", PasswordFields, password.write),
        Path(DELETE, "policies/password/{name}", NameFields, password.delete),
    )


class AclPolicies:
    """Policies of what tokens may do."""

    def __init__(self, parts: Parts) -> None:
        self._policies = parts.policies

    async def list_names(self, call: Call, fields: Nothing) -> Response:
        """List the policies."""
        return names(await self._policies.list_names())

    async def read(self, call: Call, fields: NameFields) -> Response:
        """Read a policy's text, byte for byte."""
        name, text = await self._get(fields.name)
        return Response(data={"name": name, "policy": text})

    async def write(self, call: Call, fields: PolicyFields) -> None:
        """Write a policy. It counts for the next request of every token."""
        text = _plain(fields.policy or "")
        if not text:
            raise InvalidRequestError("'policy' parameter not supplied or empty")
        await self._policies.write(normalise_policy_name(fields.name), text)

    async def delete(self, call: Call, fields: NameFields) -> None:
        """Remove a policy; what it granted is gone with the next request."""
        name = _canonical(fields.name)
        if name == DEFAULT:
            raise InvalidRequestError("cannot delete default policy")
        if name is not None:
            await self._policies.delete(name)

    async def _get(self, said: str) -> tuple[str, str]:
        name = _canonical(said)
        text = "" if name == ROOT else None if name is None else await self._policies.find(name)
        if name is None or text is None:
            raise NotFoundError
        return name, text


def _canonical(said: str) -> str | None:
    """The canonical name; None for a name that no policy can have, so that none is there to read or to remove."""
    try:
        return normalise_policy_name(said)
    except InvalidRequestError:
        return None


class OldPolicies(AclPolicies):
    """The same policies in the shape of Vault's first API."""

    async def list_names(self, call: Call, fields: Nothing) -> Response:
        """List the policies."""
        found = await self._policies.list_names()
        return Response(data={"keys": found, "policies": found}, spread=True)

    async def read(self, call: Call, fields: NameFields) -> Response:
        """Read a policy's text, byte for byte."""
        name, text = await self._get(fields.name)
        return Response(data={"name": name, "rules": text}, spread=True)

    async def write(self, call: Call, fields: PolicyFields) -> None:
        """Write a policy, under the field's new name or its old one."""
        if fields.policy is None and fields.rules is not None:
            call.warn("'rules' is deprecated, please use 'policy' instead")
            fields.policy = fields.rules
        await super().write(call, fields)


class PasswordPolicies:
    """Policies of how passwords are made."""

    def __init__(self, parts: Parts) -> None:
        self._policies = parts.policies

    async def list_names(self, call: Call, fields: Nothing) -> Response:
        """List the password policies."""
        return names(await self._policies.list_password_names())

    async def read(self, call: Call, fields: NameFields) -> Response:
        """Read a password policy's text."""
        return Response(data={"policy": await self._get(fields.name)})

    async def write(self, call: Call, fields: PasswordFields) -> None:
        """Write a password policy, if some password can satisfy it."""
        _require_name(fields.name)
        if not fields.policy:
            raise InvalidRequestError("missing policy")
        await self._policies.write_password(fields.name, _plain(fields.policy))

    async def delete(self, call: Call, fields: NameFields) -> None:
        """Remove a password policy."""
        _require_name(fields.name)
        await self._policies.delete_password(fields.name)

    async def generate(self, call: Call, fields: NameFields) -> Response:
        """Make a password by the policy."""
        await self._get(fields.name)
        password = await self._policies.generate_password(fields.name)
        return Response(data={"password": password.reveal()}, sensitive_fields=frozenset({"password"}))

    async def _get(self, name: str) -> str:
        _require_name(name)
        text = await self._policies.find_password(name)
        if text is None:
            raise NotFoundError("policy does not exist")
        return text


def _require_name(name: str) -> None:
    if not NAME.match(name):
        raise InvalidRequestError("a policy's name is letters, digits, _ . and -, at most 128")


def _plain(text: str) -> str:
    """The text itself. Clients may send it in base64, which no policy looks like: it has quotes and braces."""
    try:
        return base64.b64decode(text, validate=True).decode() or text
    except (binascii.Error, ValueError):
        return text
