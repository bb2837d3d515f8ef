"""The daemon's configuration: what is read, what is refused and how, what the shipped files say."""

from __future__ import annotations

import base64
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from secretd.core.audit.place import DeviceSpec
from secretd.core.policy.parse import parse_policy
from secretd.sdk.errors import ConfigError
from secretd.sdk.fields import Sensitive
from secretd.sdk.plugin import Reach
from secretd.server import config_schema as schema
from secretd.server.config import dev_config, load_config, load_storage, parse_storage, static_seal
from secretd.server.options import ServerOptions

ROOT = Path(__file__).parents[2]
CANARY = "c4n4ryS3cret"
KEY = bytes(range(32))
STORAGE = f'url = "postgresql://secretd:{CANARY}@db.example/secretd"'
LISTENER = 'address = "127.0.0.1:8200"\ntls = "off"'
TLS = 'address = "127.0.0.1:8200"\ntls_cert = "cert.pem"\ntls_key = "key.pem"'
STATIC = 'type = "static"\nkey = "file:seal.key"\nkey_id = "a"'

# Every key of the outer interface, by section.
KEYS = {
    "storage": "url pool_size connect_retry migrate pgbouncer listen_url state_dir restore_hold",
    "listener": "address tls tls_cert tls_key tls_min_version client_certs client_ca trusted_proxies"
    " proxy_protocol unauthenticated_metrics",
    "seal": "type key key_id previous_key previous_key_id init root_token_file",
    "api": "address max_request_bytes request_deadline default_lease_ttl max_lease_ttl audit_api_dir"
    " allow_unauthenticated_rekey",
    "targets": "deadline connect_timeout concurrency deny_networks",
    "scheduler": "workers",
    "plugins": "allow user pins",
    "audit": "type path required fsync",
    "log": "level format",
}
# What production.toml sets to something else than the default.
CHANGED = {
    "storage.url", "listener.address", "listener.tls_cert", "listener.tls_key", "seal.type", "seal.key", "seal.key_id",
    "api.address", "plugins.allow", "audit.path", "log.format",
}  # fmt: skip


def text(**sections: str) -> str:
    """A configuration that is good but for the sections given; ``extra`` stands first."""
    extra = sections.pop("extra", "")
    parts = {"storage": STORAGE, "listener": LISTENER} | sections
    shown = {name: f"[[{name}]]" if name in ("listener", "audit") else f"[{name}]" for name in parts}
    return extra + "\n" + "\n".join(f"{shown[name]}\n{body}\n" for name, body in parts.items())


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """``load(text, **environment)`` in a folder that has a seal key and a second one."""
    for name in ("seal.key", "old.key"):
        (tmp_path / name).write_bytes(KEY if name == "seal.key" else KEY[::-1])
        (tmp_path / name).chmod(0o600)

    def run(content: str, **environ: str) -> schema.Config:
        path = tmp_path / "secretd.toml"
        path.write_text(content)
        return load_config(path, environ=environ)

    return run


