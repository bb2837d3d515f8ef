"""The files of this repository, for tests that read them."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def files() -> tuple[Path, ...]:
    """All files that are committed or would be; without git (a release archive), all that are there."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listing.returncode == 0:
        names = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    else:
        names = [path for path in ROOT.rglob("*") if not {".venv", "build", "__pycache__"} & set(path.parts)]
    return tuple(sorted(path for path in names if path.is_file()))


def python_files(*folders: str) -> tuple[Path, ...]:
    """The Python files below these folders of the top level, or all of them."""
    found = [path for path in files() if path.suffix == ".py"]
    return tuple(path for path in found if not folders or path.relative_to(ROOT).parts[0] in folders)
