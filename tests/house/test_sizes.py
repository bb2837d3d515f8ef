"""Files and functions stay small enough to be read in one go."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.tree import ROOT, python_files

FILE_LINES = 400
FUNCTION_LINES = 60


@pytest.fixture(autouse=True)
def _no_collection() -> Iterator[None]:
    """CPython 3.11's parser is upset by finalizers that run below it: SystemError, recursion depth mismatch."""
    gc.disable()
    yield
    gc.enable()


def _long_functions(path: Path) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {node.name}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES
    ]


def test_no_file_is_longer_than_the_budget() -> None:
    """400 lines a file."""
    counts = {path.relative_to(ROOT): path.read_text(encoding="utf-8").count("\n") for path in python_files()}
    assert {str(path): count for path, count in counts.items() if count > FILE_LINES} == {}


def test_no_function_is_longer_than_the_budget() -> None:
    """60 lines a function, docstring included."""
    assert [name for path in python_files() for name in _long_functions(path)] == []
