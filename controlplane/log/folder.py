"""Which files in a log's folder are the log's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from controlplane.log.errors import LogError
from controlplane.log.files import Files
from controlplane.log.lines import TEMPORARY_SUFFIX, segment_first_seq

LOCK_NAME: Final = "lock"
"""Held by the writer; it stays when the writer has gone."""

SECRETS_NAME: Final = "secrets"
"""The folder of the secret store."""


class Listing(msgspec.Struct, frozen=True):
    """The names in a log's folder."""

    segments: tuple[Path, ...]
    """In the order of their seqs."""
    temporary: tuple[Path, ...]
    """Segments whose checkpoint was never finished; a writer removes them."""
    foreign: tuple[str, ...]
    """Names that are none of ours; they are left alone."""


def list_folder(path: Path, files: Files) -> Listing:
    """What is in the folder of a log.

    Raises:
        LogError: It cannot be read.
    """
    try:
        names = files.names(path)
    except FileNotFoundError:
        raise LogError("there is no such folder", file=path) from None
    except OSError as error:
        raise LogError(f"it cannot be read: {error.strerror}", file=path) from error
    segments, temporary, foreign = [], [], []
    for name in names:
        if segment_first_seq(name):
            segments.append(path / name)
        elif segment_first_seq(name.removesuffix(TEMPORARY_SUFFIX)):
            temporary.append(path / name)
        elif name not in {LOCK_NAME, SECRETS_NAME}:
            foreign.append(name)
    return Listing(tuple(segments), tuple(temporary), tuple(foreign))
