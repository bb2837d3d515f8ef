"""Certificates for tests of TLS: servers, strangers of every kind, a small authority and a thief."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ipaddress
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

    Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Folder:
    """Certificates and keys as files: ``name.crt`` and ``name.key``."""

    path: Path
    chains: dict[str, list[bytes]]

    def cert(self, name: str) -> Path:
        return self.path / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.path / f"{name}.key"

    def digests(self, name: str | None) -> list[str]:
        return [hashlib.sha256(der).hexdigest() for der in self.chains[name]] if name else []

    def save(self, name: str, key: Key | bytes, *chain: x509.Certificate) -> None:
        ders = [one.public_bytes(serialization.Encoding.DER) for one in chain]
        self.save_ders(name, key, ders)

    def save_ders(self, name: str, key: Key | bytes, ders: list[bytes]) -> None:
        self.chains[name] = ders
        self.cert(name).write_text("".join(ssl.DER_cert_to_PEM_cert(der) for der in ders))
        self.key(name).write_bytes(key if isinstance(key, bytes) else key_pem(key))


def key_pem(key: Key, password: bytes | None = None) -> bytes:
    sealed = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def certificate(
    name: str,
    key: Key,
    *,
    issuer: x509.Certificate | None = None,
    issuer_key: Key | None = None,
    is_ca: bool = False,
    days: tuple[int, int] = (-1, 30),
    extra: tuple[x509.ExtensionType, ...] = (),
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days[0]))
        .not_valid_after(now + dt.timedelta(days[1]))
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
    )
    for extension in extra:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key or key, hashes.SHA256())


def forged_key(owner: ec.EllipticCurvePrivateKey) -> bytes:
    """Another private key that claims the owner's public point; loading a pair compares only the points."""
    thief = new_key()
    points = [
        one.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        for one in (thief, owner)
    ]
    der = thief.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert points[0] in der
    text = base64.encodebytes(der.replace(points[0], points[1]))
    return b"-----BEGIN PRIVATE KEY-----\n" + text + b"-----END PRIVATE KEY-----\n"


def make_folder(path: Path) -> Folder:
    """Servers, strangers of every kind, a CA with an intermediate, and a thief."""
    made = Folder(path, {})
    local = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    for name in ("server", "server2"):
        key = new_key()
        made.save(name, key, certificate(name, key, is_ca=True, extra=(local,)))
    (made.path / "servers.pem").write_text(made.cert("server").read_text() + made.cert("server2").read_text())
    for name, days in (("self", (-1, 30)), ("expired", (-30, -2)), ("future", (10, 20))):
        key = new_key()
        made.save(name, key, certificate(name, key, days=days))
    key = new_key()
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    made.save("serveronly", key, certificate("serveronly", key, extra=(usage,)))
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    made.save("rsa", rsa_key, certificate("rsa", rsa_key))
    odd = certificate("odd", key, extra=(x509.SubjectAlternativeName([x509.DNSName("badname")]),))
    der = odd.public_bytes(serialization.Encoding.DER).replace(b"badname", b"bad\xff\xfe\xfd\xfc")
    made.save_ders("badname", key, [der])  # no text: ssl's dict form of it raises
    save_authority(made)
    return made


def save_authority(made: Folder) -> None:
    root_key, middle_key, leaf_key = new_key(), new_key(), new_key()
    root = certificate("root", root_key, is_ca=True)
    middle = certificate("middle", middle_key, issuer=root, issuer_key=root_key, is_ca=True)
    leaf = certificate("leaf", leaf_key, issuer=middle, issuer_key=middle_key)
    made.save("root", root_key, root)
    made.save("leaf", leaf_key, leaf, middle)
    made.save("forged", forged_key(leaf_key), leaf, middle)
