"""Who may refer across namespaces. Source: Gateway API v1, ReferenceGrant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from controlplane.krt import Collection, Fetch, Graph, Index
from controlplane.model.gateway import ReferenceGrant
from controlplane.model.ir import Permission
from controlplane.reducers.base import Base

GATEWAY_GROUP: Final = "gateway.networking.k8s.io"


@dataclass(frozen=True)
class Grants:
    """The permissions and the index that answers."""

    permissions: Collection[Permission]
    by_pair: Index[Permission]

    def permit(self, fetch: Fetch, *, kind: str, namespace: str, to_kind: str, to_namespace: str, to_name: str) -> bool:
        """Whether an object of ``kind`` in ``namespace`` may refer to that object. Within a namespace always."""
        if namespace == to_namespace:
            return True
        pair = (kind, namespace, to_kind, to_namespace)
        return bool(fetch.by(self.by_pair, (*pair, to_name)) or fetch.by(self.by_pair, (*pair, "")))


def expand_grant(grant: ReferenceGrant, fetch: Fetch) -> Iterator[Permission]:
    """Every pair of a grant's ``from`` and ``to``."""
    for i, source in enumerate(grant.spec.from_):
        for j, target in enumerate(grant.spec.to):
            yield Permission(
                key=(grant.key, i, j),
                from_kind=f"{source.group}/{source.kind}",
                from_namespace=source.namespace,
                to_kind=f"{target.group}/{target.kind}",
                to_namespace=grant.metadata.namespace,
                to_name=target.name or "",
            )


def declare_grants(graph: Graph, base: Base) -> Grants:
    """Declare the permissions."""
    permissions = graph.map("permissions", Permission, base.reference_grants, expand_grant)
    return Grants(
        permissions,
        permissions.index(
            "permissions_by_pair",
            lambda p: (p.from_kind, p.from_namespace, p.to_kind, p.to_namespace, p.to_name),
        ),
    )
