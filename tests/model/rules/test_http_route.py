"""HTTPRoute's rules: each broken once, with its whole message, and kept as closely as it can be."""

import pytest

from controlplane.model.decode import Decoded, Rejected
from tests.model.rules import written

GATEWAY_REF = "{name: gw, sectionName: a, port: 80}"


def decode(spec: str) -> Decoded | Rejected:
    return written.decode("HTTPRoute", spec, "web")


def rule(text: str) -> str:
    return f"{{rules: [{{{text}}}]}}"


def filters(text: str) -> str:
    return rule(f"filters: [{text}]")


def path(text: str) -> str:
    return rule(f"matches: [{{path: {{{text}}}}}]")


REWRITE_PREFIX = "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}"
REDIRECT_PREFIX = "{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}"
NORMAL = "write the path as Envoy sees it after normalisation"

BROKEN = {
    "two parents, one without a section": (
        "{parentRefs: [{name: gw, sectionName: a}, {name: gw}]}",
        "spec.parentRefs[1].sectionName: only one of this and parentRefs[0], which refer to the same Gateway, "
        "has sectionName; give sectionName to both or to neither",
    ),
    "two parents, one without a port": (
        "{parentRefs: [{name: gw, port: 80, sectionName: a}, {name: gw, sectionName: b}]}",
        "spec.parentRefs[1].port: only one of this and parentRefs[0], which refer to the same Gateway, has port; "
        "give port to both or to neither",
    ),
    "one parent twice": (
        f"{{parentRefs: [{GATEWAY_REF}, {{name: other}}, {GATEWAY_REF}]}}",
        "spec.parentRefs[2]: the same reference as parentRefs[0]; remove it, or name another sectionName or port",
    ),
    "too many matches": (
        f"{{rules: [{', '.join(['{matches: [' + ', '.join(['{}'] * 43) + ']}'] * 3)}]}}",
        "spec.rules: 129 matches in all rules together; use at most 128",
    ),
    "one name twice": (
        "{rules: [{name: a}, {name: b}, {name: a}]}",
        "spec.rules[2].name: the name of rules[0] too; use another name",
    ),
    "redirect with a backend": (
        rule("filters: [{type: RequestRedirect, requestRedirect: {port: 1}}], backendRefs: [{name: a, port: 1}]"),
        "spec.rules[0].backendRefs: do not go with the RequestRedirect of filters[0], "
        "which answers the request itself; remove the backendRefs or the filter",
    ),
    "prefix rewritten of two matches": (
        rule(f"matches: [{{}}, {{}}], filters: [{REWRITE_PREFIX}]"),
        "spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch: needs a rule with exactly one match, "
        "of path type PathPrefix; this rule has 2 matches; split the rule, or use ReplaceFullPath",
    ),
    "prefix redirected of an exact match": (
        rule(f"matches: [{{path: {{type: Exact}}}}], filters: [{REDIRECT_PREFIX}]"),
        "spec.rules[0].filters[0].requestRedirect.path.replacePrefixMatch: needs a rule with exactly one match, "
        "of path type PathPrefix; this rule has one of type Exact; split the rule, or use ReplaceFullPath",
    ),
    "prefix rewritten for a backend": (
        rule(f"matches: [{{}}, {{}}], backendRefs: [{{name: a, port: 1, filters: [{REWRITE_PREFIX}]}}]"),
        "spec.rules[0].backendRefs[0].filters[0].urlRewrite.path.replacePrefixMatch: needs a rule with exactly "
        "one match, of path type PathPrefix; this rule has 2 matches; split the rule, or use ReplaceFullPath",
    ),
    "one filter twice": (
        filters("{type: URLRewrite, urlRewrite: {}}, {type: URLRewrite, urlRewrite: {}}"),
        "spec.rules[0].filters[1].type: a second URLRewrite, beside filters[0]; put both into one",
    ),
    "one filter twice for a backend": (
        rule(
            "backendRefs: [{name: a, port: 1, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {}}, "
            "{type: RequestHeaderModifier, requestHeaderModifier: {}}]}]"
        ),
        "spec.rules[0].backendRefs[0].filters[1].type: a second RequestHeaderModifier, beside filters[0]; "
        "put both into one",
    ),
    "redirect and rewrite": (
        filters("{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}"),
        "spec.rules[0].filters[1].type: URLRewrite does not go with the RequestRedirect of filters[0]; "
        "keep one of the two",
    ),
    "filter without its field": (
        filters("{type: RequestRedirect}"),
        "spec.rules[0].filters[0].requestRedirect: required with type RequestRedirect, but missing; "
        "add it: an object with hostname, path, port, scheme or statusCode",
    ),
    "unsupported filter without its field": (
        filters("{type: CORS}"),
        "spec.rules[0].filters[0].cors: required with type CORS, but missing; add it: an object",
    ),
    "filter with another's field": (
        filters("{type: URLRewrite, urlRewrite: {}, requestMirror: {backendRef: {name: a, port: 1}}}"),
        "spec.rules[0].filters[0].requestMirror: does not go with type URLRewrite; "
        "remove it, or set type to RequestMirror",
    ),
    "Service without a port": (
        rule("backendRefs: [{name: a}]"),
        "spec.rules[0].backendRefs[0].port: required for a Service, but missing; "
        "add it: the Service's port, from 1 to 65535",
    ),
    "mirror without a port": (
        filters("{type: RequestMirror, requestMirror: {backendRef: {name: a}}}"),
        "spec.rules[0].filters[0].requestMirror.backendRef.port: required for a Service, but missing; "
        "add it: the Service's port, from 1 to 65535",
    ),
    "two shares": (
        filters(
            "{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, percent: 1, fraction: {numerator: 1}}}"
        ),
        "spec.rules[0].filters[0].requestMirror.fraction: does not go with percent; keep one of the two",
    ),
    "more than all": (
        filters("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, fraction: {numerator: 101}}}"),
        "spec.rules[0].filters[0].requestMirror.fraction.numerator: 101 is more than the denominator, 100; "
        "use a numerator of at most the denominator",
    ),
    "path modifier without its field": (
        filters("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}}"),
        "spec.rules[0].filters[0].urlRewrite.path.replaceFullPath: required with type ReplaceFullPath, but missing; "
        "add it: the path to put there",
    ),
    "path modifier with another's field": (
        filters(
            "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /, replacePrefixMatch: /}}}"
        ),
        "spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch: does not go with type ReplaceFullPath; "
        "remove it, or set type to ReplacePrefixMatch",
    ),
    "relative path": (
        path("value: a"),
        'spec.rules[0].matches[0].path.value: "a" is not absolute; start it with "/", as type PathPrefix needs',
    ),
    "empty exact path": (
        path("type: Exact, value: ''"),
        'spec.rules[0].matches[0].path.value: "" is not absolute; start it with "/", as type Exact needs',
    ),
    "empty segment": (path("value: /a//b"), f'spec.rules[0].matches[0].path.value: "/a//b" has // in it; {NORMAL}'),
    "dot in a path": (path("value: /a/./b"), f'spec.rules[0].matches[0].path.value: "/a/./b" has /./ in it; {NORMAL}'),
    "dots in a path": (
        path("value: /a/../b"),
        f'spec.rules[0].matches[0].path.value: "/a/../b" has /../ in it; {NORMAL}',
    ),
    "dot at the end": (path("value: /a/."), f'spec.rules[0].matches[0].path.value: "/a/." ends with /.; {NORMAL}'),
    "dots at the end": (path("value: /a/.."), f'spec.rules[0].matches[0].path.value: "/a/.." ends with /..; {NORMAL}'),
    "encoded slash": (
        path("value: /a%2Fb"),
        'spec.rules[0].matches[0].path.value: "/a%2Fb" has an encoded slash in it; use "/", or type RegularExpression',
    ),
    "fragment": (
        path("value: '/a#b'"),
        'spec.rules[0].matches[0].path.value: "/a#b" has characters that no path has; '
        "use letters, digits and -/._~!$&'()*+,;=:@, others percent-encoded; no query and no fragment",
    ),
    "half an encoding": (
        path("value: /a%2"),
        'spec.rules[0].matches[0].path.value: "/a%2" has characters that no path has; '
        "use letters, digits and -/._~!$&'()*+,;=:@, others percent-encoded; no query and no fragment",
    ),
    "empty regular expression": (
        path("type: RegularExpression, value: ''"),
        "spec.rules[0].matches[0].path.value: empty; give a regular expression",
    ),
    "one header twice": (
        rule("matches: [{headers: [{name: a, value: b}, {name: a, value: c}]}]"),
        'spec.rules[0].matches[0].headers[1].name: "a" has a condition in headers[0] already; keep one of the two',
    ),
    "one query parameter twice": (
        rule("matches: [{queryParams: [{name: a, value: b}, {name: a, value: c}]}]"),
        'spec.rules[0].matches[0].queryParams[1].name: "a" has a condition in queryParams[0] already; '
        "keep one of the two",
    ),
    "one header set twice": (
        filters(
            "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}, {name: a, value: c}]}}"
        ),
        'spec.rules[0].filters[0].requestHeaderModifier.set[1].name: "a" stands in set[0] already; keep one of the two',
    ),
    "one header added twice": (
        filters(
            "{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: a, value: b}, {name: a, value: c}]}}"
        ),
        'spec.rules[0].filters[0].responseHeaderModifier.add[1].name: "a" stands in add[0] already; keep one of the two',
    ),
    "one header removed twice": (
        filters("{type: RequestHeaderModifier, requestHeaderModifier: {remove: [a, b, a]}}"),
        'spec.rules[0].filters[0].requestHeaderModifier.remove[2]: "a" stands in remove[0] already; keep one of the two',
    ),
    "header of two lines": (
        filters('{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: "b\\nc"}]}}'),
        'spec.rules[0].filters[0].requestHeaderModifier.set[0].value: "b\\nc" has a line\'s end or NUL in it; '
        "write it in one line",
    ),
    "attempt longer than the request": (
        rule("timeouts: {request: 10s, backendRequest: 1m}"),
        'spec.rules[0].timeouts.backendRequest: "1m" is longer than timeouts.request, "10s"; make it at most as long',
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_told_in_whole(case: str) -> None:
    spec, message = BROKEN[case]
    outcome = decode(spec)
    assert isinstance(outcome, Rejected)
    assert outcome.messages == (f"HTTPRoute demo/web: {message}",)


KEPT = {
    "parents that differ in a port": "{parentRefs: [{name: gw, port: 80}, {name: gw, port: 81}]}",
    "parents of different namespaces": "{parentRefs: [{name: gw, sectionName: a}, {name: gw, namespace: b}]}",
    "parents of different kinds": "{parentRefs: [{name: a}, {name: a, kind: Service, group: ''}]}",
    "as many matches as there may be": f"{{rules: [{', '.join(['{matches: [' + ', '.join(['{}'] * 64) + ']}'] * 2)}]}}",
    "rules without names": "{rules: [{}, {}]}",
    "redirect beside a backend's filter": rule(
        "backendRefs: [{name: a, port: 1, filters: [{type: RequestRedirect, requestRedirect: {port: 1}}]}]"
    ),
    "prefix of the default match": rule(f"filters: [{REWRITE_PREFIX}]"),
    "whole path of two matches": rule(
        "matches: [{}, {}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /}}}]"
    ),
    "two mirrors": filters(
        "{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}}}, "
        "{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 1}, percent: 0}}"
    ),
    "all by fraction": filters(
        "{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, fraction: {numerator: 100}}}"
    ),
    "another kind without a port": rule("backendRefs: [{name: a, kind: Bucket, group: example.com}]"),
    "root": path("value: /"),
    "slash at the end": path("value: /a/"),
    "dots within a segment": path("value: /.well-known/..a/...,/.a"),
    "every character": path('value: "/-Az09._~!$&\'()*+,;=:@/%41%ff%20"'),
    "regular expression": path("type: RegularExpression, value: 'a//[^#]%2f'"),
    "names that differ in case": rule("matches: [{headers: [{name: a, value: b}, {name: A, value: c}]}]"),
    "one name in two lists": filters(
        "{type: RequestHeaderModifier, requestHeaderModifier: "
        "{set: [{name: a, value: b}], add: [{name: a, value: b}], remove: [a]}}"
    ),
    "attempt as long as the request": rule("timeouts: {request: 1m, backendRequest: 60s}"),
    "request without an end": rule("timeouts: {request: 0s, backendRequest: 1h}"),
    "attempt alone": rule("timeouts: {backendRequest: 1h}"),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_keeps_the_rules_passes(case: str) -> None:
    outcome = decode(KEPT[case])
    assert isinstance(outcome, Decoded), outcome


def test_all_broken_rules_are_told_at_once() -> None:
    outcome = decode("{rules: [{backendRefs: [{name: a}, {name: b}]}, {matches: [{path: {value: a}}]}]}")
    assert isinstance(outcome, Rejected)
    assert [error.path for error in outcome.errors] == [
        "spec.rules[0].backendRefs[0].port",
        "spec.rules[0].backendRefs[1].port",
        "spec.rules[1].matches[0].path.value",
    ]
