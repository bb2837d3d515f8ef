"""hvac: initialisation, unsealing, sealing, health, leader, key status, rotation."""

from __future__ import annotations

import datetime as dt

import hvac
import pytest
from hvac import exceptions

from conformance.servers import Server


def test_a_server_is_initialised_unsealed_and_sealed_by_hvac(fresh: Server) -> None:
    """Five shares of which three open it; progress shows; the root token works until it is sealed."""
    client = fresh.client("")
    assert client.sys.is_initialized() is False
    assert client.sys.read_init_status() == {"initialized": False}
    made = client.sys.initialize(secret_shares=5, secret_threshold=3)
    assert len(made["keys"]) == len(made["keys_base64"]) == 5
    assert client.sys.is_initialized() is True
    assert client.sys.is_sealed() is True
    with pytest.raises(exceptions.InvalidRequest):
        client.sys.initialize(secret_shares=1, secret_threshold=1)
    first = client.sys.submit_unseal_key(made["keys"][0])
    assert (first["sealed"], first["progress"], first["t"], first["n"]) == (True, 1, 3, 5)
    assert first["nonce"]
    assert client.sys.submit_unseal_key(made["keys_base64"][1])["progress"] == 2
    assert client.sys.submit_unseal_key(reset=True)["progress"] == 0
    client.sys.submit_unseal_keys(made["keys"][2:])
    fresh.await_active()
    root = fresh.client(made["root_token"])
    assert root.is_authenticated()
    root.sys.seal()
    assert client.sys.is_sealed() is True
    with pytest.raises(exceptions.VaultDown):
        root.lookup_token()
    client.sys.submit_unseal_keys(made["keys"][:3])
    fresh.await_active()
    assert root.is_authenticated()


def test_init_refuses_impossible_shares_and_stores_nothing(fresh: Server) -> None:
    """A threshold over the shares, none at all, or one of many is a 400, and the server stays empty."""
    for shares, threshold in ((1, 2), (0, 0), (5, 1), (256, 3), (-1, -1)):
        answer = fresh.send("PUT", "sys/init", {"secret_shares": shares, "secret_threshold": threshold})
        assert answer.status == 400, (shares, threshold)
        assert answer.errors
    assert fresh.client("").sys.is_initialized() is False


def test_wrong_shares_are_refused_and_the_right_ones_work_afterwards(fresh: Server) -> None:
    """A share of the wrong shape is a 400; enough wrong shares are a 400 and start anew."""
    client = fresh.client("")
    made = client.sys.initialize(secret_shares=3, secret_threshold=2)
    for wrong in ("", "zz", "00"):
        with pytest.raises(exceptions.InvalidRequest):
            client.sys.submit_unseal_key(wrong)
    client.sys.submit_unseal_key(made["keys"][0])
    assert client.sys.submit_unseal_key(made["keys"][0])["progress"] == 1, "the same share twice is one"
    forged = "f" * len(made["keys"][1])
    with pytest.raises(exceptions.VaultError):
        client.sys.submit_unseal_key(forged)
    client.sys.submit_unseal_key(reset=True)
    client.sys.submit_unseal_keys(made["keys"][:2])
    fresh.await_active()


def test_health_says_each_state_by_its_status(fresh: Server) -> None:
    """501 uninitialised, 503 sealed, 200 active; GET and HEAD; the caller may choose the codes."""
    client = fresh.client("")
    assert fresh.send("GET", "sys/health", token="").status == 501
    assert fresh.send("HEAD", "sys/health", token="").status == 501
    assert fresh.send("GET", "sys/health?uninitcode=299&nonsense=1", token="").status == 299
    made = client.sys.initialize(secret_shares=1, secret_threshold=1)
    assert fresh.send("GET", "sys/health", token="").status == 503
    assert fresh.send("GET", "sys/health?sealedcode=298", token="").status == 298
    client.sys.submit_unseal_key(made["keys"][0])
    fresh.await_active()
    found = client.sys.read_health_status(method="GET")
    assert found["initialized"] is True
    assert found["sealed"] is False
    assert found["standby"] is False
    assert client.sys.read_health_status(method="HEAD").status_code == 200
    assert (
        fresh.send("GET", "sys/health?activecode=242&standbyok=true&perfstandbyok=true", token="").status
        == 242
    )


def test_seal_status_of_an_empty_server_has_all_fields(fresh: Server) -> None:
    """What clients read before anybody may log in."""
    found = fresh.client("").sys.read_seal_status()
    assert found["initialized"] is False
    assert found["sealed"] is True
    assert {"type", "t", "n", "progress", "nonce", "version", "migration"} <= set(found)


@pytest.fixture
def opened(fresh: Server) -> hvac.Client:
    """The root token's client of a server that may be sealed."""
    fresh.initialise(shares=2, threshold=2)
    return fresh.client()


def test_everything_but_status_is_503_while_sealed(fresh: Server, opened: hvac.Client) -> None:
    """Sealed is 503 for every path that needs the barrier, with a token or without."""
    opened.sys.seal()
    for path in ("secret/data/x", "sys/mounts", "auth/token/lookup-self", "auth/userpass/login/x", "nowhere"):
        answer = fresh.send("GET", path)
        assert answer.status == 503, path
        assert answer.errors, path
    assert fresh.send("GET", "sys/leader", token="").status in {200, 503}
    assert fresh.send("GET", "sys/init", token="").json == {"initialized": True}


def test_seal_needs_a_right(fresh: Server, opened: hvac.Client) -> None:
    """Without sudo on sys/seal the server stays open."""
    token = opened.auth.token.create(policies=["default"])["auth"]["client_token"]
    assert fresh.send("PUT", "sys/seal", token=token).status == 403
    assert fresh.send("PUT", "sys/seal", token="").status == 403
    assert opened.sys.is_sealed() is False


def test_rotation_begins_a_new_term(fresh: Server, opened: hvac.Client) -> None:
    """Both names of the call count the term up; what was written before is read afterwards."""
    opened.sys.enable_secrets_engine("kv", path="kv", options={"version": "1"})
    opened.secrets.kv.v1.create_or_update_secret("before", {"x": "1"}, mount_point="kv")
    before = opened.sys.get_encryption_key_status()["data"]["term"]
    opened.sys.rotate_encryption_key()
    assert fresh.send("POST", "sys/rotate/keyring").status in {200, 204}
    status = opened.sys.get_encryption_key_status()
    assert status["data"]["term"] == before + 2
    assert status["term"] == before + 2, "at top level too"
    assert dt.datetime.fromisoformat(status["data"]["install_time"].replace("Z", "+00:00"))
    opened.sys.seal()
    fresh.client("").sys.submit_unseal_keys(fresh.keys)
    fresh.await_active()
    assert opened.secrets.kv.v1.read_secret("before", mount_point="kv")["data"] == {"x": "1"}


def test_the_leader_of_one_server_is_itself(api: hvac.Client) -> None:
    """sys/leader has Vault's fields."""
    found = api.sys.read_leader_status()
    assert isinstance(found["ha_enabled"], bool)
