"""Manifests of files and folders, read once: what a source of the same folder would tell after its first look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from controlplane.model.events import AnyEvent, ObjectApplied
from controlplane.sources.claims import private_keys, resolve
from controlplane.sources.differences import State, diff
from controlplane.sources.folder import FoundFile, Listing, find_file, list_folder
from controlplane.sources.snapshots import EMPTY, Snapshot, take_snapshot

_ATTEMPTS: Final = 3
"""Times that everything is listed at most, because a file changed while it was read."""


class Manifests(msgspec.Struct, frozen=True):
    """What files and folders hold."""

    state: State
    """The objects, those that are rejected, and what else is wrong, as a source would tell them."""
    ignored: Mapping[str, int]
    """Kind that is none of ours, with its group (``Deployment.apps``) -> number of objects; sorted."""
    files: int

    @property
    def events(self) -> tuple[AnyEvent, ...]:
        """What a source would append before its ``SourceSynced``: objects by kind, namespace and name, then parts."""
        return diff(State(), self.state)

    @property
    def objects(self) -> tuple[ObjectApplied, ...]:
        """Every object that is served, by kind, namespace and name."""
        return tuple(applied for _, applied in sorted(self.state.objects.items()))

    @property
    def errors(self) -> tuple[str, ...]:
        """Everything that is wrong, a line each, beginning with ``file:line`` where it has one; the objects' first."""
        rejections = [rejected for _, rejected in sorted(self.state.rejections.items())]
        return (
            *(
                f"{rejected.origin}: {rejected.reference}: {error}"
                for rejected in rejections
                for error in rejected.errors
            ),
            *(reason for _, reason in sorted(self.state.parts.items())),
        )


def read_manifests(paths: Sequence[Path], *, put_private_key: Callable[[bytes], str] | None = None) -> Manifests:
    """What the files and folders define.

    Args:
        paths: One folder is read as a source reads it, with names relative to it; otherwise names begin with the paths as
            they are given. A file that is named is read whatever its suffix.
        put_private_key: Called with each private key of a Secret that is served; without it they are dropped.

    Returns:
        Always something: what is wrong, missing paths included, is in it.
    """
    snapshot = _snapshot(paths)
    state = resolve(State(), snapshot.readings, snapshot.reasons)
    if put_private_key is not None:
        for key in private_keys(snapshot.readings, state.objects.values()):
            put_private_key(key)
    return Manifests(state, snapshot.ignored, files=len(snapshot.listing.files))


def _snapshot(paths: Sequence[Path]) -> Snapshot:
    for attempt in range(1, _ATTEMPTS + 1):
        listing = list_folder(paths[0]) if len(paths) == 1 and paths[0].is_dir() else _list_paths(paths)
        if snapshot := take_snapshot(listing, EMPTY, moving=(), patient=attempt < _ATTEMPTS):
            return snapshot
    raise AssertionError("an impatient snapshot is always taken")


def _list_paths(paths: Sequence[Path]) -> Listing:
    files: dict[str, FoundFile] = {}
    faults: dict[str, str] = {}
    seen: set[tuple[int, int]] = set()
    for path in paths:
        listing = list_folder(path) if path.is_dir() else _list_file(path)
        for inner, fault in listing.faults.items():
            faults[(path / inner).as_posix()] = fault
        for inner, file in listing.files.items():
            identity = file.signature.device, file.signature.inode
            if identity not in seen:
                seen.add(identity)
                files[(path / inner).as_posix()] = file
    return Listing(files, faults)


def _list_file(path: Path) -> Listing:
    found = find_file(path)
    return Listing({"": found}, {}) if isinstance(found, FoundFile) else Listing({}, {"": found})
