"""The command line.

Commands import what they run when they run it, so that ``--help`` does not wait for Envoy's messages.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from controlplane.runtime.errors import known_errors

app = typer.Typer(
    name="controlplane",
    help="A Gateway API control plane for Envoy that remembers everything.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
log_app = typer.Typer(help="Look into a log.", no_args_is_help=True)
app.add_typer(log_app, name="log")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(version("controlplane"))
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """A Gateway API control plane for Envoy that remembers everything."""


Output = Annotated[Literal["json", "yaml"], typer.Option("--output", "-o", help="Form of the document.")]
LogDir = Annotated[Path, typer.Argument(help="The folder of a log.", metavar="LOG_DIR")]
Labels = Annotated[
    list[str] | None, typer.Option("--proxy-label", help="A label of that Envoy's.", metavar="KEY=VALUE")
]
IngressUseWaypoints = Annotated[
    bool | None,
    typer.Option(
        "--ingress-use-waypoints/--no-ingress-use-waypoints",
        help="Whether istio.io/ingress-use-waypoint is looked at; else INGRESS_USE_WAYPOINTS says, else it is.",
        show_default=False,
    ),
]
WaypointClasses = Annotated[
    list[str] | None,
    typer.Option(
        "--waypoint-class",
        help="A GatewayClass of ours whose Gateways are waypoints, beside controlplane-waypoint; else WAYPOINT_CLASSES says, "
        "with commas between them.",
        metavar="NAME",
    ),
]
RootNamespace = Annotated[
    str | None,
    typer.Option(
        help="Whose DestinationRules and AuthorizationPolicies hold everywhere (istio-system).", metavar="NAMESPACE"
    ),
]
ClusterDomain = Annotated[
    str | None, typer.Option(help="What the names of Services end in (cluster.local).", metavar="DOMAIN")
]
TrustDomain = Annotated[
    str | None, typer.Option(help="Of identities that are named without one (cluster.local).", metavar="DOMAIN")
]
ServeFromLog = Annotated[
    bool,
    typer.Option(
        "--serve-from-log/--no-serve-from-log",
        help="Serve the log's last complete state until the sources have been read again.",
    ),
]
LogMaxBytes = Annotated[
    str, typer.Option(help="Drop the log's oldest segments beyond this size; none keeps them.", metavar="SIZE")
]
LogMaxAge = Annotated[
    str, typer.Option(help="Drop segments whose last event is older (7d, 12h); none keeps them.", metavar="AGE")
]
LogSegmentBytes = Annotated[str, typer.Option(help="Size from which on a new segment is begun.", metavar="SIZE")]
DnsLookupFamily = Annotated[
    Literal["V4_PREFERRED", "V4_ONLY", "V6_ONLY", "AUTO", "ALL"] | None,
    typer.Option(help="Which addresses of a name are used (V4_PREFERRED)."),
]

XdsAuthority = Annotated[
    Path | None,
    typer.Option(
        "--xds-ca", help="PEM file of the authority that an Envoy trusts to name the control plane.", metavar="FILE"
    ),
]
XdsName = Annotated[
    str, typer.Option(help="What the control plane's certificate is for, if not the host in --xds.", metavar="NAME")
]
ClientCertificate = Annotated[
    str, typer.Option("--client-cert", help="PEM file of the certificate that an Envoy shows.", metavar="FILE")
]
ClientKey = Annotated[str, typer.Option("--client-key", help="PEM file of its private key.", metavar="FILE")]


@app.command()
def run(
    files: Annotated[Path | None, typer.Option(help="Folder of YAML manifests, watched.", metavar="DIR")] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Serve a recorded log instead; nothing is appended to it.", metavar="LOG_DIR")
    ] = None,
    until: Annotated[int | None, typer.Option(help="With --replay: as it was at this seq.", metavar="SEQ")] = None,
    log_dir: Annotated[Path, typer.Option(help="Where the log is kept.", metavar="DIR")] = Path(".controlplane/log"),
    no_log: Annotated[
        bool, typer.Option("--no-log", help="Keep the log in memory: nothing can be replayed later.")
    ] = False,
    state_dir: Annotated[
        Path, typer.Option(help="What the next start must find, the log aside.", metavar="DIR")
    ] = Path(".controlplane"),
    xds: Annotated[str, typer.Option(help="Where Envoys connect.", metavar="HOST:PORT")] = "127.0.0.1:18000",
    admin: Annotated[str, typer.Option(help="Probes, metrics, /debug.", metavar="HOST:PORT")] = "127.0.0.1:18001",
    infra: Annotated[
        Literal["none", "host"], typer.Option(help="host: run an Envoy for each Gateway on this machine.")
    ] = "none",
    insecure_xds: Annotated[bool, typer.Option("--insecure-xds", help="Allow plaintext xDS beyond loopback.")] = False,
    xds_cert: Annotated[
        Path | None, typer.Option(help="PEM file of the xDS port's certificate: TLS.", metavar="FILE")
    ] = None,
    xds_key: Annotated[Path | None, typer.Option(help="PEM file of its private key.", metavar="FILE")] = None,
    xds_client_ca: Annotated[
        Path | None,
        typer.Option(
            help="PEM file of the authority of Envoys' certificates; each must then name its Gateway.", metavar="FILE"
        ),
    ] = None,
    xds_limits: Annotated[
        list[str] | None,
        typer.Option("--xds-limit", help="A limit of the xDS port; repeat for more.", metavar="NAME=NUMBER"),
    ] = None,
    xds_ca: XdsAuthority = None,
    xds_name: XdsName = "",
    client_cert: ClientCertificate = "",
    client_key: ClientKey = "",
    debug_from_anywhere: Annotated[
        bool, typer.Option("--debug-from-anywhere", help="Answer /debug to other machines as well.")
    ] = False,
    client_status_from_anywhere: Annotated[
        bool, typer.Option("--client-status-from-anywhere", help="Answer CSDS, which shows all proxies, to all.")
    ] = False,
    fsync: Annotated[
        Literal["always", "grouped", "never"], typer.Option(help="When the log is synced to the disk.")
    ] = "grouped",
    serve_from_log: ServeFromLog = True,
    log_max_bytes: LogMaxBytes = "1Gi",
    log_max_age: LogMaxAge = "7d",
    log_segment_bytes: LogSegmentBytes = "64Mi",
    ingress_use_waypoints: IngressUseWaypoints = None,
    waypoint_classes: WaypointClasses = None,
    root_namespace: RootNamespace = None,
    cluster_domain: ClusterDomain = None,
    trust_domain: TrustDomain = None,
    dns_lookup_family: DnsLookupFamily = None,
) -> None:
    """Run the control plane."""
    from controlplane.runtime.launch import launch
    from controlplane.runtime.options import HostPort, RunOptions, mesh_settings, parse_age, parse_size
    from controlplane.runtime.xds_options import XdsOptions, envoys_tls, xds_settings

    options = RunOptions(
        files=files,
        replay=replay,
        until=until,
        log_dir=None if no_log or replay is not None else log_dir,
        state_dir=state_dir,
        xds=HostPort.parse(xds, "--xds"),
        admin=HostPort.parse(admin, "--admin"),
        infra=infra,
        insecure_xds=insecure_xds,
        debug_from_anywhere=debug_from_anywhere,
        client_status_from_anywhere=client_status_from_anywhere,
        fsync=fsync,
        security=XdsOptions(
            certificate=xds_cert,
            key=xds_key,
            client_ca=xds_client_ca,
            envoys=envoys_tls(xds_ca, client_cert, client_key, xds_name),
            settings=xds_settings(xds_limits or ()),
        ),
        serve_from_log=serve_from_log,
        log_max_bytes=parse_size(log_max_bytes, "--log-max-bytes"),
        log_max_age=parse_age(log_max_age, "--log-max-age"),
        log_segment_bytes=parse_size(log_segment_bytes, "--log-segment-bytes") or RunOptions.log_segment_bytes,
        mesh=mesh_settings(
            os.environ,
            ingress_use_waypoints=ingress_use_waypoints,
            waypoint_classes=waypoint_classes or (),
            root_namespace=root_namespace,
            cluster_domain=cluster_domain,
            trust_domain=trust_domain,
            dns_lookup_family=dns_lookup_family,
        ),
    )
    launch(options)


@app.command()
def quickstart(
    directory: Annotated[
        Path | None, typer.Option("--files", help="Folder of manifests; without it, the example's.", metavar="DIR")
    ] = None,
) -> None:
    """Two backends, the control plane, one Envoy, and what to try with curl. Ctrl-C ends all of it."""
    from controlplane.cli.quickstart import quickstart as start

    start(directory)


@app.command()
def translate(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders of manifests.", metavar="PATH...")],
    gateway: Annotated[str | None, typer.Option(help="Only what this Gateway is served.", metavar="NS/NAME")] = None,
    infra: Annotated[Literal["none", "host"], typer.Option(help="As in run.")] = "none",
    output: Output = "yaml",
    proxy_locality: Annotated[
        str, typer.Option(help="What an Envoy there would see.", metavar="REGION/ZONE/SUB_ZONE")
    ] = "",
    proxy_labels: Labels = None,
    proxy_namespace: Annotated[
        str | None, typer.Option(help="The Envoy's namespace; without it, its Gateway's.", metavar="NAMESPACE")
    ] = None,
    ingress_use_waypoints: IngressUseWaypoints = None,
    waypoint_classes: WaypointClasses = None,
    root_namespace: RootNamespace = None,
    cluster_domain: ClusterDomain = None,
    trust_domain: TrustDomain = None,
    dns_lookup_family: DnsLookupFamily = None,
) -> None:
    """Print what manifests would be served as, and the statuses; no server."""
    from controlplane.cli.show import show_translation
    from controlplane.runtime.offline import translate_paths
    from controlplane.runtime.options import AskedClient, mesh_settings

    translation = translate_paths(
        paths,
        infra,
        mesh_settings(
            os.environ,
            ingress_use_waypoints=ingress_use_waypoints,
            waypoint_classes=waypoint_classes or (),
            root_namespace=root_namespace,
            cluster_domain=cluster_domain,
            trust_domain=trust_domain,
            dns_lookup_family=dns_lookup_family,
        ),
        AskedClient.parse(proxy_locality, proxy_labels or (), proxy_namespace),
    )
    sys.exit(show_translation(translation, gateway, output))


@app.command()
def bootstrap(
    gateway: Annotated[str, typer.Option(help="The Gateway to serve.", metavar="NS/NAME")],
    xds: Annotated[
        str, typer.Option(help="Where Envoy reaches the control plane.", metavar="HOST:PORT")
    ] = "127.0.0.1:18000",
    node_id: Annotated[str, typer.Option(help="{pod}.{namespace}.", metavar="ID")] = "",
    locality: Annotated[str, typer.Option(help="Where the Envoy is.", metavar="REGION/ZONE/SUB_ZONE")] = "",
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", help="What rules may tell the Envoy by; repeat for more.", metavar="KEY=VALUE"),
    ] = None,
    admin: Annotated[str, typer.Option(help="Envoy's own admin interface.", metavar="HOST:PORT")] = "127.0.0.1:0",
    xds_ca: XdsAuthority = None,
    xds_name: XdsName = "",
    client_cert: ClientCertificate = "",
    client_key: ClientKey = "",
    secrets: Annotated[
        str,
        typer.Option(
            help="Write what an Envoy needs to follow renewed certificates into this folder; else it reads them once.",
            metavar="DIR",
        ),
    ] = "",
) -> None:
    """Print an Envoy bootstrap that connects to a running control plane."""
    from controlplane.cli.show import show_bootstrap

    show_bootstrap(
        gateway,
        xds,
        node_id,
        locality,
        labels or (),
        admin,
        authority=xds_ca,
        certificate=client_cert,
        key=client_key,
        name=xds_name,
        secrets=secrets,
    )


@app.command()
def replay(
    log_dir: LogDir,
    until: Annotated[int | None, typer.Option(help="As it was at this seq.", metavar="SEQ")] = None,
    diff: Annotated[
        tuple[int, int] | None, typer.Option(help="What changed between two seqs.", metavar="SEQ1 SEQ2")
    ] = None,
    output: Output = "yaml",
) -> None:
    """Print the state that a log gives, at any moment."""
    from controlplane.cli.show import show_difference, show_replay

    if diff is not None:
        show_difference(log_dir, diff[0], diff[1], output)
    else:
        show_replay(log_dir, until, output)


@app.command()
def held(
    log_dir: LogDir,
    at: Annotated[int, typer.Option(help="At this seq.", metavar="SEQ")],
    output: Output = "yaml",
) -> None:
    """Print what each Envoy held at any moment: names and versions of its resources."""
    from controlplane.cli.show import show_held

    show_held(log_dir, at, output)


@log_app.command("show")
def log_show(
    log_dir: LogDir,
    start: Annotated[int, typer.Option("--from", help="First seq.", metavar="SEQ")] = 1,
    until: Annotated[int | None, typer.Option(help="Last seq.", metavar="SEQ")] = None,
) -> None:
    """Print the events, one a line, as a person reads them."""
    from controlplane.cli.show import show_log

    show_log(log_dir, start, until)


@log_app.command("verify")
def log_verify(log_dir: LogDir) -> None:
    """Check every line of a log; exits with 1 if anything is damaged."""
    from controlplane.cli.show import show_verification

    sys.exit(show_verification(log_dir))


def main() -> None:
    """The command ``controlplane``: errors of ours are one line, not a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not isinstance(error, known_errors()):
            raise
        sys.stderr.write(f"controlplane: {error}\n")
        sys.exit(2)
