"""Metrics, read from the parts that have them when somebody asks: nothing is counted twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.log import LogStatistics
from controlplane.model.served_names import short_type
from controlplane.runtime.core import Core
from controlplane.runtime.readiness import Readiness, Standing


class ControlPlaneCollector(Collector):
    """Every metric of ours.

    Args:
        core: Whose log and state are told of.
        readiness: Its checks.
        recorded: Proxies that a recorded log knows and that are not connected.
    """

    def __init__(self, core: Core, readiness: Readiness, recorded: Collection[str] = ()) -> None:
        self._core = core
        self._readiness = readiness
        self._recorded = recorded

    def collect(self) -> Iterable[Metric]:
        """The metrics as of now."""
        yield from self._sources()
        yield from self._readiness_metrics()
        yield from self._collections()
        yield from self._log(self._core.log.statistics())
        yield from self._proxies()
        yield from self._rejections()

    def _sources(self) -> Iterator[Metric]:
        errors = GaugeMetricFamily(
            "controlplane_source_errors", "Objects and files that are wrong now, by source.", labels=["source"]
        )
        base = self._core.state.rows.base
        counts: dict[str, int] = {row.key[1]: 0 for row in base.source_kinds.rows()}
        for wrong in self._core.state.rows.errors.rows():
            counts[wrong.key] = counts.get(wrong.key, 0) + wrong.count
        for part in base.source_parts.rows():
            counts[part.key[0]] = counts.get(part.key[0], 0) + 1
        for source, count in sorted(counts.items()):
            errors.add_metric([source], count)
        yield errors
        synced = GaugeMetricFamily(
            "controlplane_source_synced", "Whether the first list of a kind is in.", labels=["source", "kind"]
        )
        for row in base.source_kinds.rows():
            synced.add_metric([row.key[1], row.key[0]], float(row.synced))
        yield synced
        since = self._core.state.stale_since
        age = max(0.0, time.time() - datetime.fromisoformat(since).timestamp()) if since else 0.0
        text = "Age of the log's state that is served until all sources are synced; 0 where it is not."
        yield GaugeMetricFamily("controlplane_served_from_log_seconds", text, value=age)

    def _readiness_metrics(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily("controlplane_ready", "Whether a layer is ready.", labels=["layer"])
        degraded = GaugeMetricFamily("controlplane_degraded", "Checks of a layer that are degraded.", labels=["layer"])
        by_layer: dict[str, list[Standing]] = {}
        for check in self._readiness.checks():
            by_layer.setdefault(check.layer, []).append(check.standing)
        for layer, standings in by_layer.items():
            ready.add_metric([layer], float(Standing.FAILED not in standings))
            degraded.add_metric([layer], standings.count(Standing.DEGRADED))
        yield ready
        yield degraded
        reached = GaugeMetricFamily(
            "controlplane_time_to_ready_seconds", "From the start until a layer was first ready.", labels=["layer"]
        )
        for layer, seconds in self._readiness.reached().items():
            reached.add_metric([layer], seconds)
        yield reached

    def _collections(self) -> Iterator[Metric]:
        rows = GaugeMetricFamily("controlplane_collection_rows", "Rows.", labels=["collection"])
        failures = GaugeMetricFamily("controlplane_collection_failures", "Keys that fail now.", labels=["collection"])
        runs = CounterMetricFamily("controlplane_collection_runs", "Runs of its function.", labels=["collection"])
        changes = CounterMetricFamily("controlplane_collection_changes", "Rows that changed.", labels=["collection"])
        seconds = CounterMetricFamily("controlplane_collection_seconds", "Time spent.", labels=["collection"])
        for collection in self._core.state.graph.collections:
            statistics = collection.statistics()
            labels = [collection.name]
            rows.add_metric(labels, statistics.rows)
            failures.add_metric(labels, statistics.failures)
            runs.add_metric(labels, statistics.runs)
            changes.add_metric(labels, statistics.changes)
            seconds.add_metric(labels, statistics.seconds)
        yield from (rows, failures, runs, changes, seconds)

    def _log(self, log: LogStatistics) -> Iterator[Metric]:
        yield GaugeMetricFamily("controlplane_log_seq", "Seq of the last event.", value=log.last_seq)
        yield GaugeMetricFamily("controlplane_log_oldest_seq", "Seq of the oldest event kept.", value=log.first_seq)
        writable = float(not (log.failure or self._core.refusal))
        yield GaugeMetricFamily("controlplane_log_writable", "Whether the last append was taken.", value=writable)
        dropped = log.dropped_segments
        yield CounterMetricFamily("controlplane_log_dropped_segments", "Segments dropped as old.", value=dropped)
        yield CounterMetricFamily("controlplane_log_dropped_bytes", "Size of these.", value=log.dropped_octets)
        yield GaugeMetricFamily("controlplane_log_bytes", "Size of all segments.", value=log.octets)
        yield GaugeMetricFamily("controlplane_log_segments", "Segments.", value=log.segments)
        yield GaugeMetricFamily("controlplane_log_unsynced_events", "Events not synced yet.", value=log.unsynced)
        yield CounterMetricFamily("controlplane_log_syncs", "Syncs done.", value=log.syncs)
        yield CounterMetricFamily("controlplane_log_sync_seconds", "Time that syncs took.", value=log.sync_seconds)

    def _proxies(self) -> Iterator[Metric]:
        base = self._core.state.rows.base
        connected = GaugeMetricFamily("controlplane_proxies", "Proxies with a stream open.", labels=["gateway"])
        counts: dict[str, int] = {}
        for proxy in base.proxies.rows():
            if proxy.key not in self._recorded:
                counts[proxy.gateway] = counts.get(proxy.gateway, 0) + 1
        for gateway, count in sorted(counts.items()):
            connected.add_metric([gateway], count)
        yield connected
        classes = GaugeMetricFamily(
            "controlplane_client_classes", "Classes of proxies that no rule tells apart.", labels=["gateway"]
        )
        sizes = Counter(row.key[0] for row in self._core.state.rows.clients.classes.rows())
        for gateway, count in sorted(sizes.items()):
            classes.add_metric([gateway], count)
        yield classes
        rejected = GaugeMetricFamily(
            "controlplane_proxies_rejecting", "Connected proxies that rejected a response of a type.", labels=["type"]
        )
        by_type: dict[str, int] = {}
        for row in base.proxy_rejections.rows():
            if row.key in self._recorded:
                continue
            for rejection in row.rejections:
                name = rejection.type_url.rpartition(".")[2]
                by_type[name] = by_type.get(name, 0) + 1
        for name, count in sorted(by_type.items()):
            rejected.add_metric([name], count)
        yield rejected

    def _rejections(self) -> Iterator[Metric]:
        base = self._core.state.rows.base
        rejected = GaugeMetricFamily(
            "controlplane_rejected_resources",
            "Resources whose newest form proxies do not take, so that another is served.",
            labels=["gateway", "type"],
        )
        by_type = Counter((row.key[0], short_type(row.key[1])) for row in base.rejections.rows())
        for (gateway, name), count in sorted(by_type.items()):
            rejected.add_metric([gateway, name], count)
        yield rejected
        withheld = GaugeMetricFamily(
            "controlplane_withheld_deliveries",
            "Resources that proxies wait with for clusters, each counted for each proxy.",
            labels=["gateway"],
        )
        for gateway, count in sorted(Counter(row.gateway for row in base.withheld.rows()).items()):
            withheld.add_metric([gateway], count)
        yield withheld


def make_registry(core: Core, readiness: Readiness, recorded: Collection[str] = ()) -> CollectorRegistry:
    """A registry with our metrics and the process's; the arguments are the collector's."""
    registry = CollectorRegistry()
    registry.register(ControlPlaneCollector(core, readiness, recorded))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry
