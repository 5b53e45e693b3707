"""Durations of policies into Envoy's, within what Envoy takes."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from controlplane.model.scalars import IstioDuration, parse_istio_duration

_LONGEST_MS: Final = 10 * 365 * 24 * 3600 * 1000
"""Ten years. What is longer means *never*, and some of Envoy's clocks count nanoseconds in 64 bits."""


def translate_duration(duration: IstioDuration | None) -> timedelta | None:
    """The duration, zero included, at most ten years; None where nothing is said."""
    return None if duration is None else timedelta(milliseconds=min(parse_istio_duration(duration), _LONGEST_MS))


def translate_period(duration: IstioDuration | None) -> timedelta | None:
    """As ``translate_duration``, for a field in which Envoy rejects zero or takes it for *at once*: there it says nothing."""
    return translate_duration(duration) or None


def whole_seconds(duration: IstioDuration | None, limit: int) -> int | None:
    """Seconds, rounded up, at most the limit; None where nothing or zero is said."""
    if duration is None:
        return None
    return min(-(-parse_istio_duration(duration) // 1000), limit) or None
