"""The graph as a drawing."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.krt.collection import Collection
from controlplane.krt.index import Index
from controlplane.krt.map import Map
from controlplane.krt.rows import Row

_SHAPES = {
    "source": ("[(", ")]"),
    "map": ("[", "]"),
    "group": ("[[", "]]"),
    "count": ("[[", "]]"),
    "union": ("{{", "}}"),
    "singleton": ("([", "])"),
}


def draw(collections: Sequence[Collection[Row]]) -> str:
    """A mermaid flowchart: what is declared, nothing that depends on rows, in declaration order.

    A full arrow is the input whose rows a collection is computed from, a dotted one what its function may read.
    """
    lines = ["flowchart LR"]
    for collection in collections:
        opening, closing = _SHAPES[collection.kind]
        lines.append(f'    {collection.name}{opening}"{collection.name}<br/>{collection.kind}"{closing}')
    for collection in collections:
        for position, read in enumerate(collection.inputs):
            if isinstance(read, Index):
                lines.append(f"    {read.collection.name} -. {read.name} .-> {collection.name}")
            elif collection.kind == "singleton" or (isinstance(collection, Map) and position > 0):
                lines.append(f"    {read.name} -.-> {collection.name}")
            else:
                lines.append(f"    {read.name} --> {collection.name}")
    return "\n".join(lines) + "\n"