BAD = [
    # section.key                      hint                          what is written
    ("storage.url", "source", text(storage="pool_size = 3")),
    ("storage.url", "postgresql", text(storage=f'url = "mysql://root:{CANARY}@db/x"')),
    ("storage.url", "", text(storage=f'url = "postgresql://u:{CANARY}@db:99999/x"')),
    ("storage.url", "", text(storage=f'url = "postgresql://u:{CANARY}@db/x?sslmod=require"')),
    ("storage.url", "embedded:/", text(storage='url = "embedded:"')),
    ("storage.url", "", text(storage="url = 5")),
    ("storage.url", "", text(storage='url = ""')),
    ("storage.url", "permissions", text(storage='url = "file:absent"')),
    ("storage.url", "source", text(storage='url = "env:NOT_SET"')),
    ("storage.url", "LoadCredential", text(storage='url = "cred:database-url"')),
    ("storage.url", "source", text(storage='url = "cred:../shadow"')),
    ("storage.pool_sise", "storage.pool_size", text(storage=STORAGE + "\npool_sise = 3")),
    ("storage.pool_size", "whole number", text(storage=STORAGE + "\npool_size = 0")),
    ("storage.pool_size", "whole number", text(storage=STORAGE + f'\npool_size = "{CANARY}"')),
    ("storage.pool_size", "whole number", text(storage=STORAGE + "\npool_size = true")),
    ("storage.connect_retry", "at least", text(storage=STORAGE + '\nconnect_retry = "-5s"')),
    ("storage.connect_retry", "1h30m", text(storage=STORAGE + f'\nconnect_retry = "{CANARY}"')),
    ("storage.connect_retry", "1h30m", text(storage=STORAGE + "\nconnect_retry = nan")),
    ("storage.migrate", '"never"', text(storage=STORAGE + f'\nmigrate = "{CANARY}"')),
    ("storage.pgbouncer", "without quotes", text(storage=STORAGE + '\npgbouncer = "yes"')),
    ("storage.listen_url", "leave it", text(storage=STORAGE + f'\nlisten_url = "postgresql://u:{CANARY}@db"')),
    ("storage.restore_hold", "auto", text(storage=STORAGE + '\nrestore_hold = "always"')),
    ("storage is", "[storage]", 'storage = "postgresql://"'),
    ("pool_size", "[storage]", text(extra="pool_size = 3")),
    ("lisener", "listener", text() + "[lisener]\n"),
    ("(a key)", "known", text() + f'["{CANARY} and more"]\n'),
    ("listener is", "[[listener]]", f"[storage]\n{STORAGE}\n[listener]\n{LISTENER}"),
    ("listener.address", "[[listener]]", f"[storage]\n{STORAGE}\n"),
    ("listener.address", "HOST:PORT", text(listener='tls = "off"')),
    ("listener.address", "HOST:PORT", text(listener='address = "127.0.0.1"\ntls = "off"')),
    ("listener.address", "HOST:PORT", text(listener='address = "127.0.0.1:70000"\ntls = "off"')),
    ("listener.address", "HOST:PORT", text(listener='address = "127.0.0.256:8200"\ntls = "off"')),
    ("listener.address", "HOST:PORT", text(listener='address = "::1:8200"\ntls = "off"')),
    ("listener.address", "HOST:PORT", text(listener='address = ":8200"\ntls = "off"')),
    ("listener.address", "HOST:PORT", text(listener='address = "unix:relative.sock"')),
    ("listener.address", "65535", text(listener='address = "127.0.0.1:0"\ntls = "off"')),
    ("listener.tls_cert", 'tls = "off" is written out', text(listener='address = "0.0.0.0:8200"')),
    ("listener.tls_key", 'tls = "off"', text(listener='address = "127.0.0.1:8200"\ntls_cert = "cert.pem"')),
    ("listener.tls_cert", "take it out", text(listener=LISTENER + '\ntls_cert = "cert.pem"')),
    ("listener.client_ca", "take it out", text(listener='address = "unix:/run/s.sock"\nclient_ca = "ca.pem"')),
    ("listener.client_certs", "take it out", text(listener=LISTENER + '\nclient_certs = "request"')),
    ("listener.client_ca", "client_certs", text(listener=TLS + '\nclient_ca = "ca.pem"')),
    ("listener.client_certs", '"request"', text(listener=TLS + f'\nclient_certs = "{CANARY}"')),
    ("listener.tls_min_version", '"1.3"', text(listener=TLS + '\ntls_min_version = "1.1"')),
    ("listener.tls_min_version", '"1.3"', text(listener=TLS + "\ntls_min_version = 1.2")),
    ("listener.trusted_proxies", "10.0.0.0/8", text(listener=LISTENER + '\ntrusted_proxies = ["10.0.0.0/33"]')),
    ("listener.trusted_proxies", "10.0.0.0/8", text(listener=LISTENER + '\ntrusted_proxies = ["10.0.0.1/8"]')),
    ("listener.trusted_proxies", "10.0.0.0/8", text(listener=LISTENER + '\ntrusted_proxies = "10.0.0.0/8"')),
    ("listener.proxy_protocol", "trusted_proxies", text(listener=LISTENER + "\nproxy_protocol = true")),
    ("listener.address (table 2)", "its own", text() + f"[[listener]]\n{TLS}"),
    ("listener.tls_cert (table 2)", "TLS", text() + '[[listener]]\naddress = "10.0.0.1:8200"'),
    ("seal.type", "shamir", text(seal='type = "awskms"')),
    ("seal.type", "static", text(seal=f'type = "{CANARY}"')),
    ("seal.key ", "static", text(seal='key = "file:seal.key"')),
    ("seal.key ", "keygen", text(seal='type = "static"\nkey_id = "a"')),
    ("seal.key_id", "key_id", text(seal='type = "static"\nkey = "file:seal.key"')),
    ("seal.key ", "source", text(seal=f'type = "static"\nkey_id = "a"\nkey = "{CANARY}"')),
    ("seal.key ", "keygen", text(seal='type = "static"\nkey_id = "a"\nkey = "file:secretd.toml"')),
    ("seal.key", "permissions", text(seal='type = "static"\nkey_id = "a"\nkey = "file:absent"')),
    ("seal.key", "", text(seal='type = "static"\nkey_id = "a"\nkey = "file:/dev/null"')),
    ("seal.previous_key", "both or none", text(seal=STATIC + '\nprevious_key = "file:old.key"')),
    ("seal.previous_key", "both or none", text(seal=STATIC + '\nprevious_key_id = "b"')),
    ("seal.previous_key_id", "new id", text(seal=STATIC + '\nprevious_key = "file:old.key"\nprevious_key_id = "a"')),
    ("seal.root_token_file", "auto", text(seal=STATIC + '\ninit = "auto"')),
    ("seal.root_token_file", "auto", text(seal=STATIC + '\nroot_token_file = "/run/token"')),
    ("seal.init", '"static"', text(seal='init = "auto"\nroot_token_file = "/run/token"')),
    ("seal.init", '"manual"', text(seal=STATIC + "\ninit = true")),
    ("api.address", "https://HOST:PORT", text(api=f'address = "https://u:{CANARY}@h:8200"')),
    ("api.address", "https://HOST:PORT", text(api='address = "secretd.example:8200"')),
    ("api.address", "https://HOST:PORT", text(api='address = "https://secretd.example:99999"')),
    ("api.address", "text", text(api="address = 2026-11-01")),
    ("api.max_request_bytes", "whole number", text(api="max_request_bytes = -1")),
    ("api.request_deadline", "at least", text(api="request_deadline = 0")),
    ("api.default_lease_ttl", "raise", text(api='default_lease_ttl = "48h"\nmax_lease_ttl = "24h"')),
    ("api.default_lease_ttl", "at least", text(api='default_lease_ttl = "-1h"')),
    ("api.max_lease_ttl", "1h30m", text(api='max_lease_ttl = "900000h"')),
    ("api.allow_unauthenticated_rekey", "false", text(api="allow_unauthenticated_rekey = true")),
    ("targets.connect_timeout", "part", text(targets='connect_timeout = "20s"')),
    ("targets.deadline", "part", text(targets='deadline = "2m"')),
    ("targets.concurrency", "whole number", text(targets="concurrency = 0")),
    ("targets.deny_networks", "10.0.0.0/8", text(targets='deny_networks = ["everything"]')),
    ("scheduler.workers", "whole number", text(scheduler="workers = 1000")),
    ("plugins.allow", "secretd-postgresql", text(plugins='allow = ["secretd-postgresql>=0.1"]')),
    ("plugins.allow", "list", text(plugins='allow = "secretd-postgresql"')),
    ("plugins.pins", "plugin info", text(plugins='pins = { secretd-postgresql = "md5:00" }')),
    ("plugins.pins", "sha256", text(plugins="pins = { secretd-postgresql = 1 }")),
    ("plugins.user", "user table", text(plugins='user = "no body"')),
    ("audit.path", "path", text(audit='type = "file"')),
    ("audit.type", "file", text(audit='type = "syslog"\npath = "/a.jsonl"')),
    ("audit.path", "letters", text(audit='path = "/"')),
    ("audit.fsync", '"group"', text(audit='path = "/a.jsonl"\nfsync = "always"')),
    ("audit.path (table 2)", "name of its own", text(audit='path = "/a/x.log"\n[[audit]]\npath = "/b/x.jsonl"')),
    ("log.level", '"warning"', text(log='level = "loud"')),
    ("log.format", '"console"', text(log='format = "xml"')),
    ("not TOML at end", "quotes", f'[storage]\nurl = "{CANARY}'),
    ("not TOML at line", "quotes", f"[storage]\nurl = {CANARY}"),
    ("not TOML", "quotes", "[storage]\n[storage]\n"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "hint", "content"), BAD)
