"""Which namespaces a listener takes routes, and a waypoint services, from. Source: Gateway API v1, RouteNamespaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

from controlplane.krt import Fetch, Operator, Requirement, Selector
from controlplane.model.gateway import RouteNamespaces
from controlplane.model.kubernetes import LabelSelector, Namespace
from controlplane.reducers.base import Base

_NAMESPACE_NAME_LABEL: Final = "kubernetes.io/metadata.name"


def to_selector(selector: LabelSelector) -> Selector:
    """Kubernetes' label selector as the engine matches it."""
    expressions = tuple(Requirement(e.key, Operator(e.operator), e.values) for e in selector.match_expressions)
    return Selector(tuple(sorted(selector.match_labels.items())), expressions)


def allows_namespace(allowed: RouteNamespaces, own: str, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether a namespace with these labels is let in.

    Args:
        allowed: Of the listener.
        own: Its Gateway's namespace.
        namespace: Who asks.
        labels: The asking namespace's; looked at only for ``Selector``.
    """
    match allowed.from_:
        case "All":
            return True
        case "Selector":
            # A selector is required by the API; without one nothing is selected, rather than everything.
            return allowed.selector is not None and to_selector(allowed.selector).match(
                {**labels, _NAMESPACE_NAME_LABEL: namespace}
            )
        case "Same":
            return namespace == own
        case unknown:
            assert_never(unknown)


def namespace_labels(fetch: Fetch, base: Base, namespace: str) -> Mapping[str, str]:
    """The labels of a namespace; none where nobody knows it."""
    return fetch(base.namespaces, namespace, view=_labels) or {}


def _labels(namespace: Namespace) -> Mapping[str, str]:
    return namespace.metadata.labels
