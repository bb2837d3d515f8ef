"""What the repository holds, and what it must not."""

from __future__ import annotations

import re
import subprocess

import pytest

from support.tree import ROOT, files

_TOP = {
    "README.md", "pyproject.toml", "secretd", "plugins", "config", "tests", "Containerfile", ".containerignore",
    "Makefile", "docs", "LICENSE", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "requirements.lock", ".ci",
    ".github", ".gitignore",
}  # fmt: skip
# Folders of somebody's machine; written in parts so that this file does not find itself.
_MACHINE = re.compile(
    rb"(?<![\w.}~-])/(?:" + b"|".join((b"work", b"root", b"home/[a-z]+", b"Users")) + rb")/\w"
)


def test_the_top_level_holds_what_the_map_says() -> None:
    """Nothing appears at the top without a place in the map."""
    assert {path.relative_to(ROOT).parts[0] for path in files()} <= _TOP


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    """Paths of the machine where something was made have no meaning elsewhere."""
    hits = {
        str(path.relative_to(ROOT)): found.group().decode()
        for path in files()
        if (found := _MACHINE.search(path.read_bytes()))
    }
    assert hits == {}


def test_the_lock_names_no_host_and_every_package_has_a_hash() -> None:
    """It installs from any index, and only the very files it names."""
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE), "an option is no package"
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[a-z0-9-]+==\S+", block)
        assert "--hash=sha256:" in block


def test_the_lock_fits_the_project_file() -> None:
    """Every dependency that pyproject.toml names is locked."""
    project = (ROOT / "pyproject.toml").read_text()
    lock = (ROOT / "requirements.lock").read_text()
    named = re.findall(r'^\s+"([A-Za-z0-9-]+)(?:==|>=|~=|<|")[^"]*",?\s*(?:#.*)?$', project, re.MULTILINE)
    assert len(named) > 20
    assert [name for name in named if not re.search(rf"^{name.lower()}==", lock, re.MULTILINE)] == []


def test_every_make_target_says_what_it_does() -> None:
    """`make help` prints a line for each target there is."""
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony
    printed = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in phony.group(1).split():
        assert re.search(rf"^  make {target} +\w", printed, re.MULTILINE), target


def test_make_without_a_new_enough_python_says_what_to_do() -> None:
    """A machine without Python 3.11 gets a sentence, not a stack of errors."""
    done = subprocess.run(
        ["make", "-s", "setup", "PYTHON=", "VENV=build/no-such-venv"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Python 3.11 or newer" in done.stderr


@pytest.mark.parametrize("name", ["LICENSE", "README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_the_papers_are_there(name: str) -> None:
    """The papers that a stranger looks for exist and are not empty."""
    assert len((ROOT / name).read_text()) > 100


def test_the_licence_is_apache_2() -> None:
    """The licence text is the one that pyproject.toml names."""
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()
