"""Shapes: what callers write and what is stored. ``user/{name}`` is a user; names are lower case."""

from __future__ import annotations

import re

import msgspec

from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Sensitive, Strings
from secretd.sdk.token_fields import TokenFields, TokenParameters

_NAME = re.compile(r"[a-z0-9_][a-z0-9_.@+-]{0,127}\Z")


class Named(msgspec.Struct):
    """A path's username."""

    username: str


class UserFields(TokenFields, kw_only=True):
    """``users/{username}``. Absent = as it was; a new user needs a password."""

    username: str
    password: Sensitive | None = None
    password_hash: Sensitive | None = None


class PasswordFields(msgspec.Struct, kw_only=True):
    """``users/{username}/password``."""

    username: str
    password: Sensitive | None = None
    password_hash: Sensitive | None = None


class PolicyFields(msgspec.Struct, kw_only=True):
    """``users/{username}/policies``."""

    username: str
    token_policies: Strings | None = None
    policies: Strings | None = None


class Login(msgspec.Struct, kw_only=True):
    """``login/{username}``."""

    username: str
    password: Sensitive | None = None


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user as stored."""

    password_hash: Sensitive
    token: TokenParameters = TokenParameters()


def find_name(text: str) -> str | None:
    """The canonical name: one spelling for each user, or None for what is no name."""
    name = text.lower()
    return name if text.isascii() and _NAME.match(name) else None


def get_name(text: str) -> str:
    """The canonical name; InvalidRequestError for what is none (a space at an end makes no second user)."""
    name = find_name(text)
    if name is None:
        raise InvalidRequestError("a username has letters, digits and _ . @ + -, at most 128 of them")
    return name


def user_key(name: str) -> str:
    """Where a user is stored."""
    return f"user/{name}"
