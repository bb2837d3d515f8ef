"""What every auth method's roles and users say about the tokens of their logins. Spans are seconds.

Fields of a write are merged over what was stored; absent fields stay. The old names (``policies``, ``ttl``,
``max_ttl``, ``period``) mean the same, and ``policies`` is shown again to those who wrote it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from secretd.sdk.engine import Mount
from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Duration, Strings
from secretd.sdk.response import Auth

_TYPES = ("", "default", "default-service", "service")
_MOST_USES = 2**31 - 1


class TokenFields(msgspec.Struct, kw_only=True):
    """The fields of a write, for the Structs of auth methods to inherit."""

    token_ttl: Duration | None = None
    token_max_ttl: Duration | None = None
    token_explicit_max_ttl: Duration | None = None
    token_period: Duration | None = None
    token_num_uses: int | None = None
    token_policies: Strings | None = None
    token_no_default_policy: bool | None = None
    token_type: str | None = None
    token_bound_cidrs: Strings | None = None
    token_strictly_bind_ip: bool | None = None
    policies: Strings | None = None
    ttl: Duration | None = None
    max_ttl: Duration | None = None
    period: Duration | None = None


class TokenParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters as stored inside a role or user."""

    ttl: int = 0
    max_ttl: int = 0
    explicit_max_ttl: int = 0
    period: int = 0
    num_uses: int = 0
    policies: tuple[str, ...] = ()
    no_default_policy: bool = False
    type: str = "default"
    has_old_policies: bool = False

    def merge(self, fields: TokenFields) -> TokenParameters:
        """These parameters with the fields of a write; InvalidRequestError names the field."""
        _refuse(fields)
        written = fields.policies if fields.token_policies is None else fields.token_policies
        merged = TokenParameters(
            ttl=_span("token_ttl", self.ttl, fields.token_ttl, fields.ttl),
            max_ttl=_span("token_max_ttl", self.max_ttl, fields.token_max_ttl, fields.max_ttl),
            explicit_max_ttl=_span(
                "token_explicit_max_ttl", self.explicit_max_ttl, fields.token_explicit_max_ttl
            ),
            period=_span("token_period", self.period, fields.token_period, fields.period),
            num_uses=_uses(self.num_uses, fields.token_num_uses),
            policies=self.policies if written is None else policy_names(written),
            no_default_policy=_or(fields.token_no_default_policy, self.no_default_policy),
            type=fields.token_type or self.type,
            has_old_policies=self.has_old_policies if written is None else fields.token_policies is None,
        )
        if merged.max_ttl and merged.ttl > merged.max_ttl:
            raise InvalidRequestError("'token_ttl' cannot be greater than 'token_max_ttl'")
        return merged

    def shown(self) -> dict[str, Any]:
        """What a read answers."""
        data: dict[str, Any] = {
            "token_bound_cidrs": [],
            "token_explicit_max_ttl": self.explicit_max_ttl,
            "token_max_ttl": self.max_ttl,
            "token_no_default_policy": self.no_default_policy,
            "token_num_uses": self.num_uses,
            "token_period": self.period,
            "token_policies": list(self.policies),
            "token_strictly_bind_ip": False,
            "token_ttl": self.ttl,
            "token_type": self.type,
        }
        if self.has_old_policies:
            data["policies"] = list(self.policies)
        return data

    def auth(self, *, display_name: str, metadata: dict[str, str], role_key: str, alias_name: str) -> Auth:
        """The wish of a login that succeeded."""
        return Auth(
            display_name=display_name,
            policies=self.policies,
            ttl=self.ttl,
            max_ttl=self.max_ttl,
            explicit_max_ttl=self.explicit_max_ttl,
            period=self.period,
            num_uses=self.num_uses,
            metadata=metadata,
            no_default_policy=self.no_default_policy,
            role_key=role_key,
            alias_name=alias_name,
        )


def policy_names(written: Strings) -> tuple[str, ...]:
    """Lower case, each once, in order; ``root`` is refused: no login makes a root token."""
    found = tuple(sorted({name.lower() for name in written}))
    if "root" in found:
        raise InvalidRequestError("auth methods cannot create root tokens")
    return found


def display_name_of(mount: Mount, name: str = "") -> str:
    """The display name of a login at this mount: ``userpass-alice``, ``approle``."""
    place = mount.path.removeprefix("auth/").strip("/").replace("/", "-")
    return f"{place}-{name}" if name else place


def _refuse(fields: TokenFields) -> None:
    """What is not enforced yet is refused: a limit that is stored and ignored would be a lie."""
    if fields.token_bound_cidrs:
        raise InvalidRequestError(
            "token_bound_cidrs is not enforced yet, so it is refused", hint="leave it out"
        )
    if fields.token_strictly_bind_ip:
        raise InvalidRequestError(
            "token_strictly_bind_ip is not enforced yet, so it is refused", hint="leave it out"
        )
    if (fields.token_type or "") not in _TYPES:
        raise InvalidRequestError("invalid 'token_type' value", hint="service and default are served")


def _span(name: str, before: int, *written: Duration | None) -> int:
    seconds = next((int(span) for span in written if span is not None), before)
    if seconds < 0:
        raise InvalidRequestError(f"{name} cannot be negative")
    return seconds


def _uses(before: int, written: int | None) -> int:
    uses = before if written is None else written
    if not 0 <= uses <= _MOST_USES:
        raise InvalidRequestError(f"token_num_uses is between 0 and {_MOST_USES}")
    return uses


def _or(written: bool | None, before: bool) -> bool:
    return before if written is None else written
