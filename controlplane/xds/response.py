"""A response on its way out of the machine: what it says, and the shared bytes that it is composed of."""

from collections.abc import Sequence

from controlplane.xds.types import label_of
from controlplane.xds.wire import compose_response


class Response:
    """One ``DeltaDiscoveryResponse``.

    Attributes:
        type_url: Of all its resources.
        nonce: Unique on its stream (S4).
        versions: Name to version of the resources in it, sorted by name.
        removed: Names in ``removed_resources``, sorted.
        parts: Heads and bodies of the resources, in turn. A secret's is among them: they are for the wire only.
    """

    __slots__ = ("nonce", "parts", "removed", "type_url", "versions")

    def __init__(
        self,
        type_url: str,
        nonce: str,
        versions: dict[str, str],
        removed: tuple[str, ...],
        parts: Sequence[bytes],
    ) -> None:
        self.type_url = type_url
        self.nonce = nonce
        self.versions = versions
        self.removed = removed
        self.parts = parts

    def encode(self, *, system_version: str = "", control_plane: str = "") -> bytes:
        """The message. Cost: one copy of its octets."""
        return compose_response(
            type_url=self.type_url,
            nonce=self.nonce,
            resources=self.parts,
            removed=self.removed,
            system_version=system_version,
            control_plane=control_plane,
        )

    def __repr__(self) -> str:
        return f"<{label_of(self.type_url)} {self.nonce}: {self.versions}, removed {self.removed}>"
