"""What one file says: claims with their lines, Lists, flaws, kinds of others, documents that name nothing."""

from __future__ import annotations

import json

import pytest

from controlplane.sources import manifest_text
from controlplane.sources.claims import Reading
from controlplane.sources.manifest_text import read_text

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {}\n"


def read(text: str, path: str = "x.yaml") -> Reading:
    return read_text(path, text.encode())


def claims(reading: Reading) -> list[str]:
    return [
        f"{claim.reference} at {claim.origin}" + (f", wrong at {claim.rejected.origin}" if claim.rejected else "")
        for claim in reading.claims
    ]


class TestClaims:
    def test_each_document_with_its_line(self):
        reading = read("# comment\n" + NAMESPACE.format("a") + "---\n\n# another\n" + NAMESPACE.format("b"))
        assert claims(reading) == ["Namespace a at x.yaml:2", "Namespace b at x.yaml:9"]
        assert reading.complete
        assert [claim.applied.origin for claim in reading.claims if claim.applied] == ["x.yaml:2", "x.yaml:9"]

    def test_empty_documents_say_nothing(self):
        assert read("---\n# nothing\n---\nnull\n---\n") == Reading()

    def test_an_ill_typed_field_is_named_with_its_line(self):
        reading = read(NAMESPACE.format("a") + "  labels:\n    ok: x\n    app.kubernetes.io/name: 5\n")
        assert claims(reading) == ["Namespace a at x.yaml:1, wrong at x.yaml:7"]
        (claim,) = reading.claims
        assert claim.rejected
        assert [error.path for error in claim.rejected.errors] == ['metadata.labels["app.kubernetes.io/name"]']
        assert reading.complete

    def test_a_missing_field_stands_where_it_should(self):
        reading = read(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata:\n  name: a\nspec:\n  description: x\n"
        )
        assert claims(reading) == ["GatewayClass a at x.yaml:1, wrong at x.yaml:5"]

    @pytest.mark.parametrize("field", ["name: Upper", "name: a\n  namespace: Upper"])
    def test_with_a_doubtful_name_it_is_not_known_what_the_file_defines(self, field):
        reading = read(f"apiVersion: v1\nkind: Service\nmetadata:\n  {field}\nspec: {{clusterIP: None}}\n")
        assert len(reading.claims) == 1
        assert not reading.complete


class TestFlaws:
    def test_the_object_of_a_document_with_a_flaw_is_rejected(self):
        reading = read(NAMESPACE.format("a") + "  labels:\n    app: one\n    app: two\n")
        assert claims(reading) == ["Namespace a at x.yaml:1, wrong at x.yaml:7"]
        (claim,) = reading.claims
        assert claim.rejected
        assert [str(error) for error in claim.rejected.errors] == [
            "metadata.labels.app: given twice, in lines 6 and 7; remove one of them"
        ]
        assert reading.complete

    def test_two_objects_without_a_separator_leave_it_open_what_the_file_defines(self):
        reading = read(NAMESPACE.format("a") + NAMESPACE.format("b"))
        assert claims(reading) == ["Namespace a at x.yaml:1, wrong at x.yaml:5"]
        assert not reading.complete

    def test_a_kind_of_others_may_hide_one_of_ours_behind_a_flaw(self):
        reading = read("kind: ConfigMap\n" + NAMESPACE.format("a"))
        assert reading.problems == {
            "x.yaml#1": "x.yaml:3: ConfigMap: kind: given twice, in lines 1 and 3; "
            "remove one of them, or put --- before the second if another object begins there"
        }
        assert not reading.complete

    def test_a_flaw_deep_in_a_kind_of_others_is_not_ours(self):
        reading = read("kind: ConfigMap\ndata: {a: 1, a: 2}\n")
        assert (reading.problems, reading.ignored) == ({}, {"ConfigMap": 1})

    def test_flaws_and_errors_are_told_together(self):
        reading = read(NAMESPACE.format("a") + "  labels: {80: x, ok: 5}\n")
        (claim,) = reading.claims
        assert claim.rejected
        assert [error.path for error in claim.rejected.errors] == ["metadata.labels.80", 'metadata.labels["ok"]']

    def test_a_secrets_flaw_names_no_key_of_its_data(self):
        text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  hunter2: x\n  hunter2: y\n"
        (claim,) = read(text).claims
        assert claim.rejected
        assert [str(error) for error in claim.rejected.errors] == [
            "stringData: given twice, in lines 5 and 6; remove one of them"
        ]


