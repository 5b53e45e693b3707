"""The graph of collections: events folded into rows, rows into rows, up to what a translation needs."""

from controlplane.reducers.base import Base, Fold, KnownObjects, known_objects
from controlplane.reducers.graph import State, declare_state

__all__ = ["Base", "Fold", "KnownObjects", "State", "declare_state", "known_objects"]
