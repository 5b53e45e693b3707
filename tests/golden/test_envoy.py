"""A real Envoy accepts every golden case: what was read and found right must also be what Envoy takes.

Each Gateway's resources are made into one static configuration (virtual hosts inline, a certificate in place of the Secrets, of
which documents hold a digest) for ``envoy --mode validate``, which checks all that Envoy checks when it loads them.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.infra.binary import find_envoy

FOLDER = Path(__file__).parent
CASES = sorted(path.parent.name for path in FOLDER.glob("*/xds.yaml"))
TYPE = "type.googleapis.com/envoy."

Json = dict[str, Any]


def load(path: Path) -> list[Json]:
    with path.open() as text:
        return list(yaml.load_all(text, Loader=yaml.CSafeLoader))


def certificate() -> Json:
    """Certificate and key of a Secret of the cases."""
    (secret, *_) = (made for made in load(FOLDER / "https-by-sni" / "in.yaml") if made["kind"] == "Secret")
    chain, key = (secret["data"][name] for name in ("tls.crt", "tls.key"))
    return {"certificateChain": {"inlineBytes": chain}, "privateKey": {"inlineBytes": key}}


def static(resources: dict[str, dict[str, Json]]) -> Json:
    """One Gateway's resources as a bootstrap."""

    def of(name: str) -> dict[str, Json]:
        return {key: entry["resource"] for key, entry in resources.get(f"{TYPE}{name}", {}).items()}

    def plain(message: Json) -> Json:
        return {key: value for key, value in message.items() if key != "@type"}

    configurations = {}
    for name, configuration in of("config.route.v3.RouteConfiguration").items():
        hosts = [plain(host) for key, host in of("config.route.v3.VirtualHost").items() if key.startswith(f"{name}/")]
        configurations[name] = {key: value for key, value in plain(configuration).items() if key != "vhds"} | {
            "virtualHosts": hosts,
            # As for routes that come by RDS.
            "validateClusters": False,
        }
    listeners = []
    for listener in of("config.listener.v3.Listener").values():
        for chain in listener["filterChains"]:
            manager = chain["filters"][0]["typedConfig"]
            manager["routeConfig"] = configurations[manager.pop("rds")["routeConfigName"]]
            if "transportSocket" in chain:
                context = chain["transportSocket"]["typedConfig"]["commonTlsContext"]
                del context["tlsCertificateSdsSecretConfigs"]
                context["tlsCertificates"] = [certificate()]
        listeners.append(plain(listener))
    clusters = []
    for name, cluster in of("config.cluster.v3.Cluster").items():
        assignment = of("config.endpoint.v3.ClusterLoadAssignment")[name]
        changed = {"type": "STATIC", "loadAssignment": plain(assignment)}
        clusters.append({key: value for key, value in plain(cluster).items() if key != "edsClusterConfig"} | changed)
    runtime = {"re2.max_program_size.error_level": 4294967295}
    return {
        "staticResources": {"listeners": listeners, "clusters": clusters},
        "layeredRuntime": {"layers": [{"name": "test", "staticLayer": runtime}]},
    }


@pytest.mark.envoy
@pytest.mark.parametrize("case", CASES)
def test_envoy_accepts_it(case: str, tmp_path: Path) -> None:
    (gateways,) = load(FOLDER / case / "xds.yaml")
    for name, resources in gateways.items():
        bootstrap = tmp_path / "bootstrap.json"
        bootstrap.write_text(json.dumps(static(resources)))
        run = subprocess.run(
            [find_envoy(), "--mode", "validate", "-c", bootstrap, "-l", "error"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert run.returncode == 0, f"{name}: {run.stdout}{run.stderr}"
