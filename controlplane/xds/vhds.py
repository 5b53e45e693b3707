"""Virtual hosts: which of them a proxy holds depends on the life of their RouteConfiguration.

Envoy keeps virtual hosts with a RouteConfiguration, drops those of one that it does not have in silence, counts the dropped
ones as received, and asks for virtual hosts only once a stream, without saying whose (V3 to V6). So nobody but us can know
what is missing. Per RouteConfiguration and stream::

    absent --RDS subscribed--> awaiting --RDS answer acknowledged--> delivered
       ^                           ^  |                                  |
       +------RDS unsubscribed-----+--+------RDS subscribed again--------+

*Awaiting* becomes *delivered* with all virtual hosts sent, whatever was acknowledged before. *Absent* means that Envoy is made
to forget: its virtual hosts are removed, so that what it claims at the next reconnect is true. A RouteConfiguration that the
proxy claims in the current version at a reconnect is delivered, and then its claimed virtual hosts count. While a
RouteConfiguration has left the table and Envoy still subscribes it (a listener is drained), its virtual hosts stay as they are.

Source: envoy-observed.md, "VHDS and RouteConfiguration", answers 1 and 2, trap 3.
"""

from collections import deque
from collections.abc import Iterable, Mapping

from controlplane.xds.delivery import Delivery, Draft, Phase
from controlplane.xds.held import UNKNOWN
from controlplane.xds.interest import Update
from controlplane.xds.lane import Items, Lane
from controlplane.xds.probe import Probe
from controlplane.xds.rejection import Guilty
from controlplane.xds.tables import Entry, Table
from controlplane.xds.types import VHDS, route_configuration_of
from controlplane.xds.wire import ErrorDetail


