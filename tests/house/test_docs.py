"""Words that are checked against what they describe."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

from support.tree import ROOT, files, python_files

_HELP = re.compile(r"<!-- help: (secretd[^>]*?) -->\s*```(?:text|console)?\n(.*?)```", re.DOTALL)


def test_every_test_states_its_property() -> None:
    """A test without a sentence does not say what would be wrong if it failed."""
    silent = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in python_files("tests", "plugins")
        if path.name.startswith("test_")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_every_module_says_what_it_is() -> None:
    """A module opens with a sentence; only an empty one needs none."""
    texts = {path: path.read_text(encoding="utf-8") for path in python_files("secretd", "plugins")}
    silent = [path for path, text in texts.items() if text.strip() and not ast.get_docstring(ast.parse(text))]
    assert silent == []


def _help_blocks() -> list[tuple[Path, str, str]]:
    return [
        (path, command, text)
        for path in files()
        if path.suffix == ".md"
        for command, text in _HELP.findall(path.read_text(encoding="utf-8"))
    ]


def test_help_printed_in_documents_is_the_programs_own() -> None:
    """Each block after `<!-- help: secretd … -->` equals what that command prints with --help."""
    for path, command, text in _help_blocks():
        program = Path(sys.executable).with_name("secretd")
        done = subprocess.run(
            [str(program), *command.split()[1:], "--help"],
            capture_output=True, text=True, check=True, env={"COLUMNS": "80", "PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert text.strip() == done.stdout.strip(), f"{path.relative_to(ROOT)}: {command}"


def test_links_between_documents_lead_somewhere() -> None:
    """A relative link in a Markdown file names a file that exists."""
    broken = [
        f"{path.relative_to(ROOT)} -> {link}"
        for path in files()
        if path.suffix == ".md"
        for link in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
        if not (path.parent / link).exists()
    ]
    assert broken == []


def test_decisions_are_numbered_once_each() -> None:
    """docs/decisions/NNNN-title.md: no number twice, no other name."""
    names = [path.name for path in files() if path.parent == ROOT / "docs" / "decisions"]
    numbers = [name[:4] for name in names if re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", name)]
    assert len(numbers) == len(names)
    assert len(set(numbers)) == len(numbers)