def test_bad_configurations(load: Any, key: str, hint: str, content: str) -> None:
    """What cannot be is refused with the key's name and a hint, without any value, cause or context to show."""
    with pytest.raises(ConfigError) as caught:
        load(content)
    error = caught.value
    assert key in error.message + " "
    assert error.hint and hint in error.hint
    assert CANARY not in f"{error.message} {error.hint}"
    assert error.__cause__ is None and (error.__context__ is None or error.__suppress_context__)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"a = " + b"[" * 5000, b"#" * (1 << 21)])
def test_no_configuration(tmp_path: Path, content: bytes | None) -> None:
    """A file that is absent, binary, nested or huge is a ConfigError too."""
    path = tmp_path / "secretd.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ={})
    assert caught.value.hint


def test_defaults(load: Any) -> None:
    """Two keys make a configuration; the rest is as the interface says."""
    config = load(text())
    assert (config.storage.pool_size, config.storage.connect_retry, config.storage.migrate) == (
        10,
        60,
        "auto",
    )
    assert config.api.address == "http://127.0.0.1:8200"
    assert (config.api.max_request_bytes, config.api.request_deadline) == (33554432, 90)
    assert config.api.default_lease_ttl == config.api.max_lease_ttl == 2764800
    assert config.targets.reach() == Reach(
        deadline=10.0, connect_timeout=3.0, concurrency=4, deny_networks=("169.254.0.0/16", "fe80::/10")
    )
    assert (config.scheduler.workers, config.plugins.allow, config.log.level) == (8, (), "info")
    assert (config.seal.type, static_seal(config), config.audit, config.warnings) == ("shamir", None, (), ())
    assert config.state_dir is None and not config.is_dev


