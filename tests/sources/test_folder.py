"""What a look at a folder sees, and what it must not take for gone."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from controlplane.sources import folder as folder_module
from controlplane.sources.folder import FoundFile, Listing, find_file, list_folder, read_file

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need privileges there")


def paths(folder: Path) -> list[str]:
    listing = list_folder(folder)
    assert not listing.faults
    return sorted(listing.files)


def put(path: Path, text: str = "a: 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


class TestListing:
    def test_manifests_of_all_folders(self, folder):
        for name in ("a.yaml", "b.yml", "c.json", "D.YAML", "sub/a.yaml", "sub/deep/er/a.yaml", "x.yaml/inner.yaml"):
            put(folder / name)
        for name in ("a.txt", "yaml", "a.yaml~", "a.yaml.bak", "#a.yaml#", "README.md"):
            put(folder / name)
        assert paths(folder) == [
            "D.YAML",
            "a.yaml",
            "b.yml",
            "c.json",
            "sub/a.yaml",
            "sub/deep/er/a.yaml",
            "x.yaml/inner.yaml",
        ]

    def test_hidden_files_and_folders_are_none(self, folder):
        for name in (".a.yaml", ".git/a.yaml", "..data/a.yaml", "sub/.b/c/d.yaml", "...yaml"):
            put(folder / name)
        assert paths(folder) == []

    @needs_links
    def test_links_to_hidden_files_are_followed(self, folder):
        put(folder / "..2024" / "a.yaml")
        (folder / "..data").symlink_to("..2024")
        (folder / "a.yaml").symlink_to("..data/a.yaml")
        assert paths(folder) == ["a.yaml"]

    @needs_links
    def test_links_to_folders_are_followed(self, folder, tmp_path):
        put(tmp_path / "outside" / "deep" / "a.yaml")
        (folder / "link").symlink_to(tmp_path / "outside")
        assert paths(folder) == ["link/deep/a.yaml"]

    @needs_links
    def test_loops_end(self, folder):
        put(folder / "sub" / "a.yaml")
        (folder / "sub" / "up").symlink_to(folder)
        (folder / "self").symlink_to(".")
        (folder / "sub" / "other").symlink_to("../sub")
        assert paths(folder) == ["sub/a.yaml"]

    @needs_links
    def test_what_has_two_names_is_listed_once_and_not_as_a_link(self, folder):
        put(folder / "z" / "real.yaml")
        (folder / "a").symlink_to("z")
        (folder / "b.yaml").symlink_to("z/real.yaml")
        os.link(folder / "z" / "real.yaml", folder / "z" / "second.yaml")
        assert paths(folder) == ["z/real.yaml"]

    @needs_links
    @pytest.mark.parametrize(
        ("name", "fault"), [("x.yaml", True), ("folder", True), ("notes.txt", False), (".hidden", False)]
    )
    def test_a_link_to_nothing_is_a_fault_where_it_may_have_led_to_manifests(self, folder, name, fault):
        (folder / name).symlink_to("missing")
        expected = {name: "the link points to nothing; mend or remove it"} if fault else {}
        assert list_folder(folder) == Listing({}, expected)

    @needs_links
    def test_a_link_to_itself_is_a_fault(self, folder):
        (folder / "x.yaml").symlink_to("x.yaml")
        (fault,) = list_folder(folder).faults.values()
        assert fault == f"the link cannot be followed: {os.strerror(errno.ELOOP)}; mend or remove it"

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes there")
    def test_a_pipe_is_a_fault_and_is_not_waited_for(self, folder):
        os.mkfifo(folder / "x.yaml")
        assert list_folder(folder).faults == {
            "x.yaml": "this is not a regular file; remove it or give it another suffix"
        }

    def test_a_missing_folder_is_a_fault(self, folder):
        missing = folder / "missing"
        listing = list_folder(missing)
        assert listing.faults == {"": f"the folder {missing} does not exist; create it"}
        assert listing.fault_above("any/thing.yaml") == ""

    def test_a_file_is_no_folder(self, folder):
        path = put(folder / "a.yaml")
        assert list_folder(path).faults == {
            "": f"the folder {path} cannot be read: it is not a folder; name the folder that holds the file"
        }

    def test_a_folder_that_may_not_be_read_is_a_fault(self, folder, monkeypatch):
        put(folder / "sub" / "a.yaml")
        put(folder / "b.yaml")
        real = os.scandir

        def scandir(path):
            if Path(path) == folder / "sub":
                raise PermissionError(errno.EACCES, "Permission denied")
            return real(path)

        monkeypatch.setattr(folder_module.os, "scandir", scandir)
        listing = list_folder(folder)
        assert list(listing.files) == ["b.yaml"]
        assert listing.faults == {
            "sub": "the folder cannot be read: permission is denied; let the control plane's user read it"
        }
        assert listing.fault_above("sub/deep/x.yaml") == "sub"
        assert listing.fault_above("sub.yaml") is None

    def test_folders_are_bounded(self, folder, monkeypatch):
        monkeypatch.setattr(folder_module, "MAX_FOLDERS", 3)
        for name in "abc":
            put(folder / name / "x.yaml")
        assert list_folder(folder).faults == {
            "": f"the folder {folder} has more than 3 folders in it; remove some, or a link to many"
        }

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
    def test_a_name_that_cannot_be_printed_is_escaped(self, folder):
        os.close(os.open(os.fsencode(folder) + b"/\xff\n.yaml", os.O_CREAT | os.O_WRONLY))
        assert paths(folder) == ["\\udcff\\n.yaml"]


class TestSignature:
    @pytest.mark.parametrize(
        "change",
        [
            lambda path: path.write_text("a: 2\n"),
            lambda path: path.open("a").close() or path.write_text("a: 1\nb: 2\n"),
            lambda path: path.chmod(0o600),
            lambda path: (path.with_name("x").write_text("a: 2\n"), path.with_name("x").replace(path)),
        ],
        ids=["content", "longer content", "mode", "replaced"],
    )
    def test_changes_with(self, folder, change):
        path = put(folder / "a.yaml")
        status = path.stat()
        before = list_folder(folder)
        os.utime(path, ns=(0, 0))
        change(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert list_folder(folder) != before

    def test_stays_when_nothing_changes(self, folder):
        put(folder / "a.yaml")
        assert list_folder(folder) == list_folder(folder)

    def test_content_is_known_again_after_a_rename(self, folder):
        path = put(folder / "a.yaml")
        before = list_folder(folder).files["a.yaml"].signature
        path.rename(folder / "b.yaml")
        assert list_folder(folder).files["b.yaml"].signature.content == before.content


class TestReading:
    def found(self, path: Path) -> FoundFile:
        found = find_file(path)
        assert isinstance(found, FoundFile)
        return found

    def test_content(self, folder):
        assert read_file(self.found(put(folder / "a.yaml", "a: 1\n"))) == b"a: 1\n"

    def test_a_file_that_changed_since_is_not_read(self, folder):
        path = put(folder / "a.yaml")
        found = self.found(path)
        path.write_text("something longer\n")
        assert read_file(found) is None

    def test_a_file_that_is_gone_is_not_read(self, folder):
        path = put(folder / "a.yaml")
        found = self.found(path)
        path.unlink()
        assert read_file(found) is None

    def test_a_file_that_changes_while_it_is_read_is_not_read(self, folder, monkeypatch):
        path = put(folder / "a.yaml")
        found = self.found(path)
        real = os.fdopen

        def fdopen(*args):
            path.write_text("something longer\n")
            return real(*args)

        fstat = os.fstat
        answers = iter([path.stat()])
        monkeypatch.setattr(folder_module.os, "fdopen", fdopen)
        monkeypatch.setattr(folder_module.os, "fstat", lambda descriptor: next(answers, None) or fstat(descriptor))
        assert read_file(found) is None

    def test_a_file_that_is_too_large_is_not_read(self, folder, monkeypatch):
        monkeypatch.setattr(folder_module, "MAX_FILE_OCTETS", 2**20)
        path = put(folder / "a.yaml", "#" * (2**20 + 1))
        assert read_file(self.found(path)) == "the file is larger than 1 MiB; split it"

    def test_a_pipe_that_takes_the_files_place_does_not_block(self, folder):
        path = put(folder / "a.yaml")
        found = self.found(path)
        path.unlink()
        os.mkfifo(path)
        assert read_file(found) is None

    def test_what_cannot_be_found(self, folder):
        assert find_file(folder / "x.yaml") == "there is no such file or folder; check the path"
        assert find_file(folder) == "this is neither a regular file nor a folder; name one"
