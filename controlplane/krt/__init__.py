"""The incremental engine: collections of frozen rows, derived from each other, kept up to date by transactions.

No I/O, no clock, no tasks, and nothing about gateways. README.md beside this file is the contract.
"""

from controlplane.krt.checkpoint import Checkpoint
from controlplane.krt.collection import Collection
from controlplane.krt.commit import Commit
from controlplane.krt.errors import DuplicateKeyError, GraphError, RowTypeError
from controlplane.krt.explain import Explanation
from controlplane.krt.failure import Failure
from controlplane.krt.fetch import Fetch
from controlplane.krt.graph import Graph
from controlplane.krt.group import Count, Group
from controlplane.krt.index import Index
from controlplane.krt.keys import Key
from controlplane.krt.rows import Statistics
from controlplane.krt.selector import Operator, Requirement, Selector
from controlplane.krt.source import Source
from controlplane.krt.transaction import Transaction

__all__ = [
    "Checkpoint",
    "Collection",
    "Commit",
    "Count",
    "DuplicateKeyError",
    "Explanation",
    "Failure",
    "Fetch",
    "Graph",
    "GraphError",
    "Group",
    "Index",
    "Key",
    "Operator",
    "Requirement",
    "RowTypeError",
    "Selector",
    "Source",
    "Statistics",
    "Transaction",
]
