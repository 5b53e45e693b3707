"""What the engine costs, without a gateway in sight: ``python -m bench.engine_scale``.

CPU time of this process, so that a busy machine does not show; medians unless said otherwise. Garbage collection is frozen after
each load, as the control plane does. Memory is measured in a process of its own.

The shapes are those of the reference (istio's BenchmarkControllers and the stalls reported against it), so that the figures can be
laid beside others.
"""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from time import process_time

import msgspec

from controlplane.krt import Collection, Fetch, Graph, Index, Selector, Source


class Pod(msgspec.Struct, frozen=True):
    """As much of a pod as a workload needs."""

    key: str
    name: str
    namespace: str
    ip: str
    labels: dict[str, str]
    ready: bool = True


class Service(msgspec.Struct, frozen=True):
    """As much of a service as a workload needs."""

    key: str
    namespace: str
    selector: Selector


class Workload(msgspec.Struct, frozen=True):
    """A pod, and the services that select it."""

    key: str
    ip: str
    services: tuple[str, ...]


class Shape:
    """Pods, services, and workloads made of both: by an index on the namespace, or by the services' selectors."""

    def __init__(self, *, by_selector: bool) -> None:
        self.graph = Graph()
        self.pods: Source[Pod] = self.graph.source("pods", Pod)
        self.services: Source[Service] = self.graph.source(
            "services", Service, selector=lambda s: s.selector, namespace=lambda s: s.namespace
        )
        by_namespace: Index[Service] = self.services.index("by_namespace", lambda s: s.namespace)

        def by_index(pod: Pod, fetch: Fetch) -> Workload:
            names = tuple(s.key for s in fetch.by(by_namespace, pod.namespace) if s.selector.match(pod.labels))
            return Workload(pod.key, pod.ip, names)

        def by_labels(pod: Pod, fetch: Fetch) -> Workload:
            found = fetch.selecting(self.services, pod.labels, pod.namespace)
            return Workload(pod.key, pod.ip, tuple(s.key for s in found))

        self.workloads: Collection[Workload] = self.graph.map(
            "workloads",
            Workload,
            self.pods,
            by_labels if by_selector else by_index,
            reads=(self.services, by_namespace),
        )
        self.seq = 0

    def load(self, pods: int, services: int, namespaces: int, apps: int) -> None:
        """Fill it in one transaction."""
        self.seq += 1
        tx = self.graph.begin(self.seq)
        for i in range(services):
            namespace = f"ns-{i % namespaces}"
            tx.put(self.services, Service(f"{namespace}/svc-{i}", namespace, Selector((("app", f"app-{i % apps}"),))))
        for i in range(pods):
            tx.put(self.pods, self.pod(i, namespaces, apps, 0))
        tx.commit()

    def pod(self, i: int, namespaces: int, apps: int, version: int) -> Pod:
        """The pod of a number; another version is another address."""
        namespace, name = f"ns-{i % namespaces}", f"pod-{i}"
        ip = f"10.{version % 200}.{i // 256 % 256}.{i % 256}"
        return Pod(f"{namespace}/{name}", name, namespace, ip, {"app": f"app-{i % apps}"})


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    began = process_time()
    work()
    return process_time() - began


def frozen() -> None:
    """Take what lives now out of the garbage collector's sight."""
    gc.collect()
    gc.freeze()


def controllers(*, by_selector: bool, together: bool) -> float:
    """1,000 pods of two namespaces change their address; 50 services, 25 apps. Seconds for all of them."""
    shape = Shape(by_selector=by_selector)
    shape.load(1000, 50, 2, 25)
    frozen()
    found = []
    for version in range(1, 21):
        pods = [shape.pod(i, 2, 25, version) for i in range(1000)]

        def change(pods: list[Pod] = pods) -> None:
            if together:
                shape.seq += 1
                tx = shape.graph.begin(shape.seq)
                for pod in pods:
                    tx.put(shape.pods, pod)
                tx.commit()
                return
            for pod in pods:
                shape.seq += 1
                tx = shape.graph.begin(shape.seq)
                tx.put(shape.pods, pod)
                tx.commit()

        found.append(cpu(change))
    return median(found)


