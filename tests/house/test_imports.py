"""Who may import what, beyond what import-linter can say."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from support.tree import ROOT, python_files

_UNTYPED = ("asyncpg", "apscheduler")


def _imports(path: Path) -> set[str]:
    """Every module name that a file imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def _plugin_files() -> list[Path]:
    return [path for path in python_files("plugins") if "tests" not in path.parts]


def test_a_plugin_imports_of_secretd_only_its_sdk() -> None:
    """Plugins are written against the stable face and nothing behind it."""
    strays = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in _plugin_files()
        for name in _imports(path)
        if name.split(".")[0] == "secretd" and name.split(".")[1:2] != ["sdk"]
    ]
    assert strays == []


@pytest.mark.parametrize("library", _UNTYPED)
def test_an_untyped_library_is_imported_in_one_module(library: str) -> None:
    """mypy cannot see into it, so it must not spread: one module of secretd, one of each plugin."""
    importers = [
        str(path.relative_to(ROOT))
        for path in (*python_files("secretd"), *_plugin_files())
        if any(name.split(".")[0] == library for name in _imports(path))
    ]
    owners = [
        "/".join(Path(name).parts[:2]) if name.startswith("plugins/") else "secretd" for name in importers
    ]
    assert len(owners) == len(set(owners)), importers


_SLOW = ("aiohttp", "asyncpg", "structlog", "rich", "cryptography", "apscheduler", "jinja2", "lark")


def test_the_command_line_starts_without_the_server() -> None:
    """Help needs none of the libraries that take long to import, nor a module of the server."""
    script = "import sys; import secretd.cli.main; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & set(_SLOW)
    assert not {
        name for name in loaded if name.startswith(("secretd.server.", "secretd.core.", "secretd.storage."))
    }
