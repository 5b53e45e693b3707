"""Manifests read once: by the rules of a source, from whatever paths."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controlplane.sources import manifests as manifests_module
from controlplane.sources import read_manifests


class TestPaths:
    def test_one_folder_is_read_with_relative_names(self, folder, make):
        make.save(folder / "sub" / "a.yaml", make.namespace("a"))
        make.save(folder / "b.yaml", "a: [b")
        manifests = read_manifests([folder])
        assert [applied.origin for applied in manifests.objects] == ["sub/a.yaml:1"]
        assert manifests.errors == (
            "b.yaml:1:6: the list that began in line 1 is not closed here; close it with ], or put a comma between items",
        )
        assert manifests.files == 2

    def test_several_paths_name_what_they_are_given_as(self, folder, make, monkeypatch):
        monkeypatch.chdir(folder)
        make.save(folder / "one" / "a.yaml", make.namespace("a"))
        make.save(folder / "two.txt", make.namespace("b"))
        manifests = read_manifests([Path("one"), Path("two.txt"), Path("missing.yaml")])
        assert [applied.origin for applied in manifests.objects] == ["one/a.yaml:1", "two.txt:1"]
        assert manifests.errors == ("missing.yaml: there is no such file or folder; check the path",)

    def test_what_is_given_twice_is_read_once(self, folder, make):
        make.save(folder / "a.yaml", make.namespace("a"))
        manifests = read_manifests([folder, folder / "a.yaml", folder])
        assert (manifests.files, len(manifests.objects), manifests.errors) == (1, 1, ())

    def test_one_file(self, folder, make):
        make.save(folder / "a.yaml", make.namespace("a"))
        assert len(read_manifests([folder / "a.yaml"]).objects) == 1

    def test_nothing(self):
        assert read_manifests([]).events == ()

    def test_a_file_that_changes_while_it_is_read_is_read_again(self, folder, make, monkeypatch):
        make.save(folder / "a.yaml", make.namespace("a"))
        real = manifests_module.list_folder
        listings = 0

        def list_folder(path):
            nonlocal listings
            listings += 1
            listing = real(path)
            if listings < changes:
                make.save(folder / "a.yaml", make.namespace("a", listing=str(listings)))
            return listing

        monkeypatch.setattr(manifests_module, "list_folder", list_folder)
        changes = 3
        (applied,) = read_manifests([folder]).objects
        assert applied.object.metadata.labels == {"listing": "2"}
        changes, listings = 100, 0
        assert read_manifests([folder]).errors == (
            "a.yaml: the file keeps changing and is not read; stop writing to it",
        )


class TestContent:
    def test_events_come_in_the_order_of_a_source(self, folder, make, said):
        make.save(
            folder / "a.yaml", make.documents(make.namespace("b"), make.route("r", port="x"), make.namespace("a"))
        )
        make.save(folder / "b.yaml", "a: [")
        assert said(read_manifests([folder]).events) == [
            "rejected HTTPRoute default/r at a.yaml:16",
            "applied Namespace a",
            "applied Namespace b",
            "unavailable b.yaml",
        ]

    def test_private_keys_are_handed_over_for_what_is_served(self, folder, make, tls_secret):
        one, two = tls_secret("same"), tls_secret("same")
        make.save(folder / "a.yaml", one.manifest)
        make.save(folder / "b.yaml", two.manifest)
        keys: list[bytes] = []
        manifests = read_manifests([folder], put_private_key=lambda key: keys.append(key) or "digest")
        assert keys == [one.key]
        assert len(manifests.objects) == 1
        assert read_manifests([folder]).events == manifests.events


BAD = {
    "syntax.yaml": (
        "kind: HTTPRoute\nmetadata:\n  name: a\n name: b\n",
        "syntax.yaml:4:2: this line does not fit into the mapping that began in line 1; "
        "check the indentation of this line and of those before it",
    ),
    "tab.yaml": ("kind: X\n\tname: b\n", "tab.yaml:2:1: a tab indents this line; indent with blanks"),
    "colon.yaml": (
        "kind: HTTPRoute\nnote: see also: this\n",
        "colon.yaml:2:15: a ':' stands where no value can begin; quote the value before it if the ':' is part of it, "
        "or check the indentation of this line and of those before it",
    ),
    "wildcard.yaml": (
        "hostnames:\n  - *.example.com\n",
        "wildcard.yaml:2:6: an anchor (&) or alias (*) without a name; "
        "quote a value that begins with * or &, such as a hostname with a wildcard",
    ),
    "quote.yaml": (
        "kind: 'X\n",
        "quote.yaml:1:9: the quoted text that began in line 1 is not closed; add the closing quote",
    ),
    "bytes.yaml": (b"kind: X\nname: \xff\n", "bytes.yaml:2:7: this byte is not UTF-8; save the file as UTF-8"),
    "nul.yaml": (
        b"kind: X\nname: \0\n",
        "nul.yaml:2:7: a control character, which YAML does not allow; "
        "remove it; binary data belongs into a Secret, as base64",
    ),
    "deep.yaml": (
        "[" * 101,
        "deep.yaml:1:101: nested more than 100 levels deep; no manifest is; check the brackets and the indentation",
    ),
    "documents.json": (
        '{"kind": "X"}\n{"kind": "Y"}\n',
        "documents.json:2:1: the document has ended, and something follows that belongs to none; "
        "put a line --- between documents; several JSON objects go into one List",
    ),
    "separator.yaml": (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: separator}\napiVersion: v1\n",
        "separator.yaml:4: Namespace separator: apiVersion: given twice, in lines 1 and 4; "
        "remove one of them, or put --- before the second if another object begins there",
    ),
    "twice.yaml": (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: twice\n  labels: {a: b}\n  labels: {c: d}\n",
        "twice.yaml:6: Namespace twice: metadata.labels: given twice, in lines 5 and 6; remove one of them",
    ),
    "key.yaml": (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: key\n  labels:\n    on: x\n",
        "key.yaml:6: Namespace key: metadata.labels.on: the key is a boolean, not text; put it in quotes",
    ),
    "boolean.yaml": (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: boolean\n  labels:\n    enabled: yes\n",
        'boolean.yaml:6: Namespace boolean: metadata.labels["enabled"]: true is a boolean, where text belongs; '
        'put it in quotes: "true"',
    ),
    "tag.yaml": (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: tag\n  labels:\n    a: !Ref b\n",
        "tag.yaml:6: Namespace tag: metadata.labels.a: a tag (!) that manifests do not have; "
        "remove it, or quote a value that begins with !",
    ),
    "alias.yaml": (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: alias\n  annotations:\n    a: *b\n",
        "alias.yaml:6: Namespace alias: metadata.annotations.a: an alias (*) that no anchor (&) before it defines; "
        "quote a value that begins with *",
    ),
    "template.yaml": (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {{ .Values.name }}\n",
        "template.yaml:4: Namespace without a name: metadata.name: a key that is no text; "
        "write a word; a template ({{ }}) has to be rendered first",
    ),
    "text.yaml": (
        "kind HTTPRoute\n",
        "text.yaml:1: text, where an object belongs; write apiVersion, kind, metadata and what belongs to them",
    ),
    "kindless.yaml": (
        "apiVersion: v1\nmetadata: {name: a}\n",
        "kindless.yaml:1: a document without a kind: kind: required, but missing; add it, such as "
        "AuthorizationPolicy, DestinationRule, EndpointSlice, Gateway, GatewayClass, HTTPRoute, Namespace, Node, Pod, "
        "ReferenceGrant, Secret, Service, ServiceEntry or WorkloadEntry",
    ),
    "nameless.yaml": (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  labels: {}\n",
        "nameless.yaml:3: Namespace without a name: metadata.name: required, but missing; add it: the object's name",
    ),
    "number.yaml": (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: 8\n",
        'number.yaml:4: Namespace without a name: metadata.name: 8 is a number, where text belongs; put it in quotes: "8"',
    ),
    "port.yaml": (
        "apiVersion: v1\nkind: Service\nmetadata: {name: port}\nspec:\n  ports:\n    - port: 70000\n",
        "port.yaml:6: Service default/port: spec.ports[0].port: 70000 is out of range; use a whole number from 1 to 65535",
    ),
    "list.yaml": (
        "apiVersion: v1\nkind: List\nitems: none\n",
        "list.yaml:1: List: items: text, where a list of objects belongs; add the objects",
    ),
}
"""Name of a file -> its content and the one whole message that a person gets."""


class TestMessages:
    @pytest.mark.parametrize("name", BAD)
    def test_message(self, folder, make, name):
        content, message = BAD[name]
        make.save(folder / name, content)
        assert read_manifests([folder]).errors == (message,)

    @pytest.mark.parametrize("name", BAD)
    def test_a_message_begins_with_the_place_and_ends_with_what_to_do(self, name):
        _, message = BAD[name]
        assert re.match(rf"{re.escape(name)}:\d+(:\d+)?: ", message)
        assert "; " in message

    def test_an_object_in_two_files_and_twice_in_one(self, folder, make):
        make.save(folder / "b.yaml", make.documents(make.namespace("x"), make.namespace("a"), make.namespace("a")))
        make.save(folder / "a.yaml", make.namespace("a"))
        assert read_manifests([folder]).errors == (
            "b.yaml:6: Namespace a: defined 3 times: at a.yaml:1, at b.yaml:6 and at b.yaml:11; "
            "the one at a.yaml:1 counts; remove all but one",
        )

    def test_places_are_bounded(self, folder, make):
        make.save(folder / "a.yaml", make.documents(*[make.namespace("a")] * 9))
        (message,) = read_manifests([folder]).errors
        assert "at a.yaml:21 and at 4 more places" in message

    def test_of_two_definitions_the_good_one_is_served(self, folder, make):
        make.save(folder / "a.yaml", make.route("r", port="many"))
        make.save(folder / "b.yaml", make.route("r"))
        manifests = read_manifests([folder])
        assert [applied.origin for applied in manifests.objects] == ["b.yaml:1"]
        assert manifests.errors == (
            "a.yaml:11: HTTPRoute default/r: defined twice: at a.yaml:1 and at b.yaml:1; the one at b.yaml:1 counts; "
            "remove all but one",
            'a.yaml:11: HTTPRoute default/r: spec.rules[0].backendRefs[0].port: "many" is text, '
            "where a whole number belongs; use a whole number from 1 to 65535",
        )

    def test_no_message_shows_a_byte_of_a_private_key(self, folder, make, tls_secret):
        """A Secret's manifest is torn at every place and with every trap; what is said never quotes it."""
        manifest = tls_secret("s").manifest
        encoded = manifest.partition("tls.key: ")[2].strip()
        pem = tls_secret("s").key.decode()
        texts = [
            manifest[:cut] + trap + manifest[cut:]
            for cut in range(0, len(manifest), 37)
            for trap in ("", "\n", ": ", "\t", "'", "\n- ", " &a *a ", "\x01")
        ]
        texts += [
            manifest.replace("  tls.key: ", f"  {prefix}")
            for prefix in ("tls.key: !x ", "tls.key: *", "? ", "80: ", "- ", "tls.key: |", "tls.key: [")
        ]
        texts += [
            f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData:\n  tls.key:{pem}",
            f"kind: Secret\n{pem}",
            f"kind: Secret\ndata:\n{pem}: {pem}",
        ]
        windows = {
            secret[start : start + 12]
            for secret in (encoded, pem.replace("\n", ""))
            for start in range(len(secret) - 12)
        }
        windows -= {window for window in windows if window in "-----BEGIN PRIVATE KEY----------END PRIVATE KEY-----"}
        for number, text in enumerate(texts):
            make.save(folder / f"{number:04}.yaml", text)
        manifests = read_manifests([folder])
        said = "\n".join([*manifests.errors, repr(manifests.events), repr(manifests.ignored)])
        assert len(manifests.errors) > 100
        assert not [window for window in windows if window in said]
