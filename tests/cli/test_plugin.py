"""``secretd plugin``: what is installed, and the pin that the configuration may demand."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from secretd.cli.main import run
from secretd.core.plugins.catalog import PluginCatalog

_RECORD = b"probe.py,sha256=x,1\r\nprobe-1.2.dist-info/RECORD,,\r\n"


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with one credentials plugin is installed."""
    folder = tmp_path / "probe-1.2.dist-info"
    folder.mkdir()
    folder.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: probe\nVersion: 1.2\n")
    folder.joinpath("entry_points.txt").write_text("[secretd.credentials]\nprobe-plugin = probe:main\n")
    folder.joinpath("RECORD").write_bytes(_RECORD)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("probe")
def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    """A plugin is listed with its kind, distribution and version, and its code is not imported."""
    assert run(["plugin", "list"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["Plugin", "Kind", "Distribution", "Version"]
    assert ["probe-plugin", "credentials", "probe", "1.2"] in rows


@pytest.mark.parametrize("name", ["probe", "probe-plugin"])
@pytest.mark.usefixtures("probe")
def test_pin(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The pin is over RECORD's bytes, by the plugin's name or the distribution's."""
    assert run(["plugin", "info", "-field=pin", name]) == 0
    assert capsys.readouterr().out == "sha256:" + hashlib.sha256(_RECORD).hexdigest()


def test_the_daemon_takes_the_printed_pin(capsys: pytest.CaptureFixture[str]) -> None:
    """What ``plugin info`` prints of a distribution as pip installed it is what the daemon computes."""
    assert run(["plugin", "info", "-field=pin", "secretd-postgresql"]) == 0
    pin = capsys.readouterr().out
    catalog = PluginCatalog(allow=["secretd-postgresql"], pins={"secretd-postgresql": pin})
    assert catalog.get_plugin("secretd-postgresql").distribution == "secretd-postgresql"


@pytest.mark.usefixtures("probe")
def test_the_daemon_hashes_bytes() -> None:
    """A RECORD with CRLF, as pip writes it, has the digest of its bytes, not of its text."""
    digest = PluginCatalog(allow=[]).get_digest("probe")
    assert digest == "sha256:" + hashlib.sha256(_RECORD).hexdigest()
