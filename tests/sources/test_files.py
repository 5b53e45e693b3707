"""The source with real files and the real watcher: each test awaits transactions, none waits for time."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import Any

import pytest
from structlog.testing import capture_logs

from controlplane.model.events import ObjectApplied, ObjectRejected, SourceSynced, SourceUnavailable
from controlplane.model.objects import KINDS
from controlplane.model.references import ObjectReference

pytestmark = pytest.mark.asyncio


def namespace(name: str) -> ObjectReference:
    return ObjectReference("Namespace", "", name)


class TestStart:
    async def test_everything_and_the_barrier_are_one_transaction_in_a_fixed_order(
        self, folder, log, running, make, said
    ):
        make.save(folder / "z.yaml", make.documents(make.namespace("b"), make.route("r"), make.namespace("a")))
        make.save(folder / "sub" / "deeper" / "y.yml", make.namespace("c"))
        make.save(
            folder / "x.json",
            '{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"clusterIP": "None"}}',
        )
        async with running() as source:
            first = await log.next()
        assert said(first) == [
            "applied HTTPRoute default/r",
            "applied Namespace a",
            "applied Namespace b",
            "applied Namespace c",
            "applied Service default/s",
            "synced",
        ]
        assert first[-1] == SourceSynced(tuple(sorted(KINDS)))
        assert [event.origin for event in first[:-1]] == [
            "z.yaml:6",
            "z.yaml:18",
            "z.yaml:1",
            "sub/deeper/y.yml:1",
            "x.json:1",
        ]
        assert (source.statistics().files, source.statistics().objects) == (3, 5)

    async def test_an_empty_folder_is_synced(self, log, running, said):
        async with running():
            assert said(await log.next()) == ["synced"]

    async def test_what_the_log_knows_is_not_said_again(self, folder, log, running, make, said):
        make.save(
            folder / "a.yaml", make.documents(make.namespace("same"), make.namespace("changed"), make.namespace("new"))
        )
        async with running() as source:
            await log.next()
        known = {key: row[0] for key, row in log.fold.objects.items()}
        make.save(folder / "a.yaml", make.documents(make.namespace("same"), make.namespace("changed", a="b")))
        log.fold.synced = ()
        async with running(known) as source:
            assert said(await log.next()) == ["applied Namespace changed", "deleted Namespace new", "synced"]
            assert source.statistics().objects == 2

    async def test_what_the_log_calls_rejected_is_accepted_deleted_or_told_anew(self, folder, log, running, make, said):
        known = {}
        make.save(folder / "a.yaml", make.documents(make.route("mended"), make.route("still")))
        async with running():
            await log.next()
            known = {key: row[0] for key, row in log.fold.objects.items()}
        make.save(folder / "a.yaml", make.documents(make.route("mended"), make.route("still", port="many")))
        rejected = [ObjectReference("HTTPRoute", "default", name) for name in ("gone", "mended", "still")]
        log.fold.synced = ()
        log.fold.rejections = dict.fromkeys(rejected, ((), ""))
        async with running(known, rejected):
            assert said(await log.next()) == [
                "deleted HTTPRoute default/gone",
                "accepted HTTPRoute default/mended",
                "rejected HTTPRoute default/still at a.yaml:23",
                "synced",
            ]

    async def test_parts_that_the_log_calls_unavailable_are_available_or_told_anew(
        self, folder, log, running, make, said
    ):
        make.save(folder / "bad.yaml", "a: [")
        log.fold.parts = {"bad.yaml": "of old", "good.yaml": "of old"}
        async with running(unavailable=["bad.yaml", "good.yaml"]):
            assert said(await log.next()) == ["unavailable bad.yaml", "available good.yaml", "synced"]

    async def test_remarks_that_the_log_does_not_have_are_applied(self, folder, log, running, make, said):
        make.save(folder / "a.yaml", make.namespace("a") + "specc: {}\n")
        async with running():
            (applied, _) = await log.next()
        assert isinstance(applied, ObjectApplied)
        assert applied.warnings
        for remarks, expected in (
            ({}, ["applied Namespace a", "synced"]),
            ({namespace("a"): (applied.warnings, ())}, ["synced"]),
        ):
            log.fold.synced = ()
            async with running({namespace("a"): applied.object}, remarks=remarks):
                assert said(await log.next()) == expected

    async def test_a_broken_file_does_not_keep_the_rest_from_being_served(self, folder, log, running, make, said):
        make.save(folder / "bad.yaml", "a: [")
        make.save(folder / "good.yaml", make.namespace("a"))
        async with running():
            assert said(await log.next()) == ["applied Namespace a", "unavailable bad.yaml", "synced"]

    async def test_known_objects_stay_while_a_file_that_may_hold_them_was_never_readable(
        self, folder, log, running, make, said
    ):
        make.save(folder / "a.yaml", make.namespace("moved"))
        make.save(folder / "b.yaml", make.documents(make.namespace("kept"), make.namespace("lost")))
        async with running():
            await log.next()
        known = {key: row[0] for key, row in log.fold.objects.items()}
        make.save(folder / "b.yaml", "a: [")
        log.fold.synced = ()
        async with running(known):
            assert said(await log.next()) == ["unavailable b.yaml", "synced"]
            (folder / "a.yaml").unlink()
            assert said(await log.next()) == ["deleted Namespace moved"]
            make.save(folder / "b.yaml", make.namespace("kept"))
            assert said(await log.next()) == ["deleted Namespace lost", "available b.yaml"]


class TestSaves:
    async def test_a_save_is_a_transaction(self, folder, log, running, make, said):
        make.save(folder / "a.yaml", make.documents(make.namespace("a"), make.namespace("b")))
        async with running() as source:
            await log.next()
            make.save(folder / "a.yaml", make.documents(make.namespace("a", x="1"), make.namespace("c")))
            assert said(await log.next()) == [
                "applied Namespace a",
                "deleted Namespace b",
                "applied Namespace c",
            ]
            (folder / "a.yaml").unlink()
            assert said(await log.next()) == ["deleted Namespace a", "deleted Namespace c"]
            assert source.statistics().transactions == 3

    async def test_new_folders_are_watched(self, folder, log, running, make, said):
        async with running():
            await log.next()
            make.save(folder / "one" / "two" / "a.yaml", make.namespace("a"))
            assert said(await log.next()) == ["applied Namespace a"]
            make.save(folder / "one" / "two" / "a.yaml", make.namespace("a", x="1"))
            assert said(await log.next()) == ["applied Namespace a"]
            shutil.rmtree(folder / "one")
            assert said(await log.next()) == ["deleted Namespace a"]

    async def test_files_saved_within_the_settling_time_are_one_transaction(
        self, folder, log, running, make, said, sleeps
    ):
        def save_others(sleep: int) -> None:
            if 2 <= sleep <= 4:
                make.save(folder / f"{sleep}.yaml", make.namespace(f"n{sleep}"))

        async with running(sleep=sleeps(save_others)):
            await log.next()
            make.save(folder / "1.yaml", make.namespace("n1"))
            assert said(await log.next()) == [f"applied Namespace n{number}" for number in (1, 2, 3, 4)]

    @pytest.mark.parametrize("cut", [0, 30, 50], ids=["empty", "in a word", "between documents"])
    async def test_a_file_that_is_cut_during_a_save_is_no_deletion(self, folder, log, running, make, said, sleeps, cut):
        whole = make.documents(make.namespace("aaa"), make.namespace("bbb"))
        changed = make.documents(make.namespace("aaa"), make.namespace("bbb", x="1")).encode()
        make.save(folder / "a.yaml", whole)

        def write_the_rest(sleep: int) -> None:
            if sleep == 2:
                with (folder / "a.yaml").open("ab") as file:
                    file.write(changed[cut:])

        async with running(sleep=sleeps(write_the_rest)):
            await log.next()
            with (folder / "a.yaml").open("r+b") as file:
                file.truncate(0)
                file.write(changed[:cut])
            assert said(await log.next()) == ["applied Namespace bbb"]

    async def test_a_file_that_stays_empty_is_a_deletion(self, folder, log, running, make, said):
        make.save(folder / "a.yaml", make.namespace("a"))
        async with running():
            await log.next()
            (folder / "a.yaml").write_bytes(b"")
            assert said(await log.next()) == ["deleted Namespace a"]

    async def test_a_file_that_never_holds_still_does_not_hold_up_the_others(
        self, folder, log, running, make, said, sleeps
    ):
        make.save(folder / "restless.yaml", make.namespace("a"))
        stop = False

        def write(sleep: int) -> None:
            if sleep > 1 and not stop:
                with (folder / "restless.yaml").open("a") as file:
                    file.write(f"# {sleep}\n")

        async with running(sleep=sleeps(write)):
            assert said(await log.next()) == ["applied Namespace a", "synced"]
            make.save(folder / "calm.yaml", make.namespace("b"))
            assert said(await log.next()) == ["applied Namespace b", "unavailable restless.yaml"]
            assert log.fold.parts == {
                "restless.yaml": "restless.yaml: the file keeps changing and is not read; stop writing to it"
            }
            stop = True
            make.save(folder / "restless.yaml", make.namespace("a", x="1"))
            assert said(await log.next()) == ["applied Namespace a", "available restless.yaml"]

    async def test_a_restless_file_that_is_removed_is_a_deletion(self, folder, log, running, make, said, sleeps):
        make.save(folder / "restless.yaml", make.namespace("a"))
        stop = False

        def write(sleep: int) -> None:
            if sleep > 1 and not stop:
                with (folder / "restless.yaml").open("a") as file:
                    file.write(f"# {sleep}\n")

        async with running(sleep=sleeps(write)):
            await log.next()
            make.save(folder / "restless.yaml", make.namespace("a", x="1"))
            assert said(await log.next()) == ["unavailable restless.yaml"]
            stop = True
            (folder / "restless.yaml").unlink()
            await log.until(lambda fold: not fold.objects and not fold.parts)

    async def test_what_changes_nothing_is_no_transaction(self, folder, log, running, make, said):
        make.save(folder / "a.yaml", make.namespace("a"))
        make.save(folder / "b.yaml", make.namespace("b"))
        async with running():
            await log.next()
            make.save(folder / "a.yaml", "# a comment\n" + make.namespace("a"))
            (folder / "b.yaml").touch()
            (folder / "b.yaml").rename(folder / "c.yaml")
            (folder / "notes.txt").write_text("kind: nothing")
            make.save(folder / ".git" / "x.yaml", make.namespace("hidden"))
            make.save(folder / ".hidden.yaml", make.namespace("hidden"))
            make.save(folder / "empty.yaml", "# nothing\n---\n---\n")
            make.save(folder / "marker.yaml", make.namespace("marker"))
            await log.until(lambda fold: namespace("marker") in fold.objects)
            assert [said(transaction) for transaction in log.transactions[1:]] == [["applied Namespace marker"]]

    async def test_a_write_and_replace_is_one_update(self, folder, log, running, make, said):
        make.save(folder / "a.yaml", make.documents(make.namespace("a"), make.namespace("b")))
        async with running():
            await log.next()
            # As vim does it: the old file steps aside, the new one takes its place.
            (folder / "a.yaml").rename(folder / "a.yaml~")
            (folder / "a.yaml").write_text(make.documents(make.namespace("a", x="1"), make.namespace("b")))
            (folder / "a.yaml~").unlink()
            await log.until(
                lambda fold: (
                    fold.objects[namespace("a")][0].metadata.labels != {} if namespace("a") in fold.objects else False
                )
            )
            assert [said(transaction) for transaction in log.transactions[1:]] == [["applied Namespace a"]]


class TestErrors:
    async def test_a_file_that_does_not_parse_keeps_its_objects_until_mended(self, folder, log, running, make, said):
        make.save(folder / "a.yaml", make.documents(make.namespace("a"), make.namespace("b")))
        async with running() as source:
            await log.next()
            make.save(folder / "a.yaml", make.namespace("a", x="1") + "---\nmetadata: {name: b\n")
            assert await log.next() == [
                SourceUnavailable(
                    "a.yaml",
                    "a.yaml:8:19: the mapping that began in line 8 is not closed here; "
                    "close it with }, or put a comma between entries",
                )
            ]
            assert (source.statistics().objects, source.statistics().errors) == (2, 1)
            make.save(folder / "a.yaml", make.documents(make.namespace("a", x="1"), make.namespace("b")))
            assert said(await log.next()) == ["applied Namespace a", "available a.yaml"]
            assert source.statistics().errors == 0

    async def test_an_object_moves_out_of_a_file_that_does_not_parse(self, folder, log, running, make, said):
        make.save(folder / "a.yaml", make.namespace("a"))
        async with running():
            await log.next()
            make.save(folder / "a.yaml", "a: [")
            assert said(await log.next()) == ["unavailable a.yaml"]
            make.save(folder / "b.yaml", make.namespace("a", x="1"))
            assert said(await log.next()) == ["applied Namespace a"]
            (folder / "b.yaml").unlink()
            make.save(folder / "a.yaml", "")
            await log.until(lambda fold: not fold.objects and not fold.parts)

    async def test_a_file_that_does_not_parse_can_be_renamed_and_removed(self, folder, log, running, make, said):
        make.save(folder / "a.yaml", make.namespace("a"))
        async with running():
            await log.next()
            make.save(folder / "a.yaml", "a: [")
            await log.next()
            (folder / "a.yaml").rename(folder / "b.yaml")
            assert said(await log.next()) == ["available a.yaml", "unavailable b.yaml"]
            (folder / "b.yaml").unlink()
            assert said(await log.next()) == ["deleted Namespace a", "available b.yaml"]

    async def test_an_ill_typed_object_keeps_its_last_good_version_and_names_the_field(
        self, folder, log, running, make, said
    ):
        make.save(folder / "a.yaml", make.documents(make.namespace("a"), make.route("r")))
        async with running() as source:
            await log.next()
            good = log.fold.objects[ObjectReference("HTTPRoute", "default", "r")]
            make.save(folder / "a.yaml", make.documents(make.namespace("a", x="1"), make.route("r", port="many")))
            rejected, applied = await log.next()
            assert said([applied]) == ["applied Namespace a"]
            assert isinstance(rejected, ObjectRejected)
            assert rejected.origin == "a.yaml:18"
            assert [str(error) for error in rejected.errors] == [
                'spec.rules[0].backendRefs[0].port: "many" is text, where a whole number belongs; '
                "use a whole number from 1 to 65535"
            ]
            assert log.fold.objects[ObjectReference("HTTPRoute", "default", "r")] == good
            assert (source.statistics().objects, source.statistics().rejected) == (2, 1)

    async def test_an_ill_typed_object_is_mended(self, folder, log, running, make, said):
        make.save(folder / "a.yaml", make.route("r"))
        async with running():
            await log.next()
            for path, expected in (("/", "accepted HTTPRoute default/r"), ("/new", "applied HTTPRoute default/r")):
                make.save(folder / "a.yaml", make.route("r", port="many"))
                assert said(await log.next()) == ["rejected HTTPRoute default/r at a.yaml:11"]
                make.save(folder / "a.yaml", make.route("r", path=path))
                assert said(await log.next()) == [expected]

    async def test_an_ill_typed_object_is_removed(self, folder, log, running, make, said):
        make.save(folder / "new.yaml", make.route("never-good", port="many"))
        make.save(folder / "old.yaml", make.route("once-good"))
        async with running():
            assert said(await log.next())[0] == "rejected HTTPRoute default/never-good at new.yaml:11"
            make.save(folder / "old.yaml", make.route("once-good", port="many"))
            await log.next()
            (folder / "new.yaml").unlink()
            assert said(await log.next()) == ["deleted HTTPRoute default/never-good"]
            (folder / "old.yaml").unlink()
            assert said(await log.next()) == ["deleted HTTPRoute default/once-good"]
            assert not log.fold.rejections

    async def test_an_object_defined_twice_is_one_error_that_names_both_places(self, folder, log, running, make, said):
        make.save(folder / "b.yaml", make.documents(make.namespace("x"), make.namespace("a", file="b")))
        async with running() as source:
            await log.next()
            make.save(folder / "c.yaml", make.namespace("a", file="c"))
            (rejected,) = await log.next()
            assert said([rejected]) == ["rejected Namespace a at c.yaml:1"]
            assert [str(error) for error in rejected.errors] == [
                "defined twice: at b.yaml:6 and at c.yaml:1; the one at b.yaml:6 counts; remove all but one"
            ]
            assert source.statistics().errors == 1
            (folder / "c.yaml").unlink()
            assert said(await log.next()) == ["accepted Namespace a"]
            make.save(folder / "a.yaml", make.namespace("a", file="a"))
            assert said(await log.next()) == ["applied Namespace a", "rejected Namespace a at b.yaml:6"]
            assert log.fold.objects[namespace("a")][0].metadata.labels == {"file": "a"}
            make.save(folder / "b.yaml", make.namespace("x"))
            assert said(await log.next()) == ["accepted Namespace a"]

    async def test_a_document_that_names_no_object_is_an_error_of_its_own(self, folder, log, running, make, said):
        make.save(folder / "a.yaml", make.documents(make.namespace("a"), make.namespace("b"), make.namespace("c")))
        async with running():
            await log.next()
            nameless = "apiVersion: v1\nkind: Namespace\nmetadata: {}\n"
            make.save(folder / "a.yaml", make.documents(make.namespace("a", x="1"), nameless, make.namespace("c")))
            applied, unavailable = await log.next()
            assert said([applied]) == ["applied Namespace a"]
            assert unavailable == SourceUnavailable(
                "a.yaml#2",
                "a.yaml:10: Namespace without a name: metadata.name: required, but missing; add it: the object's name",
            )
            assert namespace("b") in log.fold.objects
            make.save(folder / "a.yaml", make.documents(make.namespace("a", x="1"), make.namespace("c")))
            assert said(await log.next()) == ["deleted Namespace b", "available a.yaml#2"]

    async def test_other_kinds_are_counted(self, folder, log, running, make, said):
        deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n"
        make.save(folder / "a.yaml", make.documents(deployment, make.namespace("a"), deployment, "kind: ConfigMap\n"))
        async with running() as source:
            assert said(await log.next()) == ["applied Namespace a", "synced"]
        assert source.statistics().ignored == {"ConfigMap": 1, "Deployment.apps": 2}
        assert source.statistics().errors == 0


class TestPlaces:
    async def test_a_configmaps_swap_of_links(self, folder, log, running, make, said):
        def put(version: str, **files: str) -> None:
            for name, text in files.items():
                make.save(folder / f"..{version}" / f"{name}.yaml", text)
            (folder / "..data_tmp").symlink_to(f"..{version}")
            (folder / "..data_tmp").replace(folder / "..data")

        put("2024_01", a=make.namespace("a"), b=make.namespace("b"))
        for name in ("a", "b"):
            (folder / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
        async with running() as source:
            assert said(await log.next()) == ["applied Namespace a", "applied Namespace b", "synced"]
            put("2024_02", a=make.namespace("a", x="1"), b=make.namespace("b", x="1"))
            shutil.rmtree(folder / "..2024_01")
            assert said(await log.next()) == ["applied Namespace a", "applied Namespace b"]
            put("2024_03", a=make.namespace("a", x="1"), b=make.namespace("b", x="2"))
            assert said(await log.next()) == ["applied Namespace b"]
            assert source.statistics().files == 2

    async def test_a_link_to_a_file_outside_is_followed(self, folder, log, running, make, said, tmp_path):
        make.save(tmp_path / "outside.yaml", make.namespace("a"))
        (folder / "link.yaml").symlink_to(tmp_path / "outside.yaml")
        async with running(interval=0.1):
            assert said(await log.next()) == ["applied Namespace a", "synced"]
            make.save(tmp_path / "outside.yaml", make.namespace("a", x="1"))
            assert said(await log.next()) == ["applied Namespace a"]
            (tmp_path / "outside.yaml").unlink()
            assert await log.next() == [
                SourceUnavailable("link.yaml", "link.yaml: the link points to nothing; mend or remove it")
            ]
            (folder / "link.yaml").unlink()
            assert said(await log.next()) == ["deleted Namespace a", "available link.yaml"]

    async def test_an_unreadable_file_keeps_its_objects(self, folder, log, running, make, said, monkeypatch):
        make.save(folder / "a.yaml", make.namespace("a"))
        refused = folder / "a.yaml"
        real_open = os.open

        def open_(path: Any, *args: Any, **options: Any) -> int:
            if path == refused:
                raise PermissionError(13, "Permission denied", str(path))
            return real_open(path, *args, **options)

        async with running(interval=0.05):
            await log.next()
            monkeypatch.setattr("controlplane.sources.folder.os.open", open_)
            make.save(folder / "a.yaml", make.namespace("a", x="1"))
            assert await log.next() == [
                SourceUnavailable(
                    "a.yaml",
                    "a.yaml: the file cannot be read: permission is denied; let the control plane's user read it",
                )
            ]
            # Nothing about the file changes when the disk or the network is mended: it is tried again.
            monkeypatch.undo()
            assert said(await log.next()) == ["applied Namespace a", "available a.yaml"]

    async def test_the_folder_vanishes_and_returns(self, folder, log, running, make, said, tmp_path):
        make.save(folder / "a.yaml", make.documents(make.namespace("a"), make.namespace("b")))
        async with running(interval=0.1) as source:
            await log.next()
            folder.rename(tmp_path / "elsewhere")
            assert await log.next() == [SourceUnavailable("", f"the folder {folder} does not exist; create it")]
            assert source.statistics().objects == 2
            make.save(tmp_path / "elsewhere" / "a.yaml", make.namespace("a"))
            (tmp_path / "elsewhere").rename(folder)
            assert said(await log.next()) == ["deleted Namespace b", "available "]
            make.save(folder / "a.yaml", make.namespace("a", x="1"))
            assert said(await log.next()) == ["applied Namespace a"]

    async def test_the_folder_is_a_link_that_is_swapped(self, log, running, make, said, tmp_path):
        make.save(tmp_path / "one" / "a.yaml", make.namespace("a"))
        make.save(tmp_path / "two" / "a.yaml", make.namespace("a", x="1"))
        current = tmp_path / "current"
        current.symlink_to("one")
        async with running(path=current, interval=0.1):
            await log.next()
            (tmp_path / "next").symlink_to("two")
            (tmp_path / "next").replace(current)
            assert said(await log.next()) == ["applied Namespace a"]
            make.save(tmp_path / "two" / "b.yaml", make.namespace("b"))
            assert said(await log.next()) == ["applied Namespace b"]

    async def test_nothing_is_synced_before_the_folder_is_there(self, log, running, make, said, tmp_path):
        later = tmp_path / "later"
        async with running({namespace("a"): object()}, path=later, interval=0.1) as source:
            assert said(await log.next()) == ["unavailable "]
            assert not source.statistics().synced
            make.save(tmp_path / "draft" / "b.yaml", make.namespace("b"))
            (tmp_path / "draft").rename(later)
            log.fold.objects[namespace("a")] = object()
            assert said(await log.next()) == ["deleted Namespace a", "applied Namespace b", "available ", "synced"]
            assert source.statistics().synced


class TestRunning:
    async def test_private_keys_are_kept_before_they_are_named(
        self, folder, log, running, make, keys, said, tls_secret
    ):
        pair, other = tls_secret("one"), tls_secret("two")
        make.save(folder / "a.yaml", pair.manifest)
        seen_at_append: list[list[bytes]] = []

        async def append(events: Any) -> None:
            seen_at_append.append(list(keys))
            await log(events)

        async with running(append=append):
            await log.next()
            make.save(folder / "b.yaml", make.namespace("b"))
            await log.next()
            make.save(folder / "c.yaml", other.manifest)
            assert said(await log.next()) == ["applied Secret default/two"]
        assert seen_at_append == [[pair.key], [pair.key], [pair.key, other.key]]

    async def test_private_keys_are_kept_again_when_the_log_knows_the_secret(
        self, folder, log, running, make, keys, said, tls_secret
    ):
        pair = tls_secret("one")
        make.save(folder / "a.yaml", pair.manifest)
        async with running():
            await log.next()
        known = {key: row[0] for key, row in log.fold.objects.items()}
        keys.clear()
        log.fold.synced = ()
        async with running(known):
            assert said(await log.next()) == ["synced"]
        assert keys == [pair.key]

    async def test_what_could_not_be_appended_is_appended_by_the_next_run(self, folder, log, running, make, said):
        make.save(folder / "a.yaml", make.namespace("a"))
        full = True

        async def append(events: Any) -> None:
            if full:
                raise OSError("the disk is full")
            await log(events)

        async with running(append=append) as source:
            with pytest.raises(OSError, match="the disk is full"):
                await log.next()
            assert source.statistics().transactions == 0
            full = False
            log.task = asyncio.create_task(source.run())
            assert said(await log.next()) == ["applied Namespace a", "synced"]

    async def test_it_can_be_cancelled_at_any_time(self, folder, log, running, make):
        make.save(folder / "a.yaml", make.namespace("a"))
        for turns in range(30):
            async with running():
                for _ in range(turns):
                    await asyncio.sleep(0)
            assert log.task.cancelled()

    async def test_an_append_that_waits_holds_the_source_back_and_loses_nothing(self, folder, log, running, make, said):
        make.save(folder / "a.yaml", make.namespace("a"))
        gate, arrived = asyncio.Event(), asyncio.Event()

        async def append(events: Any) -> None:
            arrived.set()
            await gate.wait()
            await log(events)

        async with running(append=append):
            await arrived.wait()
            make.save(folder / "a.yaml", make.namespace("a", x="1"))
            make.save(folder / "b.yaml", make.namespace("b"))
            gate.set()
            assert said(await log.next()) == ["applied Namespace a", "synced"]
            assert said(await log.next()) == ["applied Namespace a", "applied Namespace b"]

    async def test_without_notifications_the_folder_is_looked_at_regularly(
        self, folder, log, running, make, said, monkeypatch
    ):
        def refuse(*args: object, **options: object) -> object:
            raise OSError(28, "inotify watch limit reached")

        monkeypatch.setattr("controlplane.sources.watching.awatch", refuse)
        with capture_logs() as logged:
            async with running(interval=0.02):
                await log.next()
                for name in "abc":
                    make.save(folder / f"{name}.yaml", make.namespace(name))
                    assert said(await log.next()) == [f"applied Namespace {name}"]
        assert [entry for entry in logged if entry["log_level"] == "warning"] == [
            {
                "event": "no notifications of changes; the folder is looked at regularly instead",
                "log_level": "warning",
                "source": "files",
                "folder": str(folder),
                "interval": 0.02,
                "reason": "[Errno 28] inotify watch limit reached",
            }
        ]

    async def test_what_is_wrong_is_logged(self, folder, log, running, make):
        make.save(folder / "a.yaml", make.route("r", port="many"))
        make.save(folder / "b.yaml", "a: [b")
        with capture_logs() as logged:
            async with running():
                await log.next()
        assert [{key: entry[key] for key in entry if key not in {"log_level", "source"}} for entry in logged] == [
            {
                "event": "object rejected",
                "object": "HTTPRoute default/r",
                "origin": "a.yaml:11",
                "error": 'spec.rules[0].backendRefs[0].port: "many" is text, where a whole number belongs; '
                "use a whole number from 1 to 65535",
            },
            {
                "event": "source unavailable",
                "part": "b.yaml",
                "reason": "b.yaml:1:6: the list that began in line 1 is not closed here; "
                "close it with ], or put a comma between items",
            },
            {"event": "folder read", "applied": 0, "deleted": 0, "errors": 2},
        ]

    async def test_statistics(self, folder, log, running, make):
        make.save(folder / "a.yaml", make.documents(make.namespace("a"), make.route("r", port="many")))
        make.save(folder / "b.yaml", "a: [")
        async with running() as source:
            before = source.statistics()
            await log.next()
            make.save(folder / "c.yaml", make.namespace("c"))
            await log.next()
            now = source.statistics()
        assert (before.files, before.transactions, before.synced, before.last_change) == (0, 0, False, None)
        assert (now.files, now.objects, now.rejected, now.unavailable, now.errors) == (3, 2, 1, 1, 2)
        assert (now.transactions, now.synced) == (2, True)
        assert now.last_change is not None
        assert now.looks >= 4
