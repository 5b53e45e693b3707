"""What of a request can be hashed: headers and cookies that a request can have."""

from __future__ import annotations

import re
from typing import Final

from controlplane.model.scalars import HEADER_NAME

_TOKEN: Final = re.compile(HEADER_NAME)


def is_header_name(name: str) -> bool:
    """Whether a request can have a header of this name, a pseudo-header such as ``:authority`` included."""
    return is_cookie_name(name.removeprefix(":"))


def is_cookie_name(name: str) -> bool:
    """Whether it is a token of RFC 7230, as names of headers and of cookies are."""
    return bool(_TOKEN.search(name))


def is_cookie_path(path: str) -> bool:
    """Whether a cookie with it stays one header of one cookie: Envoy writes it as it is. It may be empty."""
    return all(" " <= character <= "~" and character != ";" for character in path)
