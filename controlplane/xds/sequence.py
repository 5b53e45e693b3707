"""What goes before what: the order of one push.

Changes go in the order of ``types.PUSH_ORDER``, on which Envoy can rely because it takes the responses of a stream in turn;
what waits for something else is kept back by the ``gate``, each resource for itself. Removals stand last: of listeners once
their lane is free; of clusters when the gate lets them; of load assignments when no cluster is on its way out any more.
"""

from collections.abc import Mapping

from controlplane.xds.delivery import Delivery, Draft, Phase
from controlplane.xds.types import CDS, EDS, PUSH_ORDER, REMOVAL_ORDER

_SERVED = tuple(rule.url for rule in PUSH_ORDER)


def next_draft(deliveries: Mapping[str, Delivery]) -> tuple[Delivery, Draft] | None:
    """The next response of a stream, and the type it is of; None when there is nothing, or all of it has to wait."""
    for url in (*_SERVED, *(url for url in deliveries if url not in _SERVED)):
        draft = deliveries[url].draft(Phase.CHANGES)
        if draft is not None:
            return deliveries[url], draft
    for rule in REMOVAL_ORDER:
        is_early = rule is EDS and _removes(deliveries[CDS.url])
        draft = deliveries[rule.url].draft(Phase.RETRACTIONS if is_early else Phase.REMOVALS)
        if draft is not None:
            return deliveries[rule.url], draft
    return None


def _removes(clusters: Delivery) -> bool:
    """Whether a cluster is to be removed, or its removal is not answered yet."""
    return any(
        any(clusters.desired(name) is None for name in lane.pending)
        or any(None in response.items.values() for response in lane.outstanding.values())
        for lane in clusters.lanes
    )
