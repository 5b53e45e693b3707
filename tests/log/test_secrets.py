"""Secrets lie beside the log, by digest, for their owner's eyes."""

from __future__ import annotations

import errno
import os
import random
import stat
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import pytest

from controlplane.log import LogError, MemorySecretStore, Secrets, SecretStore, SegmentedLog
from controlplane.log.testing import Crash, DictCodec, ForgetfulFiles

KEY = b"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"
DIGEST = sha256(KEY).hexdigest()
FOLDER = Path("/log")


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Secrets:
    return MemorySecretStore() if request.param == "memory" else SecretStore(tmp_path / "log")


def test_what_is_put_is_got_by_its_digest(store: Secrets) -> None:
    assert store.get(DIGEST) is None
    assert store.put(KEY) == DIGEST
    assert store.put(KEY) == DIGEST
    assert store.get(DIGEST) == KEY
    assert store.get(store.put(b"")) == b""


def test_what_is_not_kept_is_dropped(store: Secrets) -> None:
    digests = [store.put(b"key %d" % n) for n in range(4)]
    assert store.drop_except(digests[:2]) == 2
    assert [store.get(digest) for digest in digests] == [b"key 0", b"key 1", None, None]
    assert store.drop_except(digests) == 0
    assert store.drop_except([]) == 2


@pytest.mark.parametrize("digest", ["", "x" * 64, DIGEST.upper(), "../" + DIGEST, DIGEST + "\n"])
def test_a_digest_that_is_none_is_refused(store: Secrets, digest: str) -> None:
    with pytest.raises(ValueError, match="64 lower-case hexadecimal digits"):
        store.get(digest)


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = SecretStore(tmp_path / "log")
        store.put(KEY)
    finally:
        os.umask(old)
    folder = tmp_path / "log" / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {DIGEST: 0o600}


def test_they_outlive_the_process_and_are_no_part_of_the_log(tmp_path: Path) -> None:
    SecretStore(tmp_path).put(KEY)
    with SegmentedLog.open(tmp_path, DictCodec()) as log:
        log.append([{"digest": DIGEST}], source="test")
        assert log.opened.foreign == ()
    assert SecretStore(tmp_path).get(DIGEST) == KEY
    assert all(b"PRIVATE" not in path.read_bytes() for path in tmp_path.glob("*.jsonl"))


def test_a_damaged_one_is_not_given_and_can_be_put_again(tmp_path: Path) -> None:
    store = SecretStore(tmp_path)
    store.put(KEY)
    (tmp_path / "secrets" / DIGEST).write_bytes(KEY[:-1])
    assert store.get(DIGEST) is None
    store.put(KEY)
    assert store.get(DIGEST) == KEY


class TestReadOnly:
    def test_it_gives_what_is_there_and_touches_nothing(self, tmp_path: Path) -> None:
        SecretStore(tmp_path).put(KEY)
        (tmp_path / "secrets" / f"{DIGEST}.tmp").write_text("a writer at work")
        assert SecretStore(tmp_path, read_only=True).get(DIGEST) == KEY
        assert (tmp_path / "secrets" / f"{DIGEST}.tmp").exists()

    def test_it_need_not_exist(self, tmp_path: Path) -> None:
        assert SecretStore(tmp_path / "no", read_only=True).get(DIGEST) is None
        assert not (tmp_path / "no").exists()

    def test_who_may_not_read_secrets_is_told_that_there_are_none(
        self, files: ForgetfulFiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def read(path: Path) -> BinaryIO:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(files, "read", read)
        assert SecretStore(FOLDER, read_only=True, files=files).get(DIGEST) is None
        with pytest.raises(LogError, match="the secret cannot be read: Permission denied"):
            SecretStore(FOLDER, files=files).get(DIGEST)


def test_one_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    store = SecretStore(tmp_path)
    (tmp_path / "secrets" / DIGEST).mkdir()
    with pytest.raises(LogError, match="the secret cannot be read: Is a directory"):
        store.get(DIGEST)


def test_files_of_others_stay(tmp_path: Path) -> None:
    store = SecretStore(tmp_path)
    (tmp_path / "secrets" / "README").write_text("mine")
    (tmp_path / "secrets" / f"{DIGEST}.tmp").write_text("half")
    assert store.drop_except([]) == 0
    assert SecretStore(tmp_path).path == tmp_path / "secrets"
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["README"]


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "sync_folder"])
def test_a_disk_that_fails_leaves_nothing(files: ForgetfulFiles, operation: str) -> None:
    store = SecretStore(FOLDER, files=files)

    def fault(attempted: str, path: Path) -> None:
        if attempted == operation:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files.fault = fault
    with pytest.raises(LogError, match="the secret could not be stored: No space left on device") as info:
        store.put(KEY)
    assert info.value.file == str(FOLDER / "secrets" / DIGEST)
    files.fault = None
    assert not [name for name in files.names(store.path) if name.endswith(".tmp")]
    assert store.put(KEY) == DIGEST
    files.crash()
    assert SecretStore(FOLDER, files=files).get(DIGEST) == KEY


@pytest.mark.parametrize("operation", ["make_folder", "sync_folder"])
def test_a_folder_that_cannot_be_had(files: ForgetfulFiles, operation: str) -> None:
    def fault(attempted: str, path: Path) -> None:
        if attempted == operation:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    files.fault = fault
    with pytest.raises(LogError, match="the secret store cannot be written to: Read-only file system"):
        SecretStore(FOLDER, files=files)


def test_a_drop_that_fails_is_told(files: ForgetfulFiles) -> None:
    store = SecretStore(FOLDER, files=files)
    store.put(KEY)

    def fault(attempted: str, path: Path) -> None:
        if attempted == "remove":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    files.fault = fault
    with pytest.raises(LogError, match="a secret cannot be dropped: Input/output error"):
        store.drop_except([])


def test_power_may_fail_at_any_operation(files: ForgetfulFiles) -> None:
    """What `put` returned for is there; a key that is there is whole."""
    chance = random.Random(11)
    for last in range(1, 20):
        files = ForgetfulFiles()
        stored: list[str] = []

        def fault(operation: str, path: Path, files: ForgetfulFiles = files, last: int = last) -> int | None:
            if files.operations > last:
                raise Crash
            return None

        files.fault = fault
        try:
            store = SecretStore(FOLDER, files=files)
            stored.extend(store.put(b"key %d" % n) for n in range(3))
        except Crash:
            pass
        files.crash(lambda most: chance.randint(0, most))
        store = SecretStore(FOLDER, files=files)
        assert [store.get(digest) for digest in stored] == [b"key %d" % n for n in range(len(stored))]
        assert all(store.get(name) for name in files.names(store.path))
