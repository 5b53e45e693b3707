"""A folder of manifests, and the few manifests that name real ports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import yaml

from tests.conformance.manifests import NAMESPACE, Manifest, endpoint_slice, gateway_class, manifest

Objects = Manifest | Iterable[Manifest]


def flat(*objects: Objects) -> list[Manifest]:
    """One list of manifests of all these."""
    return [made for item in objects for made in ([item] if isinstance(item, dict) else item)]


def to_text(*objects: Objects) -> str:
    """The text of a file with these manifests."""
    return yaml.dump_all(flat(*objects), Dumper=yaml.CSafeDumper, sort_keys=False)


class Folder:
    """Manifests as files; ``class.yaml`` holds our GatewayClass from the beginning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.write("class.yaml", gateway_class())

    def write(self, name: str, *objects: Objects) -> None:
        """A file of these manifests, written in place."""
        self.write_text(name, to_text(*objects))

    def write_text(self, name: str, text: str) -> None:
        """A file, written in place."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def replace_text(self, name: str, text: str) -> None:
        """A file, written aside and put in its place, as careful editors do."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.swp")
        beside.write_text(text)
        beside.replace(path)

    def write_in_parts(self, name: str, text: str) -> None:
        """A file, written in place and not all at once."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", buffering=1) as file:
            for line in text.splitlines(keepends=True):
                file.write(line)

    def rename(self, name: str, new_name: str) -> None:
        """Another name for a file."""
        path = self.path / new_name
        path.parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).rename(path)

    def move_away(self) -> Path:
        """Take the whole folder away; where it is now."""
        return self.path.rename(self.path.with_name(f"{self.path.name}-away"))

    def move_back(self, away: Path, texts: Mapping[str, str] = MappingProxyType({})) -> None:
        """Bring it back in one go, with these files written meanwhile."""
        for name, text in texts.items():
            (away / name).write_text(text)
        away.rename(self.path)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.path / name).unlink()


def endpoints(name: str, ports: Sequence[int], namespace: str = NAMESPACE) -> list[Manifest]:
    """EndpointSlices of a Service whose endpoints are these ports of loopback, one each; without ports an empty one."""
    here = [{"addresses": ["127.0.0.1"]}]
    return [
        endpoint_slice(name, here, [{"port": port}], namespace=namespace, suffix=str(number))
        for number, port in enumerate(ports, 1)
    ] or [endpoint_slice(name, [], [{"port": 1}], namespace=namespace)]


def backend_service(name: str, *ports: int, namespace: str = NAMESPACE, **port_fields: object) -> list[Manifest]:
    """A Service with port 8080, and endpoints for it on these ports of loopback."""
    spec = {"ports": [{"port": 8080, **port_fields}]}
    return [manifest("Service", "v1", name, namespace, spec=spec), *endpoints(name, ports, namespace)]
