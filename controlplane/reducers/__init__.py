"""The graph of collections: events folded into rows, rows into rows, up to what a translation needs."""

from controlplane.reducers.base import Base, Fold
from controlplane.reducers.graph import State, declare_state
from controlplane.reducers.known_objects import KnownObjects, known_objects

__all__ = ["Base", "Fold", "KnownObjects", "State", "declare_state", "known_objects"]