@pytest.mark.parametrize(
    ("written", "shown", "is_loopback"),
    [
        ("127.0.0.1:8200", "127.0.0.1:8200", True),
        ("[::1]:8200", "[::1]:8200", True),
        ("[::]:8200", "[::]:8200", False),
        ("LocalHost:8200", "localhost:8200", True),
        ("secretd.example:443", "secretd.example:443", False),
        ("unix:/run/secretd.sock", "unix:/run/secretd.sock", True),
    ],
)
def test_listen_addresses(written: str, shown: str, is_loopback: bool) -> None:
    """An address is parsed, knows whether other machines reach it, and is written back."""
    address = schema.ListenAddress.parse(written)
    assert (str(address), address.is_loopback) == (shown, is_loopback)


def test_unix_socket_alone(load: Any) -> None:
    """A unix socket needs no word about TLS."""
    config = load(text(listener='address = "unix:/run/secretd.sock"'))
    assert config.listeners[0].address.is_unix and not config.listeners[0].has_tls


def test_clear_text_warns(load: Any) -> None:
    """TLS written off on an open address, and a proxy network of everybody, are allowed and warned about."""
    body = 'address = "0.0.0.0:8200"\ntls = "off"\ntrusted_proxies = ["0.0.0.0/0"]'
    warnings = load(text(listener=body)).warnings
    assert [warning.split(" ")[0] for warning in warnings] == ["listener.tls", "listener.trusted_proxies"]


