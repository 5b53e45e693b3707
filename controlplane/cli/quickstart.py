"""The quickstart: everything on this machine, in one picture."""

from __future__ import annotations

import shlex
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from controlplane.runtime.echo import Backend, serve_echo
from controlplane.runtime.errors import ControlPlaneError
from controlplane.runtime.launch import configure_logs, run_loop
from controlplane.runtime.narration import Line, follow
from controlplane.runtime.options import HostPort, RunOptions
from controlplane.runtime.serve import ControlPlane, running
from controlplane.runtime.suggestions import Suggestion, suggest_requests

_BACKENDS = (Backend("web", 9001), Backend("api", 9002))
_STATE = Path(".controlplane/quickstart")
_PATIENCE_SECONDS = 60.0


def example_directory() -> Path:
    """The example's manifests, in the source tree.

    Raises:
        ControlPlaneError: This is an installation without them.
    """
    for root in (Path.cwd(), Path(__file__).parents[2]):
        found = root / "examples" / "quickstart"
        if found.is_dir():
            return found
    raise ControlPlaneError("examples/quickstart is not here; start in the source tree, or name a folder with --files")


def quickstart(directory: Path | None) -> None:
    """The command ``quickstart``."""
    folder = directory or example_directory()
    options = RunOptions(
        files=folder,
        log_dir=_STATE / "log",
        state_dir=_STATE,
        infra="host",
        xds=HostPort("127.0.0.1", 18000),
        admin=HostPort("127.0.0.1", 18001),
        serve_from_log=False,  # what is shown is what the folder says now
    )
    options.check()
    _STATE.mkdir(parents=True, exist_ok=True)
    console = Console()
    with (_STATE / "output.log").open("a", encoding="utf-8") as output:
        configure_logs(output=output)
        run_loop(_run, options, console)
    console.print("\nAll stopped. What happened is in the log:")
    console.print(f"  .venv/bin/controlplane log show {_STATE / 'log'}", highlight=False)


async def _run(options: RunOptions, console: Console) -> None:
    async with AsyncExitStack() as stack:
        for backend in _BACKENDS:
            await stack.enter_async_context(serve_echo(backend))
        plane = await stack.enter_async_context(running(options))
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async with anyio.create_task_group() as group:
                group.start_soon(_show, plane, console)
                async for _ in signals:
                    break
                group.cancel_scope.cancel()


async def _show(plane: ControlPlane, console: Console) -> None:
    with console.status("starting the backends, the control plane and an Envoy ..."):
        with anyio.move_on_after(_PATIENCE_SECONDS) as patience:
            while not _is_up(plane):  # noqa: ASYNC110 (nobody tells when an Envoy is done)
                await anyio.sleep(0.1)
    if patience.cancelled_caught:
        console.print(f"[yellow]The Envoy is not ready yet; see {_STATE / 'controlplane.log'} and /debug/infra.")
    console.print(_picture(plane))
    console.print("[bold]Try:[/bold]")
    for suggestion in suggest_requests(plane.core.state):
        # Whole lines, so that they can be copied.
        console.print(f"  [dim]# {suggestion.expectation}[/dim]", highlight=False, soft_wrap=True)
        console.print(Text(f"  {curl(suggestion)}"), soft_wrap=True)
    console.print("\nCtrl-C ends all of it. From here on: what your edits do.\n")

    def tell(line: Line) -> None:
        console.print(f"{_MARKS[line.kind]}  {escape(line.text)}", highlight=False, soft_wrap=True)

    follow(plane.core, tell)


_MARKS = {
    "wrong": "[red]wrong [/red]",
    "mended": "[green]mended[/green]",
    "served": "[dim]served[/dim]",
    "note": "[yellow]note  [/yellow]",
}


def _is_up(plane: ControlPlane) -> bool:
    """Whether some proxy has acknowledged all that it was sent."""
    rows = plane.core.state.rows.base.proxies.rows()
    return plane.readiness.ready() and any(row.acknowledged for row in rows)


def _picture(plane: ControlPlane) -> Panel:
    parts = Table.grid(padding=(0, 2))
    parts.add_column(style="bold")
    parts.add_row("manifests", _short(plane.options.files), "each save is served")
    for backend in _BACKENDS:
        parts.add_row("backend", f"{backend.name} on 127.0.0.1:{backend.port}", "echoes requests")
    parts.add_row("control plane", f"xDS on {plane.options.xds}", "where Envoy connects")
    parts.add_row("", f"http://{plane.admin}", "readyz, metrics, debug")
    for gateway, statistics in (plane.infra.statistics() if plane.infra is not None else {}).items():
        parts.add_row("Envoy", f"for Gateway {gateway}", f"pid {statistics.pid}, admin {statistics.admin_port}")
    parts.add_row("output", _short(Path.cwd() / _STATE / "output.log"), "what it and Envoy say")
    parts.add_row("log", _short(plane.options.log_dir), "can be replayed")
    return Panel(parts, title="controlplane quickstart", title_align="left", expand=False)


def _short(path: Path | None) -> str:
    """A path as one would type it here."""
    if path is None:
        return ""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def curl(suggestion: Suggestion) -> str:
    """The command line of a request."""
    words = ["curl", "-s"]
    if suggestion.method != "GET":
        words += ["-X", suggestion.method]
    if suggestion.redirects:
        words.append("-i")
    for name, value in suggestion.headers:
        words += ["-H", f"{name}: {value}"]
    return shlex.join([*words, suggestion.url])
