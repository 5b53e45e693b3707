"""The delta protocol of one stream as a machine without I/O: requests and commits in, responses out.

It reads tables, as whoever made it lets this client see them, and is told which names changed in them. Asked for the next
response, it composes it from the state of that moment, so a stream that is slow to be written holds no queue, only names. Time
is an argument.

The rules are numbered as in the contract (README.md beside this file), which names the test of each.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Protocol

from controlplane.xds import sequence
from controlplane.xds.delivery import Delivery, Draft
from controlplane.xds.differences import Before
from controlplane.xds.errors import exhausted, invalid
from controlplane.xds.facts import Acknowledged, Fact, Rejected, RejectedResource
from controlplane.xds.gate import Gate
from controlplane.xds.interest import Update
from controlplane.xds.lane import Items
from controlplane.xds.ledger import describe
from controlplane.xds.limits import Limits
from controlplane.xds.patience import Patience
from controlplane.xds.probe import routes_to
from controlplane.xds.redact import redact
from controlplane.xds.rejection import Guilty
from controlplane.xds.resource_state import ResourceState, resource_states
from controlplane.xds.response import Response
from controlplane.xds.tables import Entry, Table
from controlplane.xds.types import CDS, EDS, LDS, PUSH_ORDER, RDS, ROUTE_CONFIGURATION, SDS, VHDS, rule_of
from controlplane.xds.vhds import VirtualHosts
from controlplane.xds.wire import ErrorDetail, Request, holds_virtual_hosts, load_assignment_of


class Tables(Protocol):
    """What a client sees."""

    def table(self, type_url: str) -> Table:
        """The table of a type, the same for as long as the stream lasts."""

    def rejected(self, type_url: str) -> Collection[str]:
        """Names of this type of which proxies of the client's gateway reject what there is, or the last that there was."""