def one_among(pods: int) -> tuple[float, float]:
    """One pod of many changes its address. Seconds: median, 99th percentile of 5,000."""
    shape = Shape(by_selector=True)
    shape.load(pods, 1000, 100, 25)
    frozen()
    found = []
    for n in range(5000):
        pod = shape.pod(n * 7919 % pods, 100, 25, 1 + n % 150)

        def change(pod: Pod = pod) -> None:
            shape.seq += 1
            tx = shape.graph.begin(shape.seq)
            tx.put(shape.pods, pod)
            tx.commit()

        found.append(cpu(change))
    return median(found), quantiles(found, n=100)[98]


def burst() -> float:
    """200 of 10,000 pods change at once, and 500 readers look at all pods. Seconds."""
    graph = Graph()
    shape = Shape(by_selector=True)
    pods = graph.source("pods", Pod)
    policies = graph.source("policies", Service)

    def count(policy: Service, fetch: Fetch) -> Workload:
        found = sum(1 for pod in fetch.all(pods) if pod.ready)
        return Workload(policy.key, str(found), ())

    graph.map("policy_pods", Workload, policies, count, reads=(pods,))
    tx = graph.begin(1)
    for i in range(10_000):
        tx.put(pods, shape.pod(i, 2, 25, 0))
    for i in range(500):
        tx.put(policies, Service(f"ns/{i}", "ns", Selector()))
    tx.commit()
    frozen()
    found = []
    for seq in range(2, 5):
        tx = graph.begin(seq)
        for i in range(200):
            tx.put(pods, shape.pod(i, 2, 25, seq))
        found.append(cpu(tx.commit))
    return median(found)


def by_key() -> float:
    """One row changes that one of 20,000 readers read by its key. Seconds."""
    graph = Graph()
    shape = Shape(by_selector=True)
    pods = graph.source("pods", Pod)
    references = graph.source("references", Service)

    def resolve(reference: Service, fetch: Fetch) -> Workload:
        pod = fetch(pods, reference.namespace)
        return Workload(reference.key, "" if pod is None else pod.ip, ())

    graph.map("resolved", Workload, references, resolve, reads=(pods,))
    tx = graph.begin(1)
    for i in range(20_000):
        pod = shape.pod(i, 2, 25, 0)
        tx.put(pods, pod)
        tx.put(references, Service(f"reference-{i}", pod.key, Selector()))
    tx.commit()
    frozen()
    found = []
    for seq in range(2, 2002):
        tx = graph.begin(seq)
        tx.put(pods, shape.pod(seq * 7 % 20_000, 2, 25, seq))
        found.append(cpu(tx.commit))
    return median(found)


def load(pods: int) -> None:
    """Load many pods in this process; prints CPU seconds, and octets of memory that it took."""
    shape = Shape(by_selector=True)
    seconds = cpu(lambda: shape.load(pods, 1000, 100, 25))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(seconds, pages * resource.getpagesize(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> None:
    """Print every figure."""
    print("1,000 pods changed, 50 services, 2 namespaces (one transaction / one each)")
    for by_selector, name in ((False, "namespace index"), (True, "selector index")):
        together = controllers(by_selector=by_selector, together=True)
        alone = controllers(by_selector=by_selector, together=False)
        print(f"  {name:36}{together * 1e3:8.2f} ms {alone * 1e3:8.2f} ms")
    middle, worst = one_among(100_000)
    print(f"one pod among 100,000{'':17}p50 {middle * 1e6:4.0f} us   p99 {worst * 1e6:4.0f} us")
    print(f"one row by key, 20,000 readers{'':8}{by_key() * 1e6:8.1f} us")
    print(f"200 of 10,000 rows, 500 readers of all{burst() * 1e3:8.0f} ms")
    runs = []
    for _ in range(3):
        command = [sys.executable, "-m", "bench.engine_scale", "load"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        runs.append([float(part) for part in out.split()])
    seconds, now, peak = (median(column) for column in zip(*runs, strict=True))
    print(f"100,000 pods loaded{'':19}{seconds:8.2f} s  {now / 1e6:5.0f} MB resident, peak {peak / 1e6:.0f} MB")


if __name__ == "__main__":
    if sys.argv[1:] == ["load"]:
        load(100_000)
    else:
        main()
