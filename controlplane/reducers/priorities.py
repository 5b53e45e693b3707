"""Which endpoints a client tries first: the endpoints of a backend, grouped by locality and priority, as one client sees them.

Pure functions of rows. What they look at of a client is in ``client_labels`` alone, its locality included; which part of them
a policy looks at is said by ``controlplane.reducers.destination_rules.perspective``.

Sources: istio-semantics, 2.5 to 2.7 (Istio's ``loadbalancer.go``, kgateway's ``prioritize.go``); where they differ, its first list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from controlplane.model.services import NETWORK, Endpoint, Locality, LocalityGroup, LocalityPolicy

FROM: Final = "~from"
"""No label can be called so. Among the labels of a client it stands for its locality under ``distribute``: the position of the
entry that matches it, or empty if none does."""

_LOCALITY_STEPS: Final = 5
"""Values that ``_locality_step`` can take."""
_GREATEST_WEIGHT: Final = 2**32 - 1
"""Envoy refuses a load assignment in which the weights of one priority add up to more."""

Labelled = tuple[Endpoint, Mapping[str, str]]
Labels = Mapping[str, str]


class PriorityLabel(NamedTuple):
    """An entry of ``failoverPriority``."""

    key: str
    value: str | None
    """What the endpoint's label is compared with; None takes the client's."""

    @classmethod
    def parse(cls, entry: str) -> PriorityLabel:
        """From ``label`` or ``label=value``. With two ``=`` or more the label alone counts."""
        parts = entry.split("=")
        return cls(parts[0], parts[1] if len(parts) == 2 else None)


class LocalityPattern(NamedTuple):
    """Localities that an entry of ``distribute`` means; None stands for any."""

    region: str | None
    zone: str | None
    subzone: str | None

    @classmethod
    def parse(cls, text: str) -> LocalityPattern:
        """From ``region/zone/subzone``; ``*`` is any, and so is a zone or subzone that is not said."""
        region, zone, subzone = [*(part.strip() for part in text.split("/")), "", ""][:3]
        return cls(
            None if region == "*" else region,
            None if zone in ("*", "") else zone,
            None if subzone in ("*", "") else subzone,
        )

    def matches(self, locality: Locality) -> bool:
        """Whether a locality is one of those."""
        return (
            self.region in (None, locality.region)
            and self.zone in (None, locality.zone)
            and self.subzone in (None, locality.subzone)
        )


def matching_source(distribute: Sequence[tuple[str, object]], locality: Locality) -> int | None:
    """Position of the first entry of ``distribute`` whose ``from`` matches a client; None if there is none."""
    for position, (source, _) in enumerate(distribute):
        if LocalityPattern.parse(source).matches(locality):
            return position
    return None


def prioritize(
    endpoints: Sequence[Labelled], policy: LocalityPolicy | None, client_labels: Labels
) -> tuple[LocalityGroup, ...]:
    """The endpoints of a backend as a client prefers them.

    Args:
        endpoints: In any order, each with all its labels (those of its locality and network among them).
        policy: None where nobody says anything about localities.
        client_labels: The client's, as far as the policy looks at them; an absent one is empty.

    Returns:
        Sorted by locality and priority. Priorities are 0, 1, 2 ... without gaps. Every endpoint is in one group, except under
        ``distribute``, where a locality to which nothing goes is there without endpoints. Weights are the sums of the
        endpoints', or the shares that ``distribute`` gives.

    Cost: O(n log n) in the endpoints, times the entries of the policy.
    """
    if policy is None:
        return _weigh(_group((endpoint, 0) for endpoint, _ in endpoints))
    if policy.distribute:
        return _distribute(endpoints, policy, client_labels)
    ranks = [0] * len(endpoints)
    if policy.failover_priority:
        wanted = _wanted(policy.failover_priority, client_labels)
        network_first = policy.failover_priority[0] == NETWORK
        ranks = [_label_step(labels, wanted, network_first=network_first) for _, labels in endpoints]
    if policy.failover or not policy.failover_priority:
        client = Locality.of_labels(client_labels)
        successor = _successor(policy.failover, client.region)
        steps = (_locality_step(endpoint.locality, client, successor) for endpoint, _ in endpoints)
        ranks = [rank * _LOCALITY_STEPS + step for rank, step in zip(ranks, steps, strict=True)]
    priorities = {rank: priority for priority, rank in enumerate(sorted(set(ranks)))}
    pairs = ((endpoint, priorities[rank]) for (endpoint, _), rank in zip(endpoints, ranks, strict=True))
    return _weigh(_group(pairs))


def _wanted(entries: Iterable[str], client_labels: Labels) -> list[tuple[str, str]]:
    """What the label of an endpoint must be to match, the most important first."""
    parsed = map(PriorityLabel.parse, entries)
    return [(key, client_labels.get(key, "") if value is None else value) for key, value in parsed]


def _label_step(labels: Labels, wanted: Sequence[tuple[str, str]], *, network_first: bool) -> int:
    """How far an endpoint is by its labels: 0 where all match, more the earlier the first mismatch.

    If the network comes first, a mismatch of it outweighs all others together, and they still count.
    """
    offset = 0
    for position, (key, value) in enumerate(wanted):
        if labels.get(key, "") != value:
            if position == 0 and network_first:
                offset = len(wanted)
                continue
            return offset + len(wanted) - position
    return offset


def _successor(failover: Iterable[tuple[str, str]], region: str) -> str | None:
    """The region that takes over from the client's; None if nobody says."""
    return next((to for source, to in failover if source == region), None)


