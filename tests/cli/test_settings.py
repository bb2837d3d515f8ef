"""Which address, token and CA are taken when several are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from secretd.cli.errors import LocalError
from secretd.cli.settings import DEFAULT_ADDRESS, find_token, make_access
from secretd.sdk.fields import Sensitive

pytestmark = pytest.mark.usefixtures("clean_environment")


def test_nothing_set() -> None:
    """Without any setting the address is Vault's own default and there is no token."""
    access = make_access()
    assert access.address == DEFAULT_ADDRESS
    assert access.token is None
    assert (access.ca_cert, access.skip_verify, access.namespace, access.wrap_ttl) == (None, False, "", "")


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        (["BAO_ADDR"], "BAO_ADDR"),
        (["VAULT_ADDR", "BAO_ADDR"], "VAULT_ADDR"),
        (["SECRETD_ADDR", "VAULT_ADDR", "BAO_ADDR"], "SECRETD_ADDR"),
    ],
)
def test_first_address_wins(variables: list[str], wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our variable goes before Vault's, Vault's before OpenBao's."""
    for name in variables:
        monkeypatch.setenv(name, f"http://{name.lower()}")
    assert make_access().address == f"http://{wanted.lower()}"
    assert make_access(address="http://flag").address == "http://flag"


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable does not hide the next one."""
    monkeypatch.setenv("SECRETD_ADDR", "")
    monkeypatch.setenv("VAULT_ADDR", "http://vault")
    assert make_access().address == "http://vault"


def test_token_sources(monkeypatch: pytest.MonkeyPatch, clean_environment: Path) -> None:
    """A flag, then the three variables in order, then the file; line ends are no part of a token."""
    clean_environment.joinpath(".vault-token").write_text("from-file\n")
    assert find_token() == Sensitive("from-file")
    for name in ("BAO_TOKEN", "VAULT_TOKEN", "SECRETD_TOKEN"):
        monkeypatch.setenv(name, f"{name}\n")
        assert find_token() == Sensitive(name)
    assert make_access(token=Sensitive("flag")).token == Sensitive("flag")


def test_unreadable_token_file(clean_environment: Path) -> None:
    """A token file that is a folder is local trouble with a hint, no traceback."""
    clean_environment.joinpath(".vault-token").mkdir()
    with pytest.raises(LocalError) as caught:
        find_token()
    assert "secretd login" in (caught.value.hint or "")


def test_tls_and_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """CA, namespace and skip-verify come from our variable or Vault's, and flags go before."""
    monkeypatch.setenv("VAULT_CACERT", "vault.pem")
    monkeypatch.setenv("VAULT_NAMESPACE", "team")
    monkeypatch.setenv("VAULT_SKIP_VERIFY", "true")
    access = make_access()
    assert (access.ca_cert, access.namespace, access.skip_verify) == (Path("vault.pem"), "team", True)
    monkeypatch.setenv("SECRETD_SKIP_VERIFY", "0")
    assert make_access().skip_verify is False
    assert make_access(skip_verify=True, namespace="").skip_verify is True
    assert make_access(namespace="").namespace == ""


def test_unclear_boolean(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo in SECRETD_SKIP_VERIFY is named, not guessed."""
    monkeypatch.setenv("SECRETD_SKIP_VERIFY", "ture")
    with pytest.raises(LocalError, match="SECRETD_SKIP_VERIFY"):
        make_access()
