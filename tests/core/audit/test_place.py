"""No API leads a file device out of its folder."""

from __future__ import annotations

import os

import pytest

from secretd.core.audit.place import DeviceSpec, api_device, file_system, open_file
from secretd.sdk.errors import InvalidRequestError

FOLDER = "/srv/audit"


def made(
    file_path: object = "/srv/audit/a.jsonl", *, path: str = "file", folder: str = FOLDER, **options: object
):
    return api_device(path, kind="file", options={"file_path": file_path, **options}, folder=folder)


def test_a_device_by_api_is_named_and_placed():
    """A good call gives a device below the folder that is not required, and its listing in Vault's shape."""
    spec = made("/srv/audit/team/a.jsonl", path="team/file")
    assert spec == DeviceSpec("team/file/", "/srv/audit/team/a.jsonl", folder=FOLDER)
    assert spec.describe() == {
        "path": "team/file/",
        "type": "file",
        "description": "",
        "options": {"file_path": "/srv/audit/team/a.jsonl"},
        "local": False,
    }


def test_without_a_folder_every_device_is_refused():
    """An empty audit_api_dir refuses, and says what to do."""
    with pytest.raises(InvalidRequestError, match="audit devices by API are refused") as caught:
        made(folder="")
    assert "audit_api_dir" in (caught.value.hint or "")


def test_an_unknown_type_has_vaults_words():
    """hvac looks for these words."""
    with pytest.raises(InvalidRequestError, match="unknown audit backend"):
        api_device("x", kind="syslog", options={}, folder=FOLDER)


ATTACKS = [
    "a.jsonl", "", "/srv/audit", "/srv/audit/", "/srv/audit/../x", "/srv/audit/./x", "/srv/audit//x", "/srv/auditor/x",
    "/etc/passwd", "/srv/audit/a\0b", "/srv/audit/a/../../x", "stdout", "/srv/audit/.ssh", "/srv/audit/a b", None, 5,
    "/srv/audit/a\n", "/srv/audit/x/",
]  # fmt: skip


@pytest.mark.parametrize("file_path", ATTACKS)
def test_no_file_path_leads_elsewhere(file_path):
    """Relative paths, dots, look-alike folders and odd characters are refused, and not repeated."""
    with pytest.raises(InvalidRequestError) as caught:
        made(file_path)
    assert not file_path or str(file_path) not in caught.value.message


@pytest.mark.parametrize("option", ["mode", "prefix", "log_raw", "elide_list_responses", "skip_test"])
def test_no_other_option_is_taken(option):
    """Neither mode nor prefix, which made CVE-2025-6000, nor raw logging."""
    with pytest.raises(InvalidRequestError, match="no other"):
        made(**{option: "0755"})


def test_defaults_that_clients_send_are_taken():
    """An option that only repeats what is so anyway is no reason to refuse."""
    assert made(log_raw=False, format="json", hmac_accessor="true")


@pytest.mark.parametrize("path", ["", "/", "..", "a/../b", "a b", "a//b", "%2e"])
def test_a_device_has_a_proper_name(path):
    """A device's own path is checked too."""
    with pytest.raises(InvalidRequestError):
        made(path=path)


def spec_in(tmp_path, name: str) -> DeviceSpec:
    (tmp_path / "api").mkdir(exist_ok=True)
    return DeviceSpec("file/", str(tmp_path / "api" / name), folder=str(tmp_path / "api"))


def test_folders_below_are_made_private(tmp_path):
    """Folders that a file_path names are made 0700 below the folder."""
    descriptor = open_file(spec_in(tmp_path, "a/b/c.jsonl"))
    os.close(descriptor)
    assert (tmp_path / "api" / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "api" / "a" / "b" / "c.jsonl").stat().st_mode & 0o777 == 0o600


def test_no_symlink_below_the_folder_is_followed(tmp_path):
    """A symlink to a folder or file elsewhere is an error, even if it appeared after the check of the name."""
    spec = spec_in(tmp_path, "a/c.jsonl")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "api" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Not a directory|symbolic"):
        open_file(spec)
    (tmp_path / "api" / "l.jsonl").symlink_to(tmp_path / "elsewhere" / "x")
    with pytest.raises(OSError, match="symbolic"):
        open_file(spec_in(tmp_path, "l.jsonl"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_second_name_of_another_file_is_refused(tmp_path):
    """A hard link put into the folder cannot make the daemon write to somebody's file."""
    spec = spec_in(tmp_path, "h.jsonl")
    (tmp_path / "victim").write_text("precious")
    os.link(tmp_path / "victim", tmp_path / "api" / "h.jsonl")
    with pytest.raises(OSError, match="second name"):
        open_file(spec)


def test_the_file_system_is_the_deepest_mount_above(tmp_path):
    """The longest mount point wins, later mounts hide earlier ones, and octal escapes are read."""
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 1 8:1 / / rw shared:1 - ext4 /dev/a rw\n"
        f"2 1 0:2 / {tmp_path}/with\\040space rw - nfs4 host:/x rw\n"
        f"3 1 0:3 / {tmp_path}/w rw - xfs /dev/b rw\n"
    )
    assert file_system(f"{tmp_path}/with space/f", mounts=table) == "nfs4"
    assert file_system(f"{tmp_path}/withspace", mounts=table) == "ext4"
    assert file_system("/x", mounts=tmp_path / "none") == ""
