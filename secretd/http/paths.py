"""The one path of a request: canonical text, or a refusal. Policies and router see this very string.

Read from the raw request target, before anything has decoded it, because two decoders that disagree
are a way around a policy. Percent escapes are decoded exactly once; what could be read as a separator
or as a relative segment by somebody who decodes again is refused however it is spelt.

1. origin form only, no fragment, no control characters, escapes well formed;
2. no escape of ``.``, ``/`` or a backslash, no raw backslash;
3. valid UTF-8 (no overlong forms, no surrogates), no control characters after decoding;
4. no ``.`` or ``..`` segments;
5. at most MAX_PATH bytes;
6. ``//`` is the one form that is repaired, by a redirect to the clean path.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from secretd.sdk.errors import InvalidRequestError, NotFoundError, SecretdError

PREFIX: Final = "/v1/"
MAX_PATH: Final = 2048  # bytes; a key is a path and a mount's prefix, and a B-tree key ends at 2704
# Nothing to decode, no empty segment, none that begins with a dot: nearly every request.
_PLAIN = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~:@-]*)+/?\Z")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HIDDEN = re.compile(r"%(?:2[EeFf]|5[Cc])|\\")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SLASHES = re.compile(r"//+")
_URL_SAFE = "/%~!$&'()*+,;=:@"


class RedirectError(SecretdError):
    """the path has empty segments; ask for the clean one"""

    code = "redirect"

    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location  # path and query on this server: one leading slash, never a host


def canonical_path(target: str) -> str:
    """Return the decoded path after ``/v1/`` of a raw request target (``/v1/secret/a%20b?list=true``).

    A trailing slash stays. Raises InvalidRequestError for a form that is not canonical, RedirectError
    for one that only has empty segments, NotFoundError outside ``/v1/``. No error holds the path.
    """
    raw, question, query = target.partition("?")
    if not _PLAIN.match(raw) or len(raw) > MAX_PATH:
        _require_readable(raw)
        decoded = _decode(raw)
        _require_canonical(decoded)
        if "//" in raw:
            raise RedirectError(_clean(raw) + question + quote(query, safe=_URL_SAFE + "?"))
    else:
        decoded = raw
    if not decoded.startswith(PREFIX):
        raise NotFoundError
    return decoded[len(PREFIX) :]


def _require_readable(raw: str) -> None:
    if not raw.startswith("/"):
        raise InvalidRequestError("the request target is a path that begins with a slash")
    if "#" in raw or _CONTROL.search(raw):
        raise InvalidRequestError("the path holds a character that must be percent-encoded")
    if _BAD_ESCAPE.search(raw):
        raise InvalidRequestError("the path holds an incomplete percent escape")
    if _HIDDEN.search(raw):
        raise InvalidRequestError("dots, slashes and backslashes are not percent-encoded in a path")


def _decode(raw: str) -> str:
    try:  # raw bytes that are no UTF-8 come from the parser as surrogates, which encode() refuses
        return unquote_to_bytes(raw).decode() if "%" in raw else raw.encode().decode()
    except UnicodeError:
        raise InvalidRequestError("the path is not valid UTF-8") from None


def _require_canonical(decoded: str) -> None:
    if _CONTROL.search(decoded):
        raise InvalidRequestError("the path holds a control character")
    if any(segment in {".", ".."} for segment in decoded.split("/")):
        raise InvalidRequestError("relative paths not supported")
    if len(decoded.encode()) > MAX_PATH:
        raise InvalidRequestError(f"the path is longer than {MAX_PATH} bytes")


def _clean(raw: str) -> str:
    # Decoded once already and found harmless; non-ASCII is escaped because this becomes a header.
    return quote(_SLASHES.sub("/", raw), safe=_URL_SAFE)
