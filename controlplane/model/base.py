"""What every row of the model is: a frozen struct that spells its fields as the APIs do.

Nobody changes a row, so rows are shared between collections, threads and the log without copies. Lists are tuples; maps are
plain dicts that nobody writes to. Defaults are the API's, and are left out when a row becomes JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from controlplane.model.scalars import INT64_MAX, Timestamp


class Row(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """A part of an object. Not tracked by the garbage collector: what was decoded from a document has no cycles."""


class ObjectMeta(Row, frozen=True, kw_only=True, gc=False):
    """What we keep of an object's metadata.

    ``managedFields``, ``resourceVersion``, ``uid`` and their like are projected away, so that a change of them is no change.
    """

    name: str
    namespace: str = ""
    """Empty for cluster-scoped kinds only; decoding fills in ``default`` for the others."""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Without those that repeat the object (``kubectl.kubernetes.io/last-applied-configuration``); none of Node, Pod, Secret."""
    generation: Annotated[int, Meta(ge=0, le=INT64_MAX)] | None = None
    """The server's count of changes to the specification; None for an object of a file that does not say."""
    creation_timestamp: Timestamp | None = None


class NamespacedObject(Row, frozen=True, kw_only=True, gc=False, tag_field="kind", tag=True):
    """An object that lives in a namespace."""

    kind: ClassVar[str]
    namespaced: ClassVar[bool] = True

    api_version: str
    metadata: ObjectMeta

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.metadata.namespace}/{self.metadata.name}"


class ClusterObject(Row, frozen=True, kw_only=True, gc=False, tag_field="kind", tag=True):
    """An object that belongs to no namespace."""

    kind: ClassVar[str]
    namespaced: ClassVar[bool] = False

    api_version: str
    metadata: ObjectMeta

    @property
    def key(self) -> str:
        """The name."""
        return self.metadata.name
