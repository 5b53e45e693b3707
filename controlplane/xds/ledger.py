"""What ``/debug/proxies`` and the events tell of a stream: read from its deliveries, in JSON's types, sorted."""

from typing import Any

from controlplane.xds.delivery import Delivery


def describe(delivery: Delivery, *, versions: bool) -> dict[str, Any]:
    """The ledger of one type.

    Args:
        delivery: Of the type.
        versions: Whether names and versions are listed, or only counted. Cost of the list: O(resources).
    """
    unanswered = delivery.lanes.unanswered()
    ledger: dict[str, Any] = {
        "type": delivery.rule.label,
        "wildcard": delivery.interest.wildcard,
        "subscribed": len(delivery.interest.names),
        **delivery.counters,
        "pending": sum(len(lane.pending | lane.owed) for lane in delivery.lanes),
        "unanswered": [response.nonce for response in unanswered],
        "rejections": {
            name: {
                "version": rejection.version,
                "nonce": rejection.nonce,
                "code": rejection.code,
                "message": rejection.message,
            }
            for name, rejection in sorted(delivery.rejections.items())
        },
    }
    if versions:
        acknowledged = acknowledged_versions(delivery)
        sent: dict[str, str | None] = dict(acknowledged)
        for response in unanswered:
            sent.update(response.items)
        ledger["names"] = sorted(delivery.interest.names)
        ledger["acknowledged_versions"] = acknowledged
        ledger["sent_versions"] = {name: version for name, version in sorted(sent.items()) if version is not None}
    return ledger


def acknowledged_versions(delivery: Delivery) -> dict[str, str]:
    """Name to the version that the proxy is known to hold. Cost: O(resources)."""
    versions = {}
    for name in sorted({*delivery.table.names(), *delivery.held}):
        if name in delivery.held:
            held = delivery.held[name]
        else:
            held = delivery.desired_version(name) if delivery.asked and delivery.tracks(name) else None
        if isinstance(held, str):
            versions[name] = held
    return versions
