"""Whether a proxy was sent anything that it need not have been sent, by what passed between it and the control plane."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from controlplane._proto.envoy.service.discovery.v3 import DeltaDiscoveryRequest

from .relay import Sent, Stream, label_of, resources_of

_CLUSTER, _ASSIGNMENT = "Cluster", "ClusterLoadAssignment"
_WITH_ITS_CLUSTER = 2
"""A load assignment goes with its cluster, and once more when the proxy asks for it."""

Key = tuple[str, str]
"""Type and name."""


def unneeded(streams: Iterable[Stream]) -> list[Sent]:
    """Resources that the proxy of these streams had already, in that version, when they were sent.

    What it had is what it claimed when it connected, and what it was sent since. A load assignment may follow its cluster, and
    may be sent to a proxy that has not asked for clusters: that one has a cluster that warms (envoy-observed, trap 8). A cluster
    to which an earlier stream ended without an answer may come in its last form first, which is what ends a wedge (trap 1).
    """
    doubtful: set[str] = set()
    found: list[Sent] = []
    for stream in streams:
        found += _unneeded(stream, doubtful)
        _note_answers(stream, doubtful)
    return found


def _unneeded(stream: Stream, doubtful: Collection[str]) -> Iterable[Sent]:
    held = claims_of(stream)
    asked: set[str] = set()
    followers: dict[str, int] = {}
    for message in stream.said:
        if isinstance(message, DeltaDiscoveryRequest):
            asked.add(label_of(message.type_url))
            _let_go(held, message)
            continue
        for sent in resources_of(message, stream.number):
            if held.get((sent.type, sent.name)) == sent.version and not (
                (sent.type == _CLUSTER and sent.name in doubtful) or _may_follow(sent, asked, followers)
            ):
                yield sent
            held[sent.type, sent.name] = sent.version
            if sent.type == _CLUSTER:
                followers[sent.name] = _WITH_ITS_CLUSTER
        for name in message.removed_resources:
            held.pop((label_of(message.type_url), name), None)


def _note_answers(stream: Stream, doubtful: set[str]) -> None:
    """Which clusters the stream ended without an answer to; an answer to what the proxy did not have ends the doubt."""
    claims = claims_of(stream)
    answered = {message.response_nonce for message in stream.requests}
    for message in stream.responses:
        for sent in resources_of(message):
            if sent.type != _CLUSTER:
                continue
            if message.nonce not in answered:
                doubtful.add(sent.name)
            elif claims.get((sent.type, sent.name)) != sent.version:
                doubtful.discard(sent.name)


def _may_follow(sent: Sent, asked: set[str], followers: dict[str, int]) -> bool:
    if sent.type != _ASSIGNMENT:
        return False
    left = followers.get(sent.name, 0)
    followers[sent.name] = left - 1
    return left > 0 or _CLUSTER not in asked


def claims_of(stream: Stream) -> dict[Key, str]:
    """What the proxy said that it has, version by type and name."""
    return {
        (label_of(message.type_url), name): version
        for message in stream.requests
        for name, version in message.initial_resource_versions.items()
    }


def held_by(stream: Stream) -> dict[Key, str]:
    """What the proxy has, if it took all that it was sent: version by type and name."""
    held = claims_of(stream)
    for message in stream.said:
        if isinstance(message, DeltaDiscoveryRequest):
            _let_go(held, message)
            continue
        label = label_of(message.type_url)
        for name in message.removed_resources:
            held.pop((label, name), None)
        held |= {(sent.type, sent.name): sent.version for sent in resources_of(message)}
    return held


def _let_go(held: dict[Key, str], request: DeltaDiscoveryRequest) -> None:
    """A proxy forgets what it no longer asks for."""
    for name in request.resource_names_unsubscribe:
        held.pop((label_of(request.type_url), name), None)


def counted(streams: Iterable[Stream]) -> dict[str, int]:
    """How many resources were sent on these streams, by type; types of which there were none are left out."""
    found: dict[str, int] = {}
    for stream in streams:
        for sent in stream.sent:
            found[sent.type] = found.get(sent.type, 0) + 1
    return dict(sorted(found.items()))
