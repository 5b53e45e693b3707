"""The commands. Nothing here decides anything: it reads options, calls the runtime, and shows what comes back."""

from controlplane.cli.main import main

__all__ = ["main"]