def test_sources(load: Any, tmp_path: Path) -> None:
    """file:, cred: and env: give the same secret; only env: and an open file warn, and no repr shows it."""
    url = f"postgresql://secretd:{CANARY}@db/secretd"
    secret = tmp_path / "database-url"
    secret.write_text(url + "\n")
    secret.chmod(0o600)
    sources = {"file:database-url": 0, f"file:{secret}": 0, "cred:database-url": 0, "env:DATABASE_URL": 1}
    for source, warnings in sources.items():
        config = load(
            text(storage=f'url = "{source}"'), CREDENTIALS_DIRECTORY=str(tmp_path), DATABASE_URL=url
        )
        assert config.storage.url == Sensitive(url)
        assert len(config.warnings) == warnings
        assert CANARY not in repr(config)
    secret.chmod(0o604)
    assert "0600" in load(text(storage='url = "file:database-url"')).warnings[0]


@pytest.mark.parametrize("content", [KEY, KEY.hex().encode() + b"\n", base64.b64encode(KEY)])
def test_static_seal(load: Any, tmp_path: Path, content: bytes) -> None:
    """A static seal is made from its sources, raw, hex or base64; the previous key still opens."""
    (tmp_path / "seal.key").write_bytes(content)
    old = static_seal(load(text(seal='type = "static"\nkey = "file:old.key"\nkey_id = "2026-10"')))
    new = static_seal(
        load(
            text(
                seal='type = "static"\nkey = "cred:seal.key"\nkey_id = "2026-11"\n'
                'previous_key = "file:old.key"\nprevious_key_id = "2026-10"'
            ),
            CREDENTIALS_DIRECTORY=str(tmp_path),
        )
    )
    assert old is not None and new is not None
    assert new.unwrap(old.wrap(KEY), key_id="2026-10") == KEY
    assert new.key_id == "2026-11" and new.needs_rewrap("2026-10")


def test_unattended_init(load: Any) -> None:
    """init = "auto" has a static seal and a file for the first root token."""
    seal = load(text(seal=STATIC + '\ninit = "auto"\nroot_token_file = "token"')).seal
    assert seal.is_auto_init and seal.root_token_file.is_absolute()


def test_audit_devices(load: Any, tmp_path: Path) -> None:
    """A device is named after its file, wherever its table stands, and the stamp file's folder is beside the first."""
    one = 'path = "log/audit.jsonl"'
    two = 'path = "/mnt/second.jsonl"\nrequired = false\nfsync = "group"'
    devices = load(text(audit=f"{one}\n[[audit]]\n{two}")).audit
    assert devices == (
        DeviceSpec(path="audit/", file_path=str(tmp_path / "log/audit.jsonl"), required=True),
        DeviceSpec(path="second/", file_path="/mnt/second.jsonl", fsync="group"),
    )
    swapped = load(text(audit=f"{two}\n[[audit]]\n{one}"))
    assert swapped.audit == devices[::-1] and swapped.state_dir == Path("/mnt")


def test_storage_alone(load: Any, tmp_path: Path) -> None:
    """Migration reads [storage] without the rest: the seal's key may be out of its reach."""
    content = text(storage='url = "embedded:data"', seal='type = "static"\nkey = "file:absent"\nkey_id = "a"')
    with pytest.raises(ConfigError):
        load(content)
    storage = load_storage(tmp_path / "secretd.toml", environ={})
    assert storage.is_embedded and storage.folder == tmp_path / "data"
    assert (
        parse_storage(Sensitive("env:URL"), environ={"URL": "postgresql:///x"}).url.reveal()
        == "postgresql:///x"
    )


