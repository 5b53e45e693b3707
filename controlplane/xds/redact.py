"""Takes keys out of what a proxy says.

Envoy's rejection can quote the whole message that it rejected, a private key included, escaped in one of several ways. What
is left has to help a person, so names and reasons stay.
"""

import re

MAX_MESSAGE = 2000
"""Characters of a rejection that are kept."""

_MAX_INPUT = 64 * 1024

REDACTED = "[redacted]"

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{1,64}-----.*?(?:-----END [A-Z0-9 ]{1,64}-----|\Z)", re.DOTALL)
_INLINE = re.compile(
    r"""(inline_?(?:string|bytes)["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*(?:"|\Z)|'(?:[^'\\]|\\.)*(?:'|\Z))""",
    re.IGNORECASE | re.DOTALL,
)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{64,}={0,2}(?:(?:\\n|\n)[A-Za-z0-9+/]+={0,2})*")

_RULE = ": Proto constraint validation failed"
"""Between a whole message, of any length, and the rule that it breaks. Source: Envoy, ``MessageUtil::validate``."""


def redact(message: str) -> str:
    """The message without PEM blocks, inline data sources and long base64, at most ``MAX_MESSAGE`` characters long.

    What of it says why comes first, where Envoy puts the whole resource before that. A block without an end (the message was
    cut off) is taken out to the end of the message.
    """
    resource, rule, why = message.rpartition(_RULE)
    if resource:
        message = f"{rule.removeprefix(': ')}{why}: {resource}"
    message = _PEM.sub(REDACTED, message[:_MAX_INPUT])
    message = _INLINE.sub(rf'\1"{REDACTED}"', message)
    message = _BASE64.sub(REDACTED, message)
    if len(message) > MAX_MESSAGE:
        message = message[:MAX_MESSAGE] + " [...]"
    return message
