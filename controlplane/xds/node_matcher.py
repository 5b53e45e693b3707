"""Which proxies a question is about: ``NodeMatcher``, as far as what we know of a node goes.

What cannot be matched here is refused, never taken for "all" or "none".

Source: envoy/type/matcher/v3/node.proto, string.proto, struct.proto, value.proto.
"""

from collections.abc import Callable

import re2

from controlplane.xds.errors import invalid
from controlplane.xds.node import Node, role_of
from controlplane.xds.protobuf import LENGTH, VARINT, fields, text

NodeTest = Callable[[Node], bool]
StringTest = Callable[[str], bool]
_Content = bytes | int

_QUIET = re2.Options()
_QUIET.log_errors = False

_SAFE_REGEX, _IGNORE_CASE, _CUSTOM = 5, 6, 8
_PATTERNS: dict[int, Callable[[str, str], bool]] = {
    1: str.__eq__,
    2: str.startswith,
    3: str.endswith,
    7: str.__contains__,
}
"""By field number: exact, prefix, suffix, contains; the value first, then the pattern."""
_STRING_MATCH, _PRESENT_MATCH = 3, 5
_MAX_MATCHERS = 100
_MAX_PATTERN = 4096


def any_of(matchers: list[bytes]) -> NodeTest:
    """Whether a node meets one of the encoded ``NodeMatcher``s; without any, all do.

    Raises:
        XdsError: ``INVALID_ARGUMENT`` when one is not understood; the message says what is.
    """
    if len(matchers) > _MAX_MATCHERS:
        raise invalid(f"the request has {len(matchers)} node matchers; the limit is {_MAX_MATCHERS}")
    tests = [_parse_node_matcher(matcher) for matcher in matchers]
    return lambda node: not tests or any(test(node) for test in tests)


def _parse_node_matcher(data: bytes) -> NodeTest:
    by_id: StringTest | None = None
    by_metadata: list[NodeTest] = []
    for number, _, content in fields(data):
        if number == 1:
            by_id = parse_string_matcher(_message(content))
        elif number == 2:
            by_metadata.append(_parse_struct_matcher(_message(content)))
    return lambda node: (by_id is None or by_id(node.id)) and all(test(node) for test in by_metadata)


def parse_string_matcher(data: bytes) -> StringTest:
    """The test that an encoded ``StringMatcher`` stands for. A regular expression is RE2's, and has to match the whole.

    Raises:
        XdsError: ``INVALID_ARGUMENT`` when it holds no pattern, or one that is not understood.
    """
    kind, pattern, ignore_case = 0, b"", False
    for number, _, content in fields(data):
        if number == _IGNORE_CASE:
            ignore_case = bool(content)
        elif number in _PATTERNS or number in (_SAFE_REGEX, _CUSTOM):
            kind, pattern = number, _message(content)
    if kind == _SAFE_REGEX:
        return _parse_regex(pattern)
    matches = _PATTERNS.get(kind)
    if matches is None:
        raise invalid("a string matcher needs one of exact, prefix, suffix, contains, safe_regex")
    wanted = _folded(text(pattern), ignore_case)
    return lambda value: matches(_folded(value, ignore_case), wanted)


def _folded(value: str, ignore_case: bool) -> str:
    return value.lower() if ignore_case else value


def _parse_regex(data: bytes) -> StringTest:
    pattern = ""
    for number, _, content in fields(data):
        if number == 2:
            pattern = text(_message(content))
    if len(pattern) > _MAX_PATTERN:
        raise invalid(f"a regular expression has {len(pattern)} characters; the limit is {_MAX_PATTERN}")
    try:
        compiled = re2.compile(pattern, _QUIET)
    except re2.error as error:
        reason = error.args[0]
        why = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise invalid(f"RE2 cannot compile the regular expression {pattern!r}: {why}") from None
    return lambda value: compiled.fullmatch(value) is not None


def _parse_struct_matcher(data: bytes) -> NodeTest:
    """Of a node's metadata only the role and the labels are remembered, so only they can be asked for."""
    path: list[str] = []
    value = b""
    for number, _, content in fields(data):
        if number == 2:
            path += [text(_message(key)) for part, _, key in fields(_message(content)) if part == 1]
        elif number == 3:
            value = _message(content)
    test = _parse_value_matcher(value)
    match path:
        case ["role"]:
            return lambda node: test(role_of(node.scope))
        case ["labels", label]:
            return lambda node: test(dict(node.labels).get(label))
        case _:
            raise invalid(f"metadata {'.'.join(path) or '(no path)'} is not remembered; match role, or labels.NAME")


def _parse_value_matcher(data: bytes) -> Callable[[str | None], bool]:
    found: tuple[int, _Content] | None = None
    for number, wire_type, content in fields(data):
        if wire_type in (LENGTH, VARINT):
            found = number, content
    if found is not None and found[0] == _STRING_MATCH:
        test = parse_string_matcher(_message(found[1]))
        return lambda value: value is not None and test(value)
    if found is not None and found[0] == _PRESENT_MATCH:
        present = bool(found[1])
        return lambda value: (value is not None) == present
    raise invalid("metadata is matched by string_match or present_match: all that is remembered is strings")


def _message(content: _Content) -> bytes:
    if not isinstance(content, bytes):
        raise invalid("a node matcher is malformed: a number stands where a message or a string belongs")
    return content
