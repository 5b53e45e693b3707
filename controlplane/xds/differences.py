"""What somebody sees differently after a commit, and what stood there before."""

from collections.abc import Mapping, Sequence

from controlplane.xds.tables import Entry, Layer

Before = Mapping[str, Mapping[str, Entry | None]]
"""What is seen differently after one commit: by type URL and name, the entry that was seen before."""
Changed = dict[str, dict[str, Entry | None]]
"""What one commit put into one layer: by type URL and name, the entry that stood there before the first of it."""

_NOTHING: Mapping[str, Entry | None] = {}
_UNCHANGED: Mapping[str, Mapping[str, Entry | None]] = {}


def difference(
    shared: Layer,
    shared_changed: Changed,
    layers: Sequence[Layer] = (),
    layers_changed: Sequence[Mapping[str, Mapping[str, Entry | None]]] = (),
    now: Sequence[Layer] | None = None,
) -> Before:
    """What a client sees differently.

    Args:
        shared: What all clients of the scope share, as it is now.
        shared_changed: What the commit put there.
        layers: The client's own before the commit; none for a reader of the shared tables alone. Their content is that of now.
        layers_changed: What the commit put into each.
        now: The client's layers after the commit, if they are others; whatever the commit put into those.

    Cost: O(what was put), plus O(all these layers) where they are others.
    """
    after_layers = layers if now is None else now
    exchanged = () if now is None else dict.fromkeys((*layers, *now))
    urls = dict.fromkeys(shared_changed)
    for changed in layers_changed:
        urls.update(dict.fromkeys(changed))
    for layer in exchanged:
        urls.update(dict.fromkeys(layer.tables))
    result: dict[str, dict[str, Entry | None]] = {}
    for type_url in urls:
        shared_before = shared_changed.get(type_url, _NOTHING)
        own_before = [changed.get(type_url, _NOTHING) for changed in layers_changed or (_UNCHANGED,) * len(layers)]
        names = dict.fromkeys(shared_before)
        for put in own_before:
            names.update(dict.fromkeys(put))
        for layer in exchanged:
            table = layer.find(type_url)
            names.update(dict.fromkeys(table.names() if table is not None else ()))
        found: dict[str, Entry | None] = {}
        for name in names:
            before = None
            for layer, put in zip(layers, own_before, strict=True):
                before = put[name] if name in put else layer.get(type_url, name)
                if before is not None:
                    break
            if before is None:
                before = shared_before[name] if name in shared_before else shared.get(type_url, name)
            after = next(filter(None, (layer.get(type_url, name) for layer in after_layers)), None)
            if after is None:
                after = shared.get(type_url, name)
            if (None if before is None else before.version) != (None if after is None else after.version):
                found[name] = before
        if found:
            result[type_url] = found
    return result
