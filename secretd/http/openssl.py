"""Ask every TLS client for a certificate and judge none of them: one OpenSSL call that Python's ssl lacks.

Vault's cert auth judges a chain at login (pinned leaf, CA roles, revocation); the handshake must not.
``CERT_NONE`` does not ask, ``CERT_OPTIONAL`` ends the handshake of a certificate nobody vouches for.
``SSL_CTX_set_cert_verify_callback`` replaces the judgement of the chain, and only that: the client
still has to sign the handshake with the key of the certificate that it shows.

Two things could be wrong, and each is proved before the call or refused with a ConfigError:

1. Which OpenSSL? Symbols come through the handle of the ``_ssl`` extension, so from the library it is
   linked to, and that library's version text must be the one Python reports.
2. Which ``SSL_CTX``? No struct is read. OpenSSL's public ex_data hook reports contexts as they are made;
   exactly one must be reported in this thread, and its verify mode must follow the Python object's.
"""

from __future__ import annotations

import _ssl
import ctypes
import ssl
import threading
from typing import Any, Final

from secretd.sdk.errors import ConfigError

_CTX_CLASS: Final = 1  # CRYPTO_EX_INDEX_SSL_CTX
_SET_SESSION_CACHE: Final = 44  # SSL_CTRL_SET_SESS_CACHE_MODE
_MODES: Final = ((ssl.CERT_NONE, 0), (ssl.CERT_OPTIONAL, 1))  # Python's, and OpenSSL's SSL_VERIFY_…
_NewExData = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p
)
_Verify = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_making = threading.Lock()  # one context at a time, so that a report has one meaning
_reported: list[tuple[int, int]] = []  # thread and address of each context made meanwhile


def _report(context: int, _ptr: int, _data: int, _index: int, _argl: int, _argp: int) -> None:
    _reported.append((threading.get_ident(), context))


# C keeps these addresses: they live as long as the module.
_REPORT: Final = _NewExData(_report)
_ACCEPT: Final = _Verify(lambda _store, _argument: 1)


def make_accepting_context(kind: type[ssl.SSLContext] = ssl.SSLContext) -> ssl.SSLContext:
    """Return a server context that accepts any chain; ``verify_mode`` says whether one is asked for or needed.

    Sessions are not kept in it: one resumed would show no chain. Raises ConfigError where this Python's
    ssl does not allow it.
    """
    library = _library()
    context, address = _make(library, kind)
    _require_same(library, context, address)
    library.SSL_CTX_set_cert_verify_callback(address, _ACCEPT, None)
    library.SSL_CTX_ctrl(address, _SET_SESSION_CACHE, 0, None)
    return context


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(getattr(_ssl, "__file__", None))
    try:
        _declare(library)
        version: bytes = library.OpenSSL_version(0)
    except AttributeError:  # a statically linked _ssl
        raise _refusal("it hides OpenSSL's symbols") from None
    if version.decode() != ssl.OPENSSL_VERSION:
        raise _refusal("two OpenSSL libraries answer")
    return library


def _declare(library: ctypes.CDLL) -> None:
    pointer, number, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_long
    library.OpenSSL_version.restype = ctypes.c_char_p
    library.CRYPTO_get_ex_new_index.argtypes = [number, long, pointer, _NewExData, pointer, pointer]
    library.CRYPTO_free_ex_index.argtypes = [number, number]
    library.SSL_CTX_get_verify_mode.argtypes = [pointer]
    library.SSL_CTX_ctrl.argtypes = [pointer, number, long, pointer]
    library.SSL_CTX_ctrl.restype = long
    library.SSL_CTX_set_cert_verify_callback.argtypes = [pointer, _Verify, pointer]
    library.SSL_CTX_set_cert_verify_callback.restype = None


def _make(library: Any, kind: type[ssl.SSLContext]) -> tuple[ssl.SSLContext, int]:
    with _making:
        _reported.clear()
        index: int = library.CRYPTO_get_ex_new_index(_CTX_CLASS, 0, None, _REPORT, None, None)
        try:
            context = kind(ssl.PROTOCOL_TLS_SERVER)
        finally:
            library.CRYPTO_free_ex_index(_CTX_CLASS, index)
        found = [address for thread, address in _reported if thread == threading.get_ident()]
    if len(found) != 1:
        raise _refusal("OpenSSL did not report the new context")
    return context, found[0]


def _require_same(library: Any, context: ssl.SSLContext, address: int) -> None:
    before = context.verify_mode
    for mode, expected in _MODES:
        context.verify_mode = mode
        if library.SSL_CTX_get_verify_mode(address) != expected:
            raise _refusal("the context found is not the one made")
    context.verify_mode = before


def _refusal(reason: str) -> ConfigError:
    return ConfigError(
        f"client_certs needs client_ca with this Python's ssl: {reason}",
        hint='use a python.org or distribution Python, set client_ca, or set client_certs = "none"',
    )