class TestLists:
    def test_items_are_objects_with_lines_of_their_own(self):
        text = "apiVersion: v1\nkind: List\nitems:\n"
        for name in ("a", "b"):
            text += f"  - apiVersion: v1\n    kind: Namespace\n    metadata:\n      name: {name}\n"
        assert claims(read(text)) == ["Namespace a at x.yaml:4", "Namespace b at x.yaml:8"]

    def test_a_list_of_one_kind_gives_it_to_its_items(self):
        text = "apiVersion: v1\nkind: NamespaceList\nitems:\n  - metadata: {name: a}\n  - {kind: Service, metadata: {name: b}, spec: {clusterIP: None}}\n"
        assert claims(read(text)) == ["Namespace a at x.yaml:4", "Service default/b at x.yaml:5"]

    def test_lists_in_lists(self):
        inner = {
            "apiVersion": "v1",
            "kind": "List",
            "items": [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}],
        }
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [inner, inner]}, indent=1)
        assert claims(read(text, "x.json")) == ["Namespace a at x.json:9", "Namespace a at x.json:22"]

    def test_what_is_wrong_with_an_item_is_its_own(self):
        text = """apiVersion: v1
kind: List
items:
  - just text
  - apiVersion: v1
    kind: Namespace
    metadata: {name: a}
  - apiVersion: v1
    kind: Namespace
    metadata:
      name: b
      labels:
        x: 5
  - apiVersion: v1
    kind: Namespace
    metadata: {name: c, name: d}
  - kind: ConfigMap
"""
        reading = read(text)
        assert claims(reading) == [
            "Namespace a at x.yaml:5",
            "Namespace b at x.yaml:8, wrong at x.yaml:13",
            "Namespace c at x.yaml:14, wrong at x.yaml:16",
        ]
        assert [claim.rejected.errors[0].path for claim in reading.claims if claim.rejected] == [
            'metadata.labels["x"]',
            "metadata.name",
        ]
        assert reading.problems == {
            "x.yaml#1.items[0]": "x.yaml:4: text, where an object belongs; write apiVersion, kind, metadata and what belongs to them"
        }
        assert reading.ignored == {"ConfigMap": 1}

    def test_a_list_without_a_list(self):
        assert read("kind: List\n").problems == {
            "x.yaml#1": "x.yaml:1: List: items: missing, where a list of objects belongs; add the objects"
        }
        assert read("kind: List\nitems: {}\n").problems == {
            "x.yaml#1": "x.yaml:1: List: items: an object, where a list of objects belongs; add the objects"
        }

    def test_a_flaw_of_the_list_itself(self):
        reading = read("kind: List\nitems: []\nitems: []\n")
        assert list(reading.problems) == ["x.yaml#1"]
        assert not reading.complete

    def test_kinds_that_merely_end_in_list_are_of_others(self):
        assert read("kind: WishList\nitems: []\n").ignored == {"WishList": 1}


class TestProblems:
    def test_documents_that_are_no_objects(self):
        reading = read("just text\n---\n- a\n---\n5\n---\n" + NAMESPACE.format("a"))
        assert claims(reading) == ["Namespace a at x.yaml:7"]
        remedy = "write apiVersion, kind, metadata and what belongs to them"
        assert reading.problems == {
            "x.yaml#1": f"x.yaml:1: text, where an object belongs; {remedy}",
            "x.yaml#2": f"x.yaml:3: a list, where an object belongs; {remedy}",
            "x.yaml#3": f"x.yaml:5: a number, where an object belongs; {remedy}",
        }

    def test_problems_are_bounded(self, monkeypatch):
        monkeypatch.setattr(manifest_text, "MAX_PROBLEMS", 2)
        reading = read("a\n---\n" * 5)
        assert list(reading.problems) == ["x.yaml#1", "x.yaml#2", "x.yaml"]
        assert reading.problems["x.yaml"] == "x.yaml: 3 more documents are wrong; mend those that are named first"

    def test_a_text_that_cannot_be_parsed_says_nothing_else(self):
        reading = read(NAMESPACE.format("a") + "---\na: [\n")
        assert reading.claims == ()
        assert not reading.complete
        assert list(reading.problems) == ["x.yaml"]

    def test_surrogates_are_joined_in_json_alone(self):
        text = json.dumps(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "annotations": {"x": "😀"}}}
        )
        (claim,) = read(text, "x.JSON").claims
        assert claim.applied
        assert claim.applied.object.metadata.annotations == {"x": "😀"}
        assert list(read(text, "x.yaml").problems) == ["x.yaml"]
