"""How one resource stands on one proxy: what it holds, what it was offered, what it rejected.

The narrow place between a stream's deliveries and whoever tells other programs of them (``csds``). It reads, and changes nothing.
"""

from collections.abc import Collection, Iterator

import msgspec

from controlplane.xds.delivery import Delivery
from controlplane.xds.ledger import acknowledged_versions
from controlplane.xds.rejection import Rejection
from controlplane.xds.tables import Entry


class ResourceState(msgspec.Struct, frozen=True, kw_only=True):
    """One resource of one type on one stream."""

    type_url: str
    name: str
    held: str | None
    """The version that the proxy is known to hold; None for none, and where a rejection leaves it unknown."""
    entry: Entry | None
    """What the proxy should hold; None for nothing: the name does not exist (any more)."""
    newest: Entry | None
    """What the tables have; another one than ``entry`` where the proxy rejects it and keeps what it took last."""
    is_offered: bool
    """A response with it, or with its removal, has no answer yet."""
    rejection: Rejection | None
    """It stood in a response that the proxy rejected, and nothing was accepted since."""
    is_withdrawn: bool
    """Proxies of its gateway reject the newest version, so that all of them are to hold the one before, or nothing."""

    @property
    def wanted(self) -> str | None:
        """The version that the proxy should hold."""
        return None if self.entry is None else self.entry.version


def resource_states(delivery: Delivery, withdrawn: Collection[str] = ()) -> Iterator[ResourceState]:
    """All resources of one type that the proxy holds, should hold, or asked for by name; sorted by name.

    Args:
        delivery: Of the type.
        withdrawn: Names of which proxies of the gateway reject the newest version.

    Cost: O(resources of the type).
    """
    held = acknowledged_versions(delivery)
    offered = {name for response in delivery.lanes.unanswered() for name in response.items}
    subscribed = delivery.interest.names
    wanted = {name for name in delivery.table.names() if delivery.wants(name) and delivery.desired(name) is not None}
    missed = {name for name in withdrawn if delivery.wants(name)}
    for name in sorted({*held, *subscribed, *wanted, *missed, *delivery.rejections}):
        yield ResourceState(
            type_url=delivery.rule.url,
            name=name,
            held=held.get(name),
            entry=delivery.desired(name),
            newest=delivery.offered(name),
            is_offered=name in offered,
            rejection=delivery.rejections.get(name),
            is_withdrawn=name in withdrawn,
        )
