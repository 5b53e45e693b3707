"""Path templates of AuthorizationPolicies: ``{*}`` stands for one segment, ``{**}`` for any number of them, none included.

They become regular expressions. Envoy has a matcher of its own for templates; it takes no segment that holds an ``=`` or
another character beyond those of RFC 3986, so a DENY rule for ``/a/{*}`` would let ``/a/b=c`` through.
Source: Istio's API, security.istio.io/v1, Operation.paths, and its validation.
"""

from __future__ import annotations

import re
from typing import Final

_ONE: Final = "{*}"
_ANY: Final = "{**}"
_LITERAL: Final = re.compile(r"[A-Za-z0-9\-._~%!$&'()+,;:@=]+")


def is_path_template(path: str) -> bool:
    """Whether a path is a template."""
    return _ONE in path or _ANY in path


def path_expression(template: str) -> str:
    """The regular expression (RE2) of a path template that has no problem."""
    patterns = {_ONE: "[^/]+", _ANY: ".*"}
    return "".join(patterns.get(part) or re.escape(part) for part in re.split(r"(\{\*\*?\})", template))


def template_problem(path: str) -> tuple[str, str] | None:
    """Why a path with a brace in it is no template, and what to do; None if it is one."""
    if not path.startswith("/"):
        return f"{path!r} is no path template, as it does not start with /", "start it with /"
    seen_any = False
    for segment in path.strip("/").split("/"):
        if segment in (_ONE, _ANY):
            if seen_any:
                return f"{path!r} is no path template, as {_ANY} is not its last operator", "leave out the rest"
            seen_any = segment == _ANY
        elif not _LITERAL.fullmatch(segment):
            remedy = f"a segment is {_ONE}, {_ANY} or plain characters of a path"
            return f"{path!r} is no path template, as its segment {segment!r} is none", remedy
    return None
