"""The catalog: which plugins may run, known without importing any."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from secretd.core.plugins.catalog import PluginCatalog
from secretd.sdk.errors import ConfigError, InvalidRequestError

HOSTILE = "hostile-plugin"


@pytest.mark.parametrize(
    ("rule", "is_allowed"),
    [
        ("hostile-plugin", True),
        ("Hostile.Plugin", True),
        ("hostile-plugin==1.2.3", True),
        ("hostile-plugin==1.2.*", True),
        ("hostile-plugin==1.*", True),
        ("hostile-plugin==1.2.30", False),
        ("hostile-plugin==1.20.*", False),
        ("hostile-plugin==2.*", False),
        ("hostile", False),
    ],
)
def test_allow_list(plugin_folder: Path, rule: str, *, is_allowed: bool) -> None:
    """A rule allows a distribution by its normal name and, where it says so, by version or version prefix."""
    found = {info.name: info.is_allowed for info in PluginCatalog(allow=[rule]).list_plugins()}
    assert found["hostile"] is is_allowed


def test_nothing_is_imported(plugin_folder: Path) -> None:
    """Listing and finding a plugin imports none of its code."""
    catalog = PluginCatalog(allow=[HOSTILE])
    catalog.list_plugins()
    assert catalog.get_plugin("hostile").entry == "hostile_plugin:PLUGIN"
    assert "hostile_plugin" not in sys.modules


def test_empty_list_allows_nothing(plugin_folder: Path) -> None:
    """Without a rule nothing may run, and the hint says what to write."""
    with pytest.raises(InvalidRequestError, match="not allowed") as caught:
        PluginCatalog(allow=[]).get_plugin("hostile")
    assert 'add "hostile-plugin==1.2.3" to [plugins] allow' in str(caught.value.hint)


def test_unknown_plugin() -> None:
    """A name that nothing installed answers to is refused."""
    with pytest.raises(InvalidRequestError, match="no such plugin"):
        PluginCatalog(allow=["x"]).get_plugin("x")


def test_ours_has_two_names() -> None:
    """The PostgreSQL plugin answers to Vault's name and to its distribution's."""
    catalog = PluginCatalog(allow=["secretd-postgresql==0.1.*"])
    assert catalog.get_plugin("postgresql-database-plugin") == catalog.get_plugin("secretd-postgresql")


@pytest.mark.parametrize("rule", ["", "a b", "x>=1", "x==", "==1", "x==1,2"])
def test_rules_are_checked(rule: str) -> None:
    """A rule that is not understood is a configuration error, not one that silently allows nothing."""
    with pytest.raises(ConfigError, match=r"plugins\.allow"):
        PluginCatalog(allow=[rule])


def test_pin(plugin_folder: Path) -> None:
    """A pinned plugin runs while RECORD and files are as they were, and not after either was touched."""
    pin = PluginCatalog(allow=[]).get_digest(HOSTILE)
    catalog = PluginCatalog(allow=[HOSTILE], pins={"Hostile_Plugin": pin})
    assert catalog.get_plugin("hostile").version == "1.2.3"
    code = plugin_folder / "hostile_plugin.py"
    code.write_text(code.read_text() + "\n# touched")
    with pytest.raises(InvalidRequestError, match="not as it was installed"):
        catalog.get_plugin("hostile")
    record = next(plugin_folder.glob("*.dist-info")) / "RECORD"
    record.write_text(record.read_text() + "\n")
    with pytest.raises(InvalidRequestError, match="not the one that is pinned"):
        catalog.get_plugin("hostile")


@pytest.mark.parametrize("pin", ["", "sha256:", "md5:" + "0" * 32, "sha256:" + "A" * 64])
def test_pins_are_checked(pin: str) -> None:
    """A pin that could never match is a configuration error."""
    with pytest.raises(ConfigError, match=r"plugins\.pins"):
        PluginCatalog(allow=[], pins={HOSTILE: pin})
