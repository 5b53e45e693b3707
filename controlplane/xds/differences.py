"""What somebody sees differently after a commit, and what stood there before."""

from collections.abc import Mapping

from controlplane.xds.tables import Entry, Layer

Before = Mapping[str, Mapping[str, Entry | None]]
"""What is seen differently after one commit: by type URL and name, the entry that was seen before."""
Changed = dict[str, dict[str, Entry | None]]
"""What one commit put into one layer: by type URL and name, the entry that stood there before the first of it."""

_NOTHING: Mapping[str, Entry | None] = {}
_BARE = Layer()


def difference(
    shared: Layer,
    shared_changed: Changed,
    layer: Layer = _BARE,
    layer_changed: Mapping[str, Mapping[str, Entry | None]] | None = None,
    now: Layer | None = None,
) -> Before:
    """What a client sees differently.

    Args:
        shared: What all clients of the scope share, as it is now.
        shared_changed: What the commit put there.
        layer: The client's own layer before the commit; nothing for a reader of the shared tables alone. Its content is that of
            now.
        layer_changed: What the commit put there.
        now: The client's layer after the commit, if it is another one; whatever the commit put into that one.

    Cost: O(what was put), plus O(both layers) where they are two.
    """
    own_changed = layer_changed or {}
    result: dict[str, dict[str, Entry | None]] = {}
    of_layers = (*layer.tables, *now.tables) if now is not None else ()
    for type_url in dict.fromkeys((*shared_changed, *own_changed, *of_layers)):
        shared_before = shared_changed.get(type_url, _NOTHING)
        own_before = own_changed.get(type_url, _NOTHING)
        names = dict.fromkeys((*shared_before, *own_before))
        if now is not None:
            for table in (layer.find(type_url), now.find(type_url)):
                names.update(dict.fromkeys(table.names() if table is not None else ()))
        found: dict[str, Entry | None] = {}
        for name in names:
            before = own_before[name] if name in own_before else layer.get(type_url, name)
            if before is None:
                before = shared_before[name] if name in shared_before else shared.get(type_url, name)
            after = (layer if now is None else now).get(type_url, name)
            if after is None:
                after = shared.get(type_url, name)
            if (None if before is None else before.version) != (None if after is None else after.version):
                found[name] = before
        if found:
            result[type_url] = found
    return result
