"""The clusters of a simulated proxy: what Envoy's cluster manager does with CDS responses, wedges included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.xds.offers import ClusterForm, read_cluster

SLOW_SECONDS = 23.0
"""How long a slow name server takes."""
INVALID = "Proto constraint validation failed (field: [value must be greater than 0s]): the whole message"
"""What the validation says that comes first: it names nothing, and nothing of the response is applied."""

Bodies = Mapping[str, bytes]
"""By name, in the order of the response."""


class WarmingCluster:
    """A cluster that is not in use yet."""

    def __init__(self, form: ClusterForm, ready_at: float) -> None:
        self.form = form
        self.ready_at = ready_at
        self.has_assignment = not form.assignment


class Clusters:
    """The cluster manager: clusters in use, warming ones, and wedged ones (trap 1)."""

    def __init__(self) -> None:
        self.active: dict[str, ClusterForm] = {}
        self.warming: dict[str, WarmingCluster] = {}
        self.wedged: dict[str, str] = {}
        """Taken into warming for ever, by version."""
        self.is_initialized = False
        """Whether the first clusters were all ready. Until then no answer waits, and listeners are not asked for."""
        self._is_told = False
        self._counted = 0

    @property
    def is_paused(self) -> bool:
        """Whether requests for clusters wait. One that was wedged alone is counted at the next change of any other."""
        return self._counted > 0 and self.is_initialized

    def take(self, bodies: Bodies, removed: Iterable[str], now: float) -> str | None:
        """Carries a response out; the error if there is one."""
        self._is_told = True
        forms = [read_cluster(body) for body in bodies.values()]
        if any(form.version[0] == "p" for form in forms):
            return INVALID
        for name in removed:
            self._remove(name)
        errors = [f"{form.name}: {error}" for form in forms if (error := self._update(form, now)) is not None]
        return f"Error adding/updating cluster(s) {', '.join(errors)}" if errors else None

    def _remove(self, name: str) -> None:
        found = [kind.pop(name, None) for kind in (self.active, self.warming, self.wedged)]
        if found != [None] * 3:
            self._count()

    def _update(self, form: ClusterForm, now: float) -> str | None:
        name = form.name
        current = self.warming[name].form if name in self.warming else self.active.get(name)
        if form.version == self.wedged.get(name, current.version if current is not None else None):
            return None  # the same as the newest, be that good or bad: nothing is done, and no error told
        if form.version[0] == "b":
            return "it says so"
        if form.version[0] == "w":
            self.warming.pop(name, None)
            self.wedged[name] = form.version
            return "The table size of maglev must be prime number"
        self.wedged.pop(name, None)
        self.warming[name] = WarmingCluster(form, now + SLOW_SECONDS if form.version[0] == "s" else now)
        self._count()
        return None

    def assign(self, assignment: str) -> None:
        """A load assignment was taken, or is said not to be."""
        for cluster in self.warming.values():
            if cluster.form.assignment == assignment:
                cluster.has_assignment = True

    def warm_up(self, secrets: Mapping[str, str | None], now: float) -> None:
        """Takes into use what has all that it needs."""
        for name, cluster in tuple(self.warming.items()):
            form = cluster.form
            if cluster.has_assignment and cluster.ready_at <= now and (not form.secret or form.secret in secrets):
                del self.warming[name]
                self.active[name] = form
                if self.is_initialized:
                    self._count()
        self.is_initialized = self.is_initialized or (self._is_told and not self.warming)

    def _count(self) -> None:
        if self.is_initialized:
            self._counted = len(self.warming) + len(self.wedged)

    def assignments(self) -> set[str]:
        """Load assignments that are wanted: for a cluster that is wedged and was never in use, none."""
        forms = [*self.active.values(), *(cluster.form for cluster in self.warming.values())]
        return {form.assignment for form in forms if form.assignment}

    def secrets(self) -> set[str]:
        """Secrets that are wanted: after the load assignment."""
        warming = [cluster.form for cluster in self.warming.values() if cluster.has_assignment]
        return {form.secret for form in [*self.active.values(), *warming] if form.secret}
