"""Texts as documents: what YAML's traps come to, and where the fields stand."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controlplane.sources.documents import Document, join_surrogates, line_of, read_documents, read_field_lines
from controlplane.sources.yaml_builder import MAX_ALIASED, MAX_DEPTH, MAX_FLAWS
from controlplane.sources.yaml_problems import Unparsable

SECRET = "hunter2hunter2"
"""Stands for what no message may show."""


def read(text: str | bytes) -> tuple[Document, ...]:
    documents = read_documents(text.encode() if isinstance(text, str) else text)
    assert isinstance(documents, tuple), documents
    return documents


def values(text: str) -> list[object]:
    documents = read(text)
    assert not any(document.flaws for document in documents)
    return [document.value for document in documents]


def flaws(text: str) -> list[str]:
    return [
        f"{flaw.line} {flaw.path}: {flaw.problem}; {flaw.remedy}" for document in read(text) for flaw in document.flaws
    ]


class TestValues:
    def test_documents_have_indexes_and_lines(self):
        documents = read("# first\n---\na: 1\n---\n---\n# third\n\n- b\n---\nc\n")
        assert [(document.index, document.line, document.value) for document in documents] == [
            (1, 3, {"a": 1}),
            (2, 5, None),
            (3, 8, ["b"]),
            (4, 10, "c"),
        ]

    @pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "\ufeff"])
    def test_no_documents(self, text):
        assert read(text) == ()

    def test_a_byte_order_mark_is_nothing(self):
        assert values("\ufeffa: 1\n") == [{"a": 1}]

    def test_carriage_returns_end_lines(self):
        assert values("a: 1\r\nb: |\r\n  x\r\n  y\r\n") == [{"a": 1, "b": "x\ny\n"}]

    def test_what_is_unquoted_is_what_kubectl_reads(self):
        text = "[2024-01-01, yes, 'yes', 0x10, 010, 1:30, ~, 1e3, \"8\", !!str 8, !!int '8', ! 8, !!float 8, !!timestamp 2024-01-01]"
        assert values(text) == [
            ["2024-01-01", True, "yes", 16, 8, "1:30", None, 1000, "8", "8", 8, "8", 8, "2024-01-01"]
        ]

    def test_aliases_and_merges(self):
        text = """base: &b {p: 1, q: 2}