class Machine:
    """One stream.

    Args:
        view: The tables that the proxy may see. ``changed`` must be told of every change in them.
        limits: Bounds and the deadline.
    """

    def __init__(self, view: Tables, limits: Limits | None = None) -> None:
        self._view = view
        self._limits = limits or Limits()
        self._nonces = 0
        self._is_asked = False
        self._facts: list[Fact] = []
        self._guilty: set[str] = set()
        """Clusters of which it was told that they are rejected, and that the tables have still."""
        self._in_vain: set[tuple[str, str, str]] = set()
        """What was told of virtual hosts that wait for rejected clusters: name, version, cluster."""
        names = self._limits.names
        self._clusters, self._assignments, self._secrets, self._listeners, self._routes = (
            Delivery(rule, view.table(rule.url), names) for rule in (CDS, EDS, SDS, LDS, RDS)
        )
        self._virtual_hosts = VirtualHosts(view.table(VHDS.url), view.table(RDS.url), names)
        self._deliveries: dict[str, Delivery] = {
            delivery.rule.url: delivery
            for delivery in (
                self._clusters,
                self._assignments,
                self._secrets,
                self._listeners,
                self._routes,
                self._virtual_hosts,
            )
        }
        self._gate = Gate(self._clusters, self._assignments, self._limits)
        for delivery in self._deliveries.values():
            if delivery.rule.gated:
                self._gate.guard(delivery)
        self._gate.lingers = lambda listener: not self._is_served(listener)
        self._patience = Patience(self._clusters, self._gate, self._limits.acknowledge_seconds)

    # In.

    def receive(self, request: Request) -> list[Fact]:
        """Takes a request in.

        A request is any mix of an answer and of changes to the subscription (S5); the answer is looked at first, the changes
        apply whatever it is (S6).

        Raises:
            XdsError: The stream has to end: no type (S1), or a limit.
        """
        delivery = self._delivery(request.type_url)
        self._is_asked = True
        taken = self._take_answer(delivery, request)
        if delivery is self._routes:
            self._subscribe_routes(request)
        elif delivery.asked:
            delivery.update(request.subscribe, request.unsubscribe)
        else:
            # Load assignments asked for before clusters: a cluster may be warming from an earlier stream, and waits for its
            # load assignment even when it has this version already (trap 8).
            trust = delivery is not self._assignments or self._clusters.asked
            if not trust:
                self._patience.assignments_asked_first()
            delivery.begin(request.subscribe, request.unsubscribe, request.versions, trust=trust)
        if delivery is self._assignments and taken:
            # Only now: the same request may subscribe what it acknowledges.
            self._prove_clusters(taken, request.nonce)
        return self.take_facts()

    def _prove_clusters(self, assignments: Items, nonce: str) -> None:
        """These load assignments were acknowledged."""
        self._clusters.take_back(self._gate.assignments_taken(assignments, nonce))
        for name in self._gate.left_out(nonce):
            self._assignments.owe(name)
        for processed in self._gate.processed_now:
            self._patience.sent(self._clusters, processed, self._gate.now)  # from now on it has no reason to be silent
        self._gate.processed_now.clear()

    def take_facts(self) -> list[Fact]:
        """What has become known, also while nothing came in, since this was last asked for."""
        for delivery in self._deliveries.values():
            if any(lane.apart is not None for lane in delivery.lanes) or delivery is self._virtual_hosts:
                found = [guilty for guilty in delivery.judge() if not guilty.is_local]
                self._facts += [RejectedResource(delivery.rule.url, guilty) for guilty in found]
                if delivery is self._clusters:
                    self._guilty.update(guilty.entry.name for guilty in found)
        self._facts += self._find_in_vain()
        self._facts += self._gate.news
        self._gate.news = []
        facts, self._facts = self._facts, []
        return facts

    def end(self) -> None:
        """The stream has ended. What the proxy had not answered to is not to be offered to it again just like that."""
        clusters = self._clusters
        for response in clusters.lanes.unanswered():
            for name, version in response.items.items():
                if version is not None:
                    clusters.table.leave_unanswered(name, version)

    def changed(self, before: Before) -> None:
        """The tables have changed. Cost: O(names that changed)."""
        if not self._is_asked:
            return
        for type_url, names in before.items():
            delivery = self._deliveries.get(type_url)
            if delivery is not None:
                delivery.changed(names)
            if type_url == ROUTE_CONFIGURATION:
                self._virtual_hosts.routes_changed(names)

    def _find_in_vain(self) -> Iterable[RejectedResource]:
        """Virtual hosts that wait for a rejected cluster: the routes that name it are held back, the others need not wait."""
        hosts = self._virtual_hosts
        told, self._in_vain = self._in_vain, set()
        self._guilty = {name for name in self._guilty if name in self._clusters.overrides}
        for type_url, name, cluster in self._gate.in_vain({*self._view.rejected(CDS.url), *self._guilty}):
            offered = hosts.offered(name)
            if type_url != VHDS.url or offered is None:
                continue
            self._in_vain.add((name, offered.version, cluster))
            if (name, offered.version, cluster) in told:
                continue
            rejection = self._clusters.rejections.get(cluster)
            words = f"cluster {cluster}: {rejection.message if rejection is not None else 'Envoy does not take it'}"
            last = hosts.table.last_taken(name)
            routes = routes_to(cluster, offered, None if last is offered else last)
            if routes:
                yield RejectedResource(type_url, Guilty(offered, last, "", words, routes))

    def _delivery(self, type_url: str) -> Delivery:
        if not type_url:
            raise invalid("the request has no type_url, which an aggregated stream needs")
        delivery = self._deliveries.get(type_url)
        if delivery is None:
            if len(self._deliveries) >= len(PUSH_ORDER) + self._limits.types:
                raise exhausted(f"the stream asks for more than {self._limits.types} types that are not served here")
            delivery = Delivery(rule_of(type_url), self._view.table(type_url), self._limits.names)
            self._deliveries[type_url] = delivery
        return delivery

    def _take_answer(self, delivery: Delivery, request: Request) -> Items | None:
        """Takes an answer in; what was in the response, if it was acknowledged."""
        url, nonce = request.type_url, request.nonce
        if request.error is not None:
            error = ErrorDetail(request.error.code, redact(request.error.message))
            items = delivery.reject(nonce, error)
            if items is not None:
                # Else it answers nothing that we know of, and whoever sends it could fill the log with it.
                self._facts.append(Rejected(url, nonce, items, error))
        else:
            items = delivery.acknowledge(nonce) if nonce else None
            if items is not None:
                self._facts.append(Acknowledged(url, nonce, len(items)))
        if items is None:
            return None
        if delivery is self._clusters:
            self._patience.clusters_answered(nonce)
            self._gate.clusters_answered(items, nonce)
        elif request.error is None and delivery is self._routes:
            self._virtual_hosts.routes_taken(items, nonce)
        return items if request.error is None else None

    def _subscribe_routes(self, request: Request) -> None:
        """RDS subscriptions decide about virtual hosts, too."""
        routes, hosts = self._routes, self._virtual_hosts
        first = not routes.asked
        update: Update
        if first:
            update = routes.begin(request.subscribe, request.unsubscribe, request.versions)
        else:
            update = routes.update(request.subscribe, request.unsubscribe)
        for name in update.dropped:
            hosts.withdraw(name)
        for name in routes.table.names() if update.gained_all else update.answer:
            entry = routes.table.get(name)
            if entry is not None and holds_virtual_hosts(entry.resource.body):
                continue
            if routes.is_in_step(name):
                hosts.recall(name)
            else:
                hosts.introduce(name)
        if first:
            hosts.routes_asked()

    # Out.

    def next_response(self, now: float = 0.0) -> Response | None:
        """What may be sent now, composed from the newest state; None when there is nothing, or all of it has to wait.

        Args:
            now: Seconds on any clock that does not go back.
        """
        self._pass_time(now)
        found = sequence.next_draft(self._deliveries)
        if found is None:
            return None
        delivery, draft = found
        return self._send(delivery, draft, now)

    def responses(self, now: float = 0.0) -> list[Response]:
        """All that may be sent now, in order."""
        return list(iter(lambda: self.next_response(now), None))

    def _send(self, delivery: Delivery, draft: Draft, now: float) -> Response:
        self._nonces += 1
        nonce = str(self._nonces)
        versions: dict[str, str] = {}
        removed = list(draft.removals)
        parts: list[bytes] = []
        for entry in draft.additions:
            pieces = entry.parts()
            if pieces is None:
                removed.append(entry.name)
            else:
                versions[entry.name] = entry.version
                parts += pieces
        for forgotten in delivery.sent(draft, nonce, now):
            if delivery is self._clusters:
                self._gate.clusters_given_up(forgotten)
        self._patience.sent(delivery, nonce, now)
        if delivery is self._routes:
            self._virtual_hosts.routes_sent(versions, nonce)
        elif delivery is self._clusters:
            self._gate.clusters_sent(draft.additions, nonce)
            self._follow_clusters(draft.additions)
        return Response(delivery.rule.url, nonce, versions, tuple(sorted(removed)), parts)

    def _follow_clusters(self, clusters: list[Entry]) -> None:
        """After a cluster its load assignment, also an unchanged one: a changed cluster warms until it comes (P8).

        A proxy that has not asked for load assignments and did not hold clusters before drops what it did not ask for, and
        asks as soon as it has the clusters; it is answered then.
        """
        assignments = self._assignments
        if assignments.asked or self._clusters.resumed:
            for cluster in clusters:
                name = load_assignment_of(cluster.resource.body) or cluster.name  # P17
                if assignments.table.get(name) is not None:
                    assignments.owe(name)

    # Time.

    @property
    def deadline(self) -> float | None:
        """When ``next_response`` may have more to say although nothing came in."""
        return min((time for time in (self._gate.deadline, self._patience.deadline) if time is not None), default=None)

    def _pass_time(self, now: float) -> None:
        self._gate.pass_time(now)
        overdue, facts = self._patience.pass_time(now, self._view.rejected(CDS.url))
        self._facts += facts
        for delivery, nonce in overdue:
            items = delivery.expire(nonce)
            if delivery is self._routes:
                self._virtual_hosts.routes_taken(items, nonce)
        self._gate.look()

    # For people.

    @property
    def is_settled(self) -> bool:
        """The proxy has acknowledged or rejected everything that it is to have."""
        return all(delivery.is_settled for delivery in self._deliveries.values())

    def listeners_in_use(self) -> tuple[str, ...]:
        """Listeners that the proxy has in use, sorted: it took them, and the virtual hosts of all that they name.

        Its acknowledgement of a listener says less: that waits for its RouteConfigurations (trap 6).
        """
        listeners = self._listeners
        names = {*listeners.table.names(), *listeners.held}
        return tuple(sorted(name for name in names if listeners.exists(name) and self._is_served(name)))

    def _is_served(self, listener: str) -> bool:
        entry = self._listeners.desired(listener)
        names = () if entry is None else entry.resource.route_configurations
        return all(self._virtual_hosts.serves(name) or self._is_whole(name) for name in names)

    def _is_whole(self, route_configuration: str) -> bool:
        """Whether the proxy has this RouteConfiguration, and it holds its virtual hosts itself."""
        entry = self._routes.table.get(route_configuration)
        holds = entry is not None and holds_virtual_hosts(entry.resource.body)
        return holds and self._routes.interest.wants(route_configuration) and self._routes.exists(route_configuration)

    @property
    def rejected(self) -> int:
        """How many resources the proxy does not hold in the newest version because it rejected them."""
        return sum(len(delivery.rejections) for delivery in self._deliveries.values())

    def statistics(self, *, versions: bool = True) -> dict[str, Any]:
        """The ledger, by type URL, in JSON's types.

        Args:
            versions: Whether names and versions are listed, or only counted. Cost of the list: O(resources).
        """
        return {
            url: describe(delivery, versions=versions)
            for url, delivery in sorted(self._deliveries.items())
            if delivery.asked or delivery.counters["responses"]
        }

    def resource_states(self) -> Iterator[list[ResourceState]]:
        """How each resource stands, type by type, each list whole when it comes. Cost: O(resources)."""
        for url, delivery in sorted(self._deliveries.items()):
            if delivery.asked or delivery.counters["responses"]:
                yield list(resource_states(delivery, self._view.rejected(url)))
