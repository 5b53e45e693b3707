"""What goes before what: the order of one push, and when something may be removed.

This is the one place that decides it. Today it is the simple form: changes in the order of ``types.PUSH_ORDER``, on which
Envoy can rely because it takes responses of a stream in turn; what may name a cluster waits for clusters that could not be
sent yet; removals once nothing is unacknowledged. The sequencer that proves each cluster on each proxy, by the
acknowledgement of its load assignment, and gives removals a grace, is to stand here.
"""

from collections.abc import Mapping

from controlplane.xds.delivery import Delivery, Draft, Phase
from controlplane.xds.types import EDS, PUSH_ORDER, REMOVAL_ORDER, SDS

_SERVED = tuple(rule.url for rule in PUSH_ORDER)
_NAME_NOTHING = frozenset({EDS.url, SDS.url})


def next_draft(deliveries: Mapping[str, Delivery], clusters: Delivery) -> tuple[Delivery, Draft] | None:
    """The next response of a stream, and the type it is of; None when there is nothing, or all of it has to wait."""
    hold = False
    for url in (*_SERVED, *(url for url in deliveries if url not in _SERVED)):
        delivery = deliveries[url]
        phase = Phase.ANSWERS if hold and delivery.rule.clusters_first else Phase.CHANGES
        draft = delivery.draft(phase)
        if draft is not None:
            return delivery, draft
        if delivery is clusters:
            hold = clusters.has_additions_pending()
    if removals_may_go(deliveries):
        for rule in REMOVAL_ORDER:
            delivery = deliveries[rule.url]
            draft = delivery.draft(Phase.REMOVALS)
            if draft is not None:
                return delivery, draft
    return None


def removals_may_go(deliveries: Mapping[str, Delivery]) -> bool:
    """Whether the proxy has acknowledged everything that could name what is to go, so that nothing it uses is taken away.

    Load assignments and secrets name nothing, and endpoints may change all the time. Overdue answers are not waited for: a
    cluster that never ends warming would otherwise keep all others for good.
    """
    return not any(delivery.lanes.waiting for url, delivery in deliveries.items() if url not in _NAME_NOTHING)
