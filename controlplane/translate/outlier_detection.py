"""Outlier detection of a policy into Envoy's.

Source: istio-semantics, 2.3, with Istio's enforcement: its API knows no ejection by success rate, so there is none.
"""

from __future__ import annotations

from typing import Final

from controlplane._proto.envoy.config.cluster.v3 import OutlierDetection as EnvoyOutlierDetection
from controlplane._proto.envoy.type.v3 import Percent
from controlplane.model.istio import OutlierDetection
from controlplane.translate.durations import translate_period

_ALWAYS: Final = 100
_NEVER: Final = 0


def translate_outlier_detection(outliers: OutlierDetection) -> EnvoyOutlierDetection:
    """When an endpoint is ejected. A number of errors of 0 ejects never; one that is not said is Envoy's own, 5 for 5xx."""
    out = EnvoyOutlierDetection(
        interval=translate_period(outliers.interval),
        base_ejection_time=translate_period(outliers.base_ejection_time),
        max_ejection_percent=outliers.max_ejection_percent or None,
        enforcing_success_rate=_NEVER,
        # Without it Envoy never ejects one of less than ten endpoints, since one is already more than its default of 10 %.
        always_eject_one_host=True if outliers.max_ejection_percent == 0 else None,
    )
    if (errors := outliers.consecutive_5xx_errors) is not None:
        out.consecutive_5xx = errors
        out.enforcing_consecutive_5xx = _enforcement(errors)
    if (errors := outliers.consecutive_gateway_errors) is not None:
        out.consecutive_gateway_failure = errors
        out.enforcing_consecutive_gateway_failure = _enforcement(errors)
    if outliers.split_external_local_origin_errors:
        out.split_external_local_origin_errors = True
        if outliers.consecutive_local_origin_failures:
            out.consecutive_local_origin_failure = outliers.consecutive_local_origin_failures
            out.enforcing_consecutive_local_origin_failure = _ALWAYS
        out.enforcing_local_origin_success_rate = _NEVER
    return out


def translate_panic_threshold(outliers: OutlierDetection) -> Percent:
    """The share of healthy endpoints below which health is ignored; 0, the default here, means that it never is."""
    return Percent(value=float(outliers.min_health_percent))


def _enforcement(errors: int) -> int:
    return _ALWAYS if errors else _NEVER