def _locality_step(endpoint: Locality, client: Locality, successor: str | None) -> int:
    """How far an endpoint is by its locality: 0 for the same subzone up to 3 for another region, 4 for none that takes over."""
    if endpoint.region != client.region:
        return 3 if successor in (None, endpoint.region) else 4
    if endpoint.zone != client.zone:
        return 2
    return 0 if endpoint.subzone == client.subzone else 1


def _group(pairs: Iterable[tuple[Endpoint, int]]) -> tuple[LocalityGroup, ...]:
    groups: dict[tuple[Locality, int], list[Endpoint]] = {}
    for endpoint, priority in pairs:
        groups.setdefault((endpoint.locality, priority), []).append(endpoint)
    return tuple(
        LocalityGroup(locality, priority, 0, tuple(sorted(groups[locality, priority])))
        for locality, priority in sorted(groups)
    )


def _weight(group: LocalityGroup) -> int:
    return sum(endpoint.weight or 1 for endpoint in group.endpoints)


def _weigh(groups: Iterable[LocalityGroup]) -> tuple[LocalityGroup, ...]:
    return _fit([(group, _weight(group)) for group in groups])


def _fit(weighted: Sequence[tuple[LocalityGroup, int]]) -> tuple[LocalityGroup, ...]:
    """Groups with their weights, scaled down where those of a priority add up to more than Envoy takes."""
    totals: dict[int, int] = {}
    for group, weight in weighted:
        totals[group.priority] = totals.get(group.priority, 0) + weight
    limit = _GREATEST_WEIGHT - len(weighted)
    return tuple(
        LocalityGroup(
            group.locality,
            group.priority,
            weight if totals[group.priority] <= limit else -(-weight * limit // totals[group.priority]),
            group.endpoints,
        )
        for group, weight in weighted
    )


def _distribute(
    endpoints: Sequence[Labelled], policy: LocalityPolicy, client_labels: Labels
) -> tuple[LocalityGroup, ...]:
    """Shares by locality. Of patterns that overlap the most specific has its localities first."""
    groups = _group((endpoint, 0) for endpoint, _ in endpoints)
    position = _source_of(policy, client_labels)
    if position is None:
        return _weigh(groups)
    shares: dict[Locality, int] = {}
    for pattern, weight in _most_specific_first(policy.distribute[position][1]):
        claimed = {g.locality: _weight(g) for g in groups if g.locality not in shares and pattern.matches(g.locality)}
        total = sum(claimed.values())
        shares |= {locality: -(-own * weight // total) for locality, own in claimed.items()}
    return _fit(
        [
            (group, share) if share else (LocalityGroup(group.locality, 0, 0, ()), 0)
            for group, share in ((group, shares.get(group.locality, 0)) for group in groups)
        ]
    )


def _source_of(policy: LocalityPolicy, client_labels: Labels) -> int | None:
    known = client_labels.get(FROM)
    if known is not None:
        return int(known) if known else None
    return matching_source(policy.distribute, Locality.of_labels(client_labels))


def _most_specific_first(to: Iterable[tuple[str, int]]) -> list[tuple[LocalityPattern, int]]:
    """By which parts are said, region before zone before subzone; of patterns that mean the same, the first by its text."""
    parsed = [(LocalityPattern.parse(text), weight) for text, weight in sorted(to)]
    return sorted(parsed, key=lambda entry: tuple(part is None for part in entry[0]))
