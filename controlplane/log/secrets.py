"""Private keys, by digest, beside the log: the log itself holds the digest only.

A key is stored, durable, before the event that names its digest is appended, so a log never names what was not there. The
folder and its files are readable by their owner alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from controlplane.log.errors import LogError, describe
from controlplane.log.files import Files, OSFiles
from controlplane.log.folder import SECRETS_NAME
from controlplane.log.lines import TEMPORARY_SUFFIX

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_CHECK_OCTETS: Final = 16_384
"""More than a private key has."""


def digest_of(secret: bytes) -> str:
    """SHA-256, in lower-case hexadecimal.

    Not salted: a private key has so much entropy that nobody finds it by hashing guesses, and the digest must be the same in
    every process, or the same key would be another xDS version. For passwords this would be wrong.
    """
    return sha256(secret).hexdigest()


class Secrets(Protocol):
    """A store of secrets by digest."""

    def put(self, secret: bytes) -> str:
        """Stores it; its digest. Durable when it returns."""

    def get(self, digest: str) -> bytes | None:
        """What `put` was given; None if it is not here."""

    def drop_except(self, digests: Collection[str]) -> int:
        """Forgets all others; how many that were."""

    def check(self) -> None:
        """Sees whether it takes something; raises LogError where it does not."""


class SecretStore:
    """Secrets in the folder ``secrets`` of a log's folder: a file each, named by its digest.

    Args:
        log_path: The log's folder.
        read_only: Touches nothing, and need not exist: for `get` alone, beside a writer or in a recorded log. Who may read
            the log but not the secrets is told that they are not here.
        files: The file system.
    """

    def __init__(self, log_path: Path | str, *, read_only: bool = False, files: Files | None = None) -> None:
        self.path = Path(log_path) / SECRETS_NAME
        self._files = files or OSFiles()
        self._read_only = read_only
        if read_only:
            return
        try:
            self._files.make_folder(self.path, 0o700)
            for name in self._files.names(self.path):
                if name.endswith(TEMPORARY_SUFFIX):
                    self._files.remove(self.path / name)
            # A name that a crash left unsynced would otherwise be taken for durable by `put`.
            self._files.sync_folder(self.path)
        except OSError as error:
            raise LogError(f"the secret store cannot be written to: {describe(error)}", file=self.path) from error

    def put(self, secret: bytes) -> str:
        """Stores it; its digest. Durable when it returns.

        Raises:
            LogError: It could not be stored.
        """
        digest = digest_of(secret)
        if self.get(digest) is not None:
            return digest
        path = self.path / digest
        temporary = self.path / (digest + TEMPORARY_SUFFIX)
        try:
            self._files.make_folder(self.path, 0o700)  # somebody may have removed it
            self._store(temporary, secret)
            self._files.rename(temporary, path)
            self._files.sync_folder(self.path)
        except OSError as error:
            # Not left under its name either: if only the name is not durable yet, a later put would take it for stored.
            for leftover in (temporary, path):
                with suppress(OSError):
                    self._files.remove(leftover)
            raise LogError(f"the secret could not be stored: {describe(error)}", file=path) from error
        return digest

    def get(self, digest: str) -> bytes | None:
        """What `put` was given; None if it is not here, or damaged: `put` then stores it anew.

        Raises:
            LogError: It cannot be read.
            ValueError: ``digest`` is none.
        """
        _require_digest(digest)
        path = self.path / digest
        try:
            with self._files.read(path) as file:
                secret = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            if self._read_only and isinstance(error, PermissionError):
                return None
            raise LogError(f"the secret cannot be read: {describe(error)}", file=path) from error
        return secret if digest_of(secret) == digest else None

    def drop_except(self, digests: Collection[str]) -> int:
        """Forgets all others; how many that were.

        Raises:
            LogError: One could not be removed.
        """
        kept = frozenset(digests)
        dropped = 0
        try:
            for name in self._files.names(self.path):
                if _DIGEST.fullmatch(name) and name not in kept:
                    self._files.remove(self.path / name)
                    dropped += 1
            if dropped:
                self._files.sync_folder(self.path)
        except OSError as error:
            raise LogError(f"a secret cannot be dropped: {describe(error)}", file=self.path) from error
        return dropped

    def check(self) -> None:
        """Sees whether the disk takes a secret; nothing is left of it.

        Raises:
            LogError: It does not.
        """
        temporary = self.path / f"check{TEMPORARY_SUFFIX}"
        try:
            self._files.make_folder(self.path, 0o700)
            self._store(temporary, bytes(_CHECK_OCTETS))
        except OSError as error:
            raise LogError(f"no secret can be stored: {describe(error)}", file=self.path) from error
        finally:
            with suppress(OSError):
                self._files.remove(temporary)

    def _store(self, path: Path, secret: bytes) -> None:
        file = self._files.create(path, 0o600)
        try:
            written = 0
            while written < len(secret):
                written += file.write(secret[written:])
            file.sync()
        finally:
            file.close()


class MemorySecretStore:
    """Secrets that are gone with the process."""

    def __init__(self) -> None:
        self._secrets: dict[str, bytes] = {}

    def put(self, secret: bytes) -> str:  # noqa: D102 (Secrets has it)
        digest = digest_of(secret)
        self._secrets[digest] = secret
        return digest

    def get(self, digest: str) -> bytes | None:  # noqa: D102
        _require_digest(digest)
        return self._secrets.get(digest)

    def drop_except(self, digests: Collection[str]) -> int:  # noqa: D102
        dropped = self._secrets.keys() - frozenset(digests)
        for digest in dropped:
            del self._secrets[digest]
        return len(dropped)

    def check(self) -> None:
        """Does nothing: memory takes it."""


def _require_digest(digest: str) -> None:
    if _DIGEST.fullmatch(digest) is None:
        raise ValueError(f"a digest is 64 lower-case hexadecimal digits, got {digest!r}")