more: &m {q: 3, r: 3}
one: {<<: *b, q: 9}
two: {q: 9, <<: *b}
both: {<<: [*b, *m]}
kept: {'<<': 1}
"""
        (value,) = values(text)
        assert value == {
            "base": {"p": 1, "q": 2},
            "more": {"q": 3, "r": 3},
            "one": {"p": 1, "q": 9},
            "two": {"p": 1, "q": 9},
            "both": {"p": 1, "q": 2, "r": 3},
            "kept": {"<<": 1},
        }

    def test_an_anchor_may_be_given_anew(self):
        assert values("[&a 1, *a, &a 2, *a]") == [[1, 1, 2, 2]]

    def test_anchors_end_with_their_document(self):
        assert flaws("- &a 1\n---\n- *a\n") == [
            "3 [0]: an alias (*) that no anchor (&) before it defines; quote a value that begins with *"
        ]

    def test_json_is_yaml_with_its_surrogates_joined(self):
        value = {
            "emoji": "😀 and \\ud83d\\ude00",
            "tab": "\t",
            "path": "a/b",
            "list": [1, 2.5, True, None],
            "empty": {},
        }
        text = json.dumps(value, indent="\t").replace("a/b", "a\\/b")
        assert [document.value for document in read(join_surrogates(text.encode()))] == [value]

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8), inner, max_size=4
                )
            ),
            max_leaves=20,
        )
    )
    def test_every_value_survives_both_formats(self, value):
        as_json = read(join_surrogates(json.dumps(value).encode()))
        as_yaml = read(yaml.safe_dump(value, allow_unicode=True, default_style='"'))
        assert [document.value for document in as_json] == [value]
        assert [document.value for document in as_yaml] == [value]

    @given(st.binary(max_size=60) | st.text("ab:-*&!%@`'\"[]{}|>?# \n\t,0", max_size=40).map(str.encode))
    def test_nothing_raises(self, data):
        documents = read_documents(data)
        if isinstance(documents, tuple):
            read_field_lines(data)
        else:
            assert documents.line >= 1
            assert documents.column >= 1


class TestFlaws:
    """A flaw leaves a value, in which its place is empty or has what stands first."""

    def test_a_key_given_twice_keeps_the_first(self):
        (document,) = read("a:\n  - b: 1\n    c: 2\n    b: 3\n")
        assert document.value == {"a": [{"b": 1, "c": 2}]}
        assert flaws("a:\n  - b: 1\n    c: 2\n    b: 3\n") == [
            "4 a[0].b: given twice, in lines 2 and 4; remove one of them"
        ]

    def test_two_objects_without_a_separator(self):
        assert flaws("kind: A\nname: a\nkind: B\n") == [
            "3 kind: given twice, in lines 1 and 3; remove one of them, or put --- before the second if another object begins there"
        ]

    def test_a_key_given_twice_in_one_line(self):
        assert flaws("{x: {a: 1, a: 2}}") == ["1 x.a: given twice, in lines 1 and 1; remove one of them"]

    @pytest.mark.parametrize(
        ("key", "kind"), [("80", "a number"), ("1.5", "a number"), ("on", "a boolean"), ("~", "null")]
    )
    def test_a_key_that_is_no_text(self, key, kind):
        (document,) = read(f"labels: {{{key}: x}}")
        assert document.value == {"labels": {key: "x"}}
        assert flaws(f"labels:\n  {key}: x\n")[0].endswith(f": the key is {kind}, not text; put it in quotes")

    @pytest.mark.parametrize(
        "text", ["a: {{ .Values.a }}\n", "a:\n  ? [b]\n  : c\n", "a:\n  ? {b: c}\n", "a: {&x 1: 2, *x : 3}\n"]
    )
    def test_a_key_that_is_no_scalar(self, text):
        assert flaws(text)

    def test_a_template_is_told_to_be_one(self):
        assert flaws("host: {{ .Values.host }}\n") == [
            "1 host: a key that is no text; write a word; a template ({{ }}) has to be rendered first"
        ]

    @pytest.mark.parametrize("text", ["a: !Ref b\n", "a: !!binary aGk=\n", "a: !!set {b}\n", "a: !x [b]\n"])
    def test_a_tag(self, text):
        assert flaws(text) == [
            "1 a: a tag (!) that manifests do not have; remove it, or quote a value that begins with !"
        ]

    @pytest.mark.parametrize(
        "text", ["a: !!int b\n", "a: !!bool 1\n", "a: !!null x\n", "a: !!float x\n", "a: !!int true\n"]
    )
    def test_a_value_that_does_not_fit_its_tag(self, text):
        assert flaws(text) == ["1 a: the value does not fit its tag (!!); remove the tag"]

    @pytest.mark.parametrize("text", ["a: .inf\n", "a: -.inf\n", "a: .NaN\n"])
    def test_infinity(self, text):
        assert flaws(text) == [
            "1 a: infinity and NaN are no numbers of a manifest; give a number, or put the word in quotes"
        ]

    def test_an_unquoted_wildcard(self):
        assert flaws("hostnames: [a, *example]\n") == [
            "1 hostnames[1]: an alias (*) that no anchor (&) before it defines; quote a value that begins with *"
        ]

    def test_a_value_that_holds_itself(self):
        (document,) = read("a: &a\n  - b\n  - *a\n")
        assert document.value == {"a": ["b", None]}
        assert flaws("a: &a\n  - b\n  - *a\n") == [
            "3 a[1]: an alias (*) to the value that holds it; write the value out"
        ]

    def test_a_merge_of_what_is_no_mapping(self):
        assert flaws("a: {<<: [x]}\n") == [
            "1 a.<<: << merges something that is no mapping; refer to a mapping, or put << in quotes"
        ]

    def test_a_billion_laughs_are_few(self):
        lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
        lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 10)]
        (document,) = read("\n".join(lines))
        assert [flaw.problem for flaw in document.flaws] == [
            "the document's aliases (*) stand for more than 4 194 304 characters"
        ]
        assert _size(document.value) < MAX_ALIASED * 2

    def test_long_texts_count_as_what_they_are(self):
        text = "a: &a " + "x" * (MAX_ALIASED // 4) + "\nb: [*a, *a, *a]\nc: [*a, *a]\n"
        (document,) = read(text)
        assert [flaw.path for flaw in document.flaws] == ["c[0]"]
        assert [len(item or "") for item in document.value["b"] + document.value["c"]] == [MAX_ALIASED // 4] * 3 + [
            0,
            0,
        ]

    def test_flaws_are_bounded(self):
        (document,) = read("\n".join(f"{number}: x" for number in range(1000)))
        assert len(document.flaws) == MAX_FLAWS

    def test_a_key_that_looks_like_a_secret_is_not_shown(self):
        key = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj+MzEfYyjiWA4"
        assert not any(key[:8] in flaw for flaw in flaws(f"{key}: 1\n{key}: 2\nx: {{{key}: !no 1}}\n"))


def _size(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + _size(item) for item in value.values())
    return 1 + sum(_size(item) for item in value) if isinstance(value, list) else 1


class TestUnparsable:
    """What no document can be made of: one message with line and column, and nothing of the text."""

    CASES = (
        (
            f"a: b: {SECRET}",
            "1:5: a ':' stands where no value can begin; quote the value before it if the ':' is part of it, or check the indentation of this line and of those before it",
        ),
        (
            f"a: @{SECRET}",
            "1:4: a value cannot begin with this character (a tab, @, %, ` and a few others); indent with blanks, and quote a value that begins with such a character",
        ),
        (
            f"a:\n\tb: {SECRET}",
            "2:1: a value cannot begin with this character (a tab, @, %, ` and a few others); indent with blanks, and quote a value that begins with such a character",
        ),
        (f"a: 1\n\tb: {SECRET}", "2:1: a tab indents this line; indent with blanks"),
        (
            f"a:\n  - {SECRET}\n b: 1",
            "3:2: this line does not fit into the mapping that began in line 1; check the indentation of this line and of those before it",
        ),
        (f"- a\n -{SECRET}: 1\n- - b\n c", None),
        (
            f"a: [{SECRET}, b\n",
            "1:22: the list that began in line 1 is not closed here; close it with ], or put a comma between items",
        ),
        (f"a: {{b: {SECRET}\nc: 1\n", None),
        (f"a: 1\nb: '{SECRET}\n", "2:19: the quoted text that began in line 2 is not closed; add the closing quote"),
        (f"a: '{SECRET}\n---\nb: 1\n", None),
        (
            "a: *.example.com",
            "1:5: an anchor (&) or alias (*) without a name; quote a value that begins with * or &, such as a hostname with a wildcard",
        ),
        (
            f'a: "{SECRET}\\q"',
            "1:19: a backslash in double quotes stands before a character that it cannot escape; double the backslash, or use single quotes",
        ),
        ('a: "\\ud800"', "1:7: this escape names no character; write the character itself"),
        ('a: "\\xzz"', "1:7: this escape lacks hexadecimal digits; complete it, or double the backslash"),
        (
            f'{{"a": 1}}\n{{"b": "{SECRET}"}}',
            "2:1: the document has ended, and something follows that belongs to none; put a line --- between documents; several JSON objects go into one List",
        ),
        (f"a: !x!y {SECRET}", "1:4: a value cannot begin with this tag (!); quote a value that begins with !"),
        (f"%YAML 3.0\n---\na: {SECRET}", "1:1: a %YAML directive asks for another version; remove the directive"),
        (
            f"a: 1\n{SECRET}\n",
            "2:15: a line without a ':' among the keys of a mapping; complete it, or check the indentation of this line and of those before it",
        ),
        (
            f"{{a: {SECRET}}}}}",
            "1:20: the document has ended, and something follows that belongs to none; put a line --- between documents; several JSON objects go into one List",
        ),
        (
            f"a: - {SECRET}",
            "1:4: a list item (-) stands where none can; check the indentation of this line and of those before it",
        ),
        (f"a: |{SECRET}\n  b\n", "1:5: text follows | or > on its line; begin the text on the next line"),
        (
            f"a: {SECRET}\nb: \x00",
            "2:4: a control character, which YAML does not allow; remove it; binary data belongs into a Secret, as base64",
        ),
        (
            f"a: {SECRET}\nä: \x07",
            "2:4: a control character, which YAML does not allow; remove it; binary data belongs into a Secret, as base64",
        ),
        (b"a: 1\nb: \xff\xfe", "2:4: this byte is not UTF-8; save the file as UTF-8"),
        ("a: 1".encode("utf-16"), "1:1: this is UTF-16, not UTF-8; save the file as UTF-8"),
        (
            "[" * 5000,
            f"1:{MAX_DEPTH + 1}: nested more than {MAX_DEPTH} levels deep; no manifest is; check the brackets and the indentation",
        ),
        (f"a: {{b, {SECRET}: {{", None),
        (f"? {SECRET}\n- b", None),
    )

    @pytest.mark.parametrize(("text", "message"), CASES)
    def test_message(self, text, message):
        result = read_documents(text if isinstance(text, bytes) else text.encode())
        assert isinstance(result, Unparsable)
        assert SECRET not in str(result)
        assert re.fullmatch(r"\d+:\d+: [^;]+; .+", str(result)), result
        if message is not None:
            assert str(result) == message

    @given(st.text("ab:-*&!%@`'\"[]{}|>?# \n\t,", max_size=30), st.text("ab:-*&!%@`'\"[]{}|>?# \n\t,", max_size=30))
    def test_no_message_shows_the_text(self, before, after):
        result = read_documents(f"{before}{SECRET}{after}".encode())
        if isinstance(result, Unparsable):
            messages = [str(result)]
        else:
            # A path names keys that look like fields; what the Secrets' paths show is for manifest_text to decide.
            messages = [f"{flaw.problem} {flaw.remedy}" for document in result for flaw in document.flaws]
        assert not any(SECRET in message for message in messages)


class TestLines:
    TEXT = """# a comment