def test_dev_mode() -> None:
    """Dev mode: embedded and temporary unless told otherwise, loopback, no TLS, our own plugins."""
    config = dev_config(ServerOptions(dev=True), environ={})
    assert config.is_dev and config.storage.is_embedded and config.storage.folder is None
    assert (config.api.address, config.plugins.allow) == ("http://127.0.0.1:8200", ("secretd-postgresql",))
    named = ServerOptions(
        dev=True, storage=Sensitive("postgresql:///dev"), dev_listen_address="[::1]:0", data=Path("state")
    )
    assert not dev_config(named, environ={}).storage.is_embedded
    kept = dev_config(ServerOptions(dev=True, data=Path("state")), environ={})
    assert kept.storage.folder == Path("state").absolute()


@pytest.mark.parametrize(
    "address", ["0.0.0.0:8200", "[::]:8200", "10.0.0.1:8200", "db:8200", "unix:/x", "8200"]
)
def test_dev_mode_stays_home(address: str) -> None:
    """Anything but loopback in dev mode is refused, with a way out."""
    with pytest.raises(ConfigError) as caught:
        dev_config(ServerOptions(dev=True, dev_listen_address=address), environ={})
    assert "--dev-listen-address" in caught.value.message and "127.0.0.1" in (caught.value.hint or "")


def production() -> dict[str, Any]:
    """The shipped file, with one table for each array."""
    found = tomllib.loads((ROOT / "config/production.toml").read_text())
    return {name: table[0] if isinstance(table, list) else table for name, table in found.items()}


def test_production_has_every_key() -> None:
    """production.toml has every key of the interface, and the schema knows no other."""
    found = production()
    assert {name: set(table) for name, table in found.items()} == {
        name: set(keys.split()) for name, keys in KEYS.items()
    }
    kinds = {"audit": schema.AuditTable}
    for name, keys in KEYS.items():
        kind = kinds.get(name) or getattr(schema, name.capitalize())
        assert set(kind.__struct_fields__) == set(keys.split())


def test_production_shows_the_defaults(load: Any, tmp_path: Path) -> None:
    """production.toml loads as it stands, and but for the keys listed here it says what would hold without it."""
    (tmp_path / "database-url").write_text("postgresql:///secretd")
    (tmp_path / "seal-key").write_bytes(KEY)
    for name in ("database-url", "seal-key"):
        (tmp_path / name).chmod(0o600)
    config = load((ROOT / "config/production.toml").read_text(), CREDENTIALS_DIRECTORY=str(tmp_path))
    assert config.warnings == ()
    plain = load(text())
    for name in ("storage", "seal", "api", "targets", "scheduler", "plugins", "log"):
        ours, default = getattr(config, name), getattr(plain, name)
        differing = {
            f"{name}.{key}" for key in KEYS[name].split() if getattr(ours, key) != getattr(default, key)
        }
        assert differing <= CHANGED
    listener = msgspec.structs.asdict(config.listeners[0])
    default_listener = msgspec.structs.asdict(schema.Listener(address=config.listeners[0].address))
    assert {f"listener.{key}" for key in listener if listener[key] != default_listener[key]} <= CHANGED


def test_dev_file_loads() -> None:
    """dev.toml loads where it stands, without a warning."""
    config = load_config(ROOT / "config/dev.toml", environ={})
    assert config.storage.folder == ROOT / "build/dev/postgres" and config.warnings == ()


def test_policies_parse() -> None:
    """The example policies are good."""
    files = sorted((ROOT / "config/policies").glob("*.hcl"))
    assert len(files) >= 3
    for file in files:
        assert parse_policy(file.stem, file.read_text()).rules


def test_unit_names_the_credentials() -> None:
    """The unit loads each credential that production.toml asks for."""
    unit = (ROOT / "config/secretd.service").read_text()
    loaded = set(re.findall(r"^LoadCredential=([\w-]+):", unit, re.MULTILINE))
    assert loaded == {production()["storage"]["url"][5:], production()["seal"]["key"][5:]}