class VirtualHosts(Delivery):
    """The virtual hosts of one stream.

    Args:
        table: The virtual hosts that the client may see.
        route_configurations: The RouteConfigurations.
        max_names: Limit of explicit subscriptions.
    """

    def __init__(self, table: Table, route_configurations: Table, max_names: int = 100_000) -> None:
        super().__init__(VHDS, table, max_names)
        self._route_configurations = route_configurations
        self._delivered: set[str] = set()
        self._awaiting: dict[str, str | None] = {}
        """RouteConfiguration to the nonce of the response that introduces it; None until it is sent."""
        self._recalled: set[str] = set()
        """Delivered by claim; their virtual hosts are compared once both types have been asked for."""
        self._claims: dict[str, dict[str, str]] | None = None
        """Claimed virtual hosts by RouteConfiguration, until they are compared."""
        self._routes_asked = False
        self._placed = False
        self._served: set[str] = set()
        """RouteConfigurations whose first virtual hosts were acknowledged."""
        self._probes: dict[str, deque[Probe]] = {}
        """By RouteConfiguration, virtual hosts that are being taken apart; the first is being tried."""

    def wants(self, name: str) -> bool:
        """Whether the proxy takes this virtual host, given its RouteConfiguration; before it has asked nobody knows."""
        return not self.asked or super().wants(name)

    def tracks(self, name: str) -> bool:
        """Nothing is held where the RouteConfiguration is absent."""
        return self._is_present(route_configuration_of(name)) and self.wants(name)

    def offered(self, name: str) -> Entry | None:
        """Nothing, where the RouteConfiguration is absent from the proxy."""
        return self.table.get(name) if self._is_present(route_configuration_of(name)) else None

    @property
    def is_unclear(self) -> bool:
        """As ``Delivery``: where there is a RouteConfiguration, virtual hosts will be asked for."""
        return not self.asked and bool(self._delivered or self._awaiting)

    def is_sendable(self, lane: Lane) -> bool:
        """Never before Envoy can take them, and not while the RouteConfiguration is on its way out."""
        if not self.asked or lane.key in self._awaiting:
            return False
        return lane.key not in self._delivered or self._route_configurations.get(lane.key) is not None

    def empty_answer(self, lane: Lane) -> list[str]:
        """The removal of a virtual host that never was: an empty response would not end the listener's wait (V7)."""
        return [f"{lane.key}/-"]

    def serves(self, route_configuration: str) -> bool:
        """Whether the proxy has acknowledged this RouteConfiguration's virtual hosts."""
        return route_configuration in self._served

    def _is_present(self, route_configuration: str) -> bool:
        return route_configuration in self._delivered or route_configuration in self._awaiting

    # The life of a RouteConfiguration.

    def introduce(self, route_configuration: str) -> None:
        """It was subscribed, and will be sent: afterwards all its virtual hosts."""
        was_delivered = route_configuration in self._delivered
        if route_configuration not in self._awaiting:
            for name in self.table.group(route_configuration):
                self.held.setdefault(name, UNKNOWN if was_delivered else None)
        self._delivered.discard(route_configuration)
        self._recalled.discard(route_configuration)
        self._served.discard(route_configuration)
        self._awaiting[route_configuration] = None

    def recall(self, route_configuration: str) -> None:
        """It was subscribed, and the proxy holds it from an earlier stream in the current version."""
        self._awaiting.pop(route_configuration, None)
        self._delivered.add(route_configuration)
        self._recalled.add(route_configuration)

    def withdraw(self, route_configuration: str) -> None:
        """It was unsubscribed: Envoy is made to forget its virtual hosts."""
        names = set(self.table.group(route_configuration))
        if route_configuration in self._delivered:
            for name in names:
                self.held.setdefault(name, UNKNOWN)
        self._delivered.discard(route_configuration)
        self._awaiting.pop(route_configuration, None)
        self._recalled.discard(route_configuration)
        self._served.discard(route_configuration)
        self._probes.pop(route_configuration, None)
        lane = self.lanes.get(route_configuration)
        names |= lane.pending | lane.suspects.keys() | lane.owed
        names |= {name for name in self.overrides if route_configuration_of(name) == route_configuration}
        lane.owed.clear()
        lane.pending.clear()
        lane.apart = None
        lane.reply = False
        for name in names:
            self.overrides.pop(name, None)
            self.gate.dismiss(self.rule.url, name)
        for name in names:
            if self.held.get(name) is None and not lane.holds(name):
                self._in_step(name)
            else:
                lane.pending.add(name)
        self.lanes.wake(route_configuration)
        self.lanes.tidy(lane)

    def routes_sent(self, names: Iterable[str], nonce: str) -> None:
        """A response with these RouteConfigurations goes out."""
        for name in names:
            if name in self._awaiting:
                self._awaiting[name] = nonce

    def routes_taken(self, names: Iterable[str], nonce: str) -> None:
        """That response was acknowledged; or will not be, so that its order on the stream has to do (answer 2)."""
        for name in names:
            if self._awaiting.get(name, nonce + "?") == nonce:
                del self._awaiting[name]
                self._delivered.add(name)
                self._owe_all(name)

    def routes_changed(self, names: Iterable[str]) -> None:
        """The table of RouteConfigurations has changed in these names."""
        for name in names:
            self.lanes.wake(name)

    def routes_asked(self) -> None:
        """The first RDS request has been taken in: whose virtual hosts are claimed rightly is known now."""
        self._routes_asked = True
        self._place_claims()

    def _owe_all(self, route_configuration: str) -> None:
        lane = self.lanes.get(route_configuration)
        for name in self.table.group(route_configuration):
            self.held.setdefault(name, UNKNOWN)
            lane.owed.add(name)
        lane.reply = True
        self.lanes.wake(route_configuration)

    # Requests.

    def begin(
        self, subscribe: tuple[str, ...], unsubscribe: tuple[str, ...], claims: Mapping[str, str], *, trust: bool = True
    ) -> Update:
        """The first VHDS request. It names no RouteConfiguration, and its claims may be of some that are gone (trap 3)."""
        self.asked = True
        self.resumed = bool(claims)
        update = self.interest.first(self.shared(subscribe), unsubscribe)
        self._claims = {}
        for name, version in claims.items():
            self._claims.setdefault(route_configuration_of(name), {})[name] = version
        for name in update.answer:
            self.owe(name, claims.get(name) if trust else UNKNOWN)
        for lane in self.lanes:
            self.lanes.wake(lane.key)
        self._place_claims()
        return update

    def _place_claims(self) -> None:
        """Compares what is claimed with what can be true. Happens once, when RDS and VHDS have both been asked for."""
        if self._placed or not self._routes_asked or self._claims is None:
            return
        self._placed = True
        for route_configuration in sorted(self._recalled):
            claims = self._claims.pop(route_configuration, {})
            self.compare_all(self.table.group(route_configuration), claims)
            if claims:
                self._served.add(route_configuration)
            else:
                self.lanes.get(route_configuration).reply = True
            self.lanes.wake(route_configuration)
        for claims in self._claims.values():
            for name, version in claims.items():
                self.compare(name, version)
        self._recalled.clear()
        self._claims = {}

    # Answers, and what is at fault in a rejected virtual host.

    def changed(self, before: Mapping[str, Entry | None]) -> None:
        """As ``Delivery``; what is being taken apart has changed then, and is offered anew."""
        for route_configuration, probes in tuple(self._probes.items()):
            kept = deque(probe for probe in probes if probe.offered.name not in before)
            if kept and kept[0] is probes[0]:
                self._probes[route_configuration] = kept
            elif len(kept) < len(probes):
                self._end_probe(route_configuration, probes[0].name, kept)
        super().changed(before)

    def acknowledge(self, nonce: str) -> Items | None:
        """As ``Delivery``."""
        items = super().acknowledge(nonce)
        for name in items or ():
            self._served.add(route_configuration_of(name))
            break
        self._note_probe(items, taken=True)
        return items

    def reject(self, nonce: str, error: ErrorDetail) -> Items | None:
        """As ``Delivery``."""
        items = super().reject(nonce, error)
        self._note_probe(items, taken=False, message=error.message)
        return items

    def _note_probe(self, items: Items | None, *, taken: bool, message: str = "") -> None:
        for name in items or ():
            probes = self._probes.get(route_configuration_of(name))
            if probes and probes[0].name == name and items is not None and items[name] is not None:
                probes[0].answer(taken=taken, message=message)

    def judge(self) -> list[Guilty]:
        """As ``Delivery``; a guilty virtual host is taken apart first."""
        found = []
        for guilty in super().judge():
            route_configuration = route_configuration_of(guilty.entry.name)
            probe = Probe(route_configuration, guilty)
            if probe.is_done:
                found.append(guilty)
            else:
                self._probes.setdefault(route_configuration, deque()).append(probe)
        for route_configuration, probes in tuple(self._probes.items()):
            while probes and probes[0].is_done:
                probe = probes.popleft()
                found.append(probe.result())
                if probe.is_local and (rest := probe.rest()) is not None:
                    self.overrides[rest.name] = rest
                    self._touch(rest.name)
                self._end_probe(route_configuration, probe.name, probes)
        return found

    def _end_probe(self, route_configuration: str, name: str, left: deque[Probe]) -> None:
        """Removes the virtual host in which routes were tried."""
        if left:
            self._probes[route_configuration] = left
        else:
            self._probes.pop(route_configuration, None)
        if self.overrides.pop(name, None) is not None and name in self.held:
            self._touch(name)

    @property
    def is_settled(self) -> bool:
        """As ``Delivery``."""
        return not self._probes and super().is_settled

    def draft(self, phase: Phase) -> Draft | None:
        """As ``Delivery``."""
        for route_configuration in self._probes:
            self.lanes.get(route_configuration)
            self.lanes.wake(route_configuration)
        return super().draft(phase)

    def _next_trial(self, lane: Lane) -> Draft | None:
        """As ``Delivery``; then what is tried of a virtual host."""
        draft = super()._next_trial(lane)
        probes = self._probes.get(lane.key)
        if draft is not None or not probes or lane.holds(probes[0].name):
            return draft
        entry = probes[0].next_try()
        if entry is None:
            return None
        self.overrides[entry.name] = entry
        self.held.setdefault(entry.name, None)
        return Draft(lane, [entry], [], is_trial=True)