kind: X
metadata:
  labels:
    app.kubernetes.io/name: demo
spec:
  rules:
    - name: a
      matches: [{path: {value: /}},
                {path: {value: /b}}]
    -
      name: b
  names: [x,
          y]
---
kind: Y
"""

    @pytest.mark.parametrize(
        ("path", "line"),
        [
            ("kind", 2),
            ("metadata.labels", 4),
            ('metadata.labels["app.kubernetes.io/name"]', 5),
            ("spec.rules", 7),
            ("spec.rules[0]", 8),
            ("spec.rules[0].name", 8),
            ("spec.rules[0].matches", 9),
            ("spec.rules[0].matches[1]", 10),
            ("spec.rules[0].matches[1].path.value", 10),
            ("spec.rules[1].name", 12),
            ("spec.names[1]", 14),
            # What is missing stands where it should.
            ("spec.rules[1].backendRefs", 12),
            ("spec.rules[0].matches[1].path.type", 10),
            ('metadata.labels["no.such/label"]', 4),
            ("metadata.name", 3),
            ("spec.rules[7].name", 7),
            ("nothing", None),
            ("", None),
        ],
    )
    def test_line_of_a_field(self, path, line):
        assert line_of(path, read_field_lines(self.TEXT.encode())[1]) == line

    def test_each_document_has_its_own(self):
        assert line_of("kind", read_field_lines(self.TEXT.encode())[2]) == 16

    def test_a_list_at_the_top(self):
        lines = read_field_lines(b"- a\n- b: c\n")[1]
        assert [line_of(path, lines) for path in ("[0]", "[1]", "[1].b")] == [1, 2, 2]
