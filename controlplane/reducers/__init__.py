"""The graph of collections: events folded into rows, rows into rows, up to what a translation needs."""

from controlplane.reducers.base import Base, Fold, known_objects, known_rejections
from controlplane.reducers.graph import State, declare_state

__all__ = ["Base", "Fold", "State", "declare_state", "known_objects", "known_rejections"]
