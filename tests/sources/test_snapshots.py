"""What a folder says at one moment, and what stays of what it said before."""

from __future__ import annotations

import pytest

from controlplane.sources.folder import Listing, list_folder
from controlplane.sources.snapshots import EMPTY, Snapshot, moving_files, take_snapshot


def take(listing: Listing, earlier: Snapshot = EMPTY, **options: object) -> Snapshot:
    snapshot = take_snapshot(listing, earlier, **{"moving": (), "patient": True, **options})
    assert snapshot is not None
    return snapshot


@pytest.fixture
def first(folder, make) -> Snapshot:
    make.save(folder / "a.yaml", make.namespace("a"))
    make.save(folder / "sub" / "b.yaml", make.namespace("b"))
    return take(list_folder(folder))


def names(snapshot: Snapshot) -> dict[str, str]:
    """What each file claims, or keeps claiming (in brackets)."""
    return {
        path: " ".join(
            [
                *(claim.reference.name for claim in reading.claims),
                *(f"({claim.reference.name})" for claim in reading.kept),
            ]
        )
        for path, reading in sorted(snapshot.readings.items())
    }


def test_what_has_not_changed_is_not_read_again(folder, make, first):
    make.save(folder / "a.yaml", make.namespace("c"))
    second = take(list_folder(folder), first)
    assert names(second) == {"a.yaml": "c", "sub/b.yaml": "b"}
    assert second.readings["sub/b.yaml"] is first.readings["sub/b.yaml"]


def test_a_file_that_is_gone_says_nothing(folder, first):
    (folder / "a.yaml").unlink()
    assert names(take(list_folder(folder), first)) == {"sub/b.yaml": "b"}


@pytest.mark.parametrize("fault", ["sub", "sub/b.yaml"])
def test_what_cannot_be_looked_at_is_kept(folder, make, first, fault):
    listing = list_folder(folder)
    hidden = Listing({"a.yaml": listing.files["a.yaml"]}, {fault: "cannot be read"})
    second = take(hidden, first)
    assert names(second) == {"a.yaml": "a", "sub/b.yaml": "(b)"}
    assert second.reasons == {fault: f"{fault}: cannot be read"}
    assert second.is_doubtful == (fault == "sub")
    assert names(take(hidden, second)) == names(second)
    assert names(take(listing, second)) == names(first)


def test_a_file_that_comes_and_goes_is_kept(folder, make, first):
    present = list_folder(folder)
    (folder / "a.yaml").unlink()
    absent = list_folder(folder)
    assert moving_files(present, absent) == {"a.yaml"}
    second = take(absent, first, moving=moving_files(present, absent))
    assert names(second) == names(first)
    assert second.unread == {"a.yaml"}
    assert names(take(absent, second)) == {"sub/b.yaml": "b"}


def test_a_new_file_that_keeps_changing_is_named_and_may_define_anything(folder, make, first):
    make.save(folder / "new.yaml", make.namespace("new"))
    second = take(list_folder(folder), first, moving={"new.yaml"})
    assert second.readings["new.yaml"].problems == {
        "new.yaml": "new.yaml: the file keeps changing and is not read; stop writing to it"
    }
    assert second.is_doubtful
    assert not first.is_doubtful


def test_a_file_that_changes_after_the_listing_ends_a_patient_snapshot(folder, make, first):
    make.save(folder / "a.yaml", make.namespace("c"))
    listing = list_folder(folder)
    make.save(folder / "a.yaml", make.namespace("d"))
    assert take_snapshot(listing, first, moving=(), patient=True) is None
    impatient = take(listing, first, patient=False)
    assert names(impatient) == names(first)
    assert impatient.unread == {"a.yaml"}


def test_a_broken_file_keeps_its_objects_when_it_is_renamed(folder, make, first):
    make.save(folder / "a.yaml", "a: [b")
    broken = take(list_folder(folder), first)
    assert names(broken)["a.yaml"] == "(a)"
    (folder / "a.yaml").rename(folder / "renamed.yaml")
    assert names(take(list_folder(folder), broken)) == {"renamed.yaml": "(a)", "sub/b.yaml": "b"}


def test_a_file_renamed_and_broken_in_one_go_keeps_its_objects_until_it_is_mended(folder, make, first):
    """As ``git pull`` may do it. Nobody can tell that it was the same file, so all that vanished with its coming is kept."""
    (folder / "a.yaml").unlink()
    make.save(folder / "another.yaml", "a: [b, c")
    second = take(list_folder(folder), first)
    assert names(second) == {"another.yaml": "(a)", "sub/b.yaml": "b"}
    make.save(folder / "another.yaml", make.namespace("c"))
    assert names(take(list_folder(folder), second)) == {"another.yaml": "c", "sub/b.yaml": "b"}


def test_a_file_that_comes_whole_keeps_nothing_of_what_vanished(folder, make, first):
    (folder / "a.yaml").unlink()
    make.save(folder / "another.yaml", make.namespace("c"))
    assert names(take(list_folder(folder), first)) == {"another.yaml": "c", "sub/b.yaml": "b"}


def test_kinds_of_others_are_counted_over_all_files(folder, make):
    make.save(folder / "a.yaml", "kind: ConfigMap\n---\nkind: Job\napiVersion: batch/v1\n")
    make.save(folder / "b.yaml", "kind: ConfigMap\n")
    assert take(list_folder(folder)).ignored == {"ConfigMap": 2, "Job.batch": 1}
