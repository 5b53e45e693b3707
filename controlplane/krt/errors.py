"""What a programmer can do wrong with a graph. What a function does wrong with a row is a ``Failure``, a value."""

from __future__ import annotations


class GraphError(Exception):
    """The graph is declared or used in a way that it forbids; the text says what to do instead."""


class RowTypeError(GraphError):
    """A function returned something that is not a row of its collection. Becomes a ``Failure``."""


class DuplicateKeyError(GraphError):
    """One output key was claimed twice. Becomes a ``Failure``."""
