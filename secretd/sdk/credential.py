"""Names and passwords of the accounts that engines and plugins make.

A username is ``[A-Za-z0-9_-]{1,63}`` by construction and always holds 80 random bits that no cut has touched:
two leases never share an account, and nothing in a name needs quoting anywhere. A template that cannot
promise both is refused when the role is written; where a promise depends on values that come later, the
default template steps in.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import secrets
import string
from collections.abc import Callable
from datetime import UTC, datetime

from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.template import compile_template
from secretd.sdk.template_functions import BASE62, Scope, Text

MAX_USERNAME = 63  # PostgreSQL cuts longer names silently
MIN_USERNAME_BITS = 80.0
MIN_PASSWORD_BITS = 112.0
MIN_PASSWORD = 20  # characters; the fewest that give MIN_PASSWORD_BITS

DEFAULT_TEMPLATE = (
    '{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 8) (.RoleName | truncate 8) (random 20) (unix_time)'
    " | truncate 63 }}"
)

_MAX_FIELD = 256  # characters of a display or role name that a template sees
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_LONG = tuple(letter * _MAX_FIELD for letter in ("a", "Z", "0", ".", "é"))


class UsernameTemplate:
    """A compiled template. ``render`` never fails: whatever a value could break was tried by ``compile``."""

    __slots__ = ("_render",)

    def __init__(self, render: Callable[[Scope], Text]) -> None:
        self._render = render

    @classmethod
    def compile(cls, text: str) -> UsernameTemplate:
        """Return the template; raise ValueError with a reason that does not show the text."""
        template = cls(compile_template(text))
        template.render(display_name="a", role_name="b", now=_EPOCH)
        return template

    def render(self, *, display_name: str, role_name: str, now: datetime) -> str:
        """Return the text as it comes: of any length and with any characters."""
        return self.rendered(display_name=display_name, role_name=role_name, now=now).text

    def rendered(self, *, display_name: str, role_name: str, now: datetime) -> Text:
        """The same, with the random bits of each character."""
        fields = {"DisplayName": display_name[:_MAX_FIELD], "RoleName": role_name[:_MAX_FIELD]}
        return self._render(Scope(fields, now))


def make_username(
    template: UsernameTemplate | None,
    *,
    display_name: str,
    role_name: str,
    now: datetime,
    limit: int = MAX_USERNAME,
) -> str:
    """Return a fresh name of at most ``limit`` characters (51 to 63); ``now`` is aware.

    Characters outside ``[A-Za-z0-9_-]`` become ``-``. None takes the default template.
    """
    if not _DEFAULT_LENGTH <= limit <= MAX_USERNAME:
        raise ValueError(f"a name's limit is {_DEFAULT_LENGTH} to {MAX_USERNAME} characters")
    if template is not None:
        name = _safe(template.rendered(display_name=display_name, role_name=role_name, now=now)).cut(limit)
        if _is_random(name):
            return name.text
    return _safe(_default().rendered(display_name=display_name, role_name=role_name, now=now)).text


@functools.cache
def _default() -> UsernameTemplate:
    return UsernameTemplate.compile(DEFAULT_TEMPLATE)


def check_username_template(text: str, *, limit: int = MAX_USERNAME) -> UsernameTemplate:
    """Return the compiled template; raise InvalidRequestError with what to change.

    Tried with names that are empty and as long as they get: what is cut is cut most by the longest.
    """
    try:
        template = UsernameTemplate.compile(text)
    except ValueError as error:
        raise InvalidRequestError(f"username_template: {error}") from None
    for display_name, role_name in itertools.product(("", *_LONG), repeat=2):
        name = _safe(template.rendered(display_name=display_name, role_name=role_name, now=_EPOCH))
        if not _is_random(name.cut(limit)):
            raise InvalidRequestError(
                f"username_template leaves fewer than {MIN_USERNAME_BITS:.0f} random bits in a name",
                hint="have (random 14) or more, shorten the names before it: (.DisplayName | truncate 8)",
            )
        if len(name.text) > limit:
            raise InvalidRequestError(
                f"username_template makes names longer than {limit} characters",
                hint=f"end it with | truncate {limit}",
            )
    return template


def _safe(name: Text) -> Text:
    # The account of bits is right only where a character stands for itself.
    kept = tuple(0.0 if _UNSAFE.match(c) else bits for c, bits in zip(name.text, name.bits, strict=True))
    return Text(_UNSAFE.sub("-", name.text), kept)


def _is_random(name: Text) -> bool:
    return sum(name.bits) >= MIN_USERNAME_BITS


_DEFAULT_LENGTH = len("v-") + 8 + 1 + 8 + 1 + 20 + 1 + 10

_CLASSES = (string.ascii_uppercase, string.ascii_lowercase, string.digits, "-")
_ALPHABET = BASE62 + "-"


def make_password(length: int = MIN_PASSWORD) -> str:
    """Return a password of letters, digits and ``-``, each kind at least once, ``-`` never first.

    Safe in URLs, in quotes and, for it cannot look like an option, on command lines. Drawn until it fits, about
    four times: so every password that fits is equally likely, and :func:`password_bits` is exact.
    """
    password_bits(length)
    while True:
        drawn = secrets.choice(BASE62) + "".join(secrets.choice(_ALPHABET) for _ in range(length - 1))
        if all(set(drawn) & set(kind) for kind in _CLASSES):
            return drawn


@functools.cache
def password_bits(length: int = MIN_PASSWORD) -> float:
    """Return the bits of :func:`make_password`; raise ValueError below 20 or above 256 characters."""
    if not MIN_PASSWORD <= length <= 256:
        raise ValueError(f"a password has {MIN_PASSWORD} to 256 characters")
    # Inclusion and exclusion over the kinds that are missing.
    fitting = 0
    for count in range(len(_CLASSES) + 1):
        for missing in itertools.combinations(_CLASSES, count):
            gone = set("".join(missing))
            first = len(set(BASE62) - gone)
            fitting += (-1) ** count * first * len(set(_ALPHABET) - gone) ** (length - 1)
    return math.log2(fitting)
