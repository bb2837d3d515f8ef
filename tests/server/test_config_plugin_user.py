"""Whose the plugins' children are when the daemon runs as root."""

from __future__ import annotations

import msgspec
import pytest

from secretd.sdk.errors import ConfigError
from secretd.server.config import dev_config
from secretd.server.config_checks import require_plugin_user
from secretd.server.config_schema import Config, Plugins
from secretd.server.options import ServerOptions


def config(*, user: str, is_dev: bool = False) -> Config:
    """A configuration that allows a plugin."""
    plugins = Plugins(allow=("secretd-postgresql",), user=user)
    made = dev_config(ServerOptions(dev=True), environ={})
    return msgspec.structs.replace(made, plugins=plugins, is_dev=is_dev)


@pytest.mark.parametrize("user", ["", "nobody-of-this-name"])
def test_root_needs_a_user_for_plugins(user: str) -> None:
    """A root daemon without a real user for plugins does not start."""
    with pytest.raises(ConfigError, match=r"^plugins\.user") as caught:
        require_plugin_user(config(user=user), is_root=True)
    assert caught.value.hint


def test_others_need_none() -> None:
    """An unprivileged daemon, dev mode, and one that named a user start."""
    require_plugin_user(config(user=""), is_root=False)
    require_plugin_user(config(user="", is_dev=True), is_root=True)
    require_plugin_user(config(user="nobody"), is_root=True)
    require_plugin_user(config(user="root"), is_root=True)
