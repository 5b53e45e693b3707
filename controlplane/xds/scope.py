"""What one gateway's clients see: the tables that all of them share, and a layer over them for each class.

A proxy is of several classes, one for each way in which clients are told apart. A stream reads through a ``ClientView``. It
belongs to one proxy, so that the proxy can be moved to other classes while its stream is open: a few pointers change, and
whoever holds its tables sees the other layers through them.
"""

from collections.abc import Callable, Collection

from controlplane.xds.differences import Before
from controlplane.xds.tables import Layer, LayeredTable, StoredTable

Listener = Callable[[Before], None]
"""Told after a commit what stood there before, of all that it sees differently now."""


class ClassLayer(Layer):
    """What one class of clients is served of its own, and the clients that are open."""

    __slots__ = ("class_name", "members")

    def __init__(self, class_name: str) -> None:
        super().__init__()
        self.class_name = class_name
        self.members: dict[ClientView, None] = {}

    @property
    def is_idle(self) -> bool:
        """Holds nothing, and nobody is of this class."""
        return not self.members and self.is_empty


class View:
    """The tables of one scope, the layers of its classes, and who listens to the shared part alone."""

    def __init__(self) -> None:
        self.shared = Layer()
        self._rejected: dict[str, dict[str, None]] = {}
        self.layers: dict[str, ClassLayer] = {}
        self.listeners: dict[Listener, None] = {}

    def table(self, type_url: str) -> StoredTable:
        """What all clients share of a type; an empty table when nothing of it exists."""
        return self.shared.table(type_url)

    def rejected(self, type_url: str) -> Collection[str]:
        """Names of this type of which proxies reject what there is, or the last that there was."""
        return self._rejected.get(type_url, {}).keys()

    def reject(self, type_url: str, name: str, *, is_rejected: bool) -> None:
        """Adds to ``rejected``, or takes away."""
        if is_rejected:
            self._rejected.setdefault(type_url, {})[name] = None
        elif type_url in self._rejected:
            self._rejected[type_url].pop(name, None)
            if not self._rejected[type_url]:
                del self._rejected[type_url]

    def layer(self, class_name: str) -> ClassLayer:
        """The layer of a class, made if need be."""
        layer = self.layers.get(class_name)
        if layer is None:
            layer = self.layers[class_name] = ClassLayer(class_name)
        return layer

    def listen(self, listener: Listener) -> None:
        """Calls the listener after every commit that changed something in the shared tables."""
        self.listeners[listener] = None

    def unlisten(self, listener: Listener) -> None:
        """Ends ``listen``."""
        self.listeners.pop(listener, None)

    @property
    def is_idle(self) -> bool:
        """Holds nothing, and nobody listens."""
        return not self.listeners and not self.layers and not self._rejected and self.shared.is_empty


class ClientView:
    """What one proxy sees: its scope's tables under those of its classes. Costs the same however much it sees."""

    __slots__ = ("_tables", "_view", "layers", "listeners", "scope")

    def __init__(self, scope: str, view: View, layers: tuple[ClassLayer, ...]) -> None:
        self.scope = scope
        self.layers = layers
        """Of its classes, no name in two of them; ``Views.apply`` exchanges them when the proxy is of others."""
        self.listeners: dict[Listener, None] = {}
        self._view = view
        self._tables: dict[str, LayeredTable] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the proxy now."""
        return tuple(layer.class_name for layer in self.layers)

    def table(self, type_url: str) -> LayeredTable:
        """What it sees of a type; the table stays right when its classes change."""
        table = self._tables.get(type_url)
        if table is None:
            table = self._tables[type_url] = LayeredTable(self, self._view.table(type_url), type_url)
        return table

    def rejected(self, type_url: str) -> Collection[str]:
        """As ``View``."""
        return self._view.rejected(type_url)

    def listen(self, listener: Listener) -> None:
        """Calls the listener after every commit that changed what this client sees."""
        self.listeners[listener] = None

    def unlisten(self, listener: Listener) -> None:
        """Ends ``listen``."""
        self.listeners.pop(listener, None)
