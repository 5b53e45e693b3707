"""The graph: collections declared in order, transactions that change them, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Callable

from controlplane.krt.checkpoint import Checkpoint, restore_checkpoint, take_checkpoint
from controlplane.krt.collection import Collection
from controlplane.krt.commit import Commit
from controlplane.krt.declarations import Declarations
from controlplane.krt.errors import GraphError
from controlplane.krt.explain import Explanation, explain
from controlplane.krt.failure import Failure
from controlplane.krt.keys import Key
from controlplane.krt.mermaid import draw
from controlplane.krt.propagation import Propagation
from controlplane.krt.rows import Row
from controlplane.krt.transaction import Transaction


class Graph(Declarations):
    """Collections, and the transactions that change them. Not safe for threads: one task drives it.

    Declare every collection first; the first ``begin`` ends that.

    Args:
        clock: Measures the seconds in ``Statistics``. Nothing else looks at it.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        super().__init__()
        self._propagation = Propagation(self._state, self._nodes, clock)
        self._transaction: Transaction | None = None

    def begin(self, seq: int) -> Transaction:
        """Open the transaction that is named by ``seq``, greater than all before.

        Raises:
            GraphError: Another one is open, or the seq is not greater, or a commit was interrupted by an error of the engine.
        """
        state = self._state
        if state.broken is not None:
            raise GraphError(
                f"the commit of transaction {state.broken} was interrupted; rebuild the graph from the log"
            )
        if self._transaction is not None:
            raise GraphError(f"transaction {self._transaction.seq} is open; commit or abort it before {seq}")
        if seq <= state.seq:
            raise GraphError(f"transaction {seq} does not come after {state.seq}")
        state.sealed = True
        self._transaction = Transaction(seq, state, self._propagation, self._end)
        return self._transaction

    @property
    def seq(self) -> int:
        """The seq of the last commit; 0 before the first."""
        return self._state.seq

    @property
    def is_committing(self) -> bool:
        """Whether a commit in steps is under way."""
        return self._transaction is not None and self._transaction.is_committing

    @property
    def collections(self) -> tuple[Collection[Row], ...]:
        """All collections, in declaration order."""
        return tuple(self._nodes)

    def collection(self, name: str) -> Collection[Row]:
        """The collection of a name.

        Raises:
            GraphError: There is none.
        """
        found: Collection[Row] | None = self._by_name.get(name)
        if found is None:
            raise GraphError(f"there is no collection {name}; there are {', '.join(self._by_name)}")
        return found

    @property
    def synced(self) -> bool:
        """Whether every collection is synced."""
        return all(node.synced for node in self._nodes)

    def unsynced(self) -> tuple[str, ...]:
        """The collections that are not synced, in declaration order; a source comes before what waits for it."""
        return tuple(node.name for node in self._nodes if not node.synced)

    def failures(self) -> tuple[Failure, ...]:
        """All that fails as of the last commit, by collection in declaration order, then by key."""
        return tuple(failure for node in self._nodes for failure in node.failures())

    def explain(
        self, collection: str, key: Key, *, depth: int = 32, entries: int = 1000, width: int = 1000
    ) -> Explanation:
        """What a row was made of, down to the sources.

        Args:
            collection: Its collection's name.
            key: Its key; one without a row is explained as absent.
            depth: How many steps down to go.
            entries: How many rows and reads to show at most. What is left out is counted (``omitted``).
            width: How many rows of one collection to show at most below a row: one that is made of thousands would else leave
                no entry for what these were made of.

        Raises:
            GraphError: There is no such collection, or a commit is under way (ask again after it).
        """
        self._require_rest("explain a row")
        return explain(self.collection(collection), key, depth, entries, width)

    def mermaid(self) -> str:
        """The graph as a mermaid flowchart, drawn from what is declared."""
        return draw(self._nodes)

    def checkpoint(self) -> Checkpoint:
        """The state, in the rows that ``restore`` rebuilds it from. Cost: O(rows of the sources).

        Raises:
            GraphError: A commit is under way.
        """
        self._require_rest("take a checkpoint")
        return take_checkpoint(self.seq, self._nodes)

    def restore(self, checkpoint: Checkpoint) -> Commit:
        """Fill a fresh graph, declared as the checkpoint's was; the commit from nothing to its state.

        Goes on as the original would: keys that fail have the rows that they had. Only the ``changed_seq`` of derived rows is
        the checkpoint's.

        Raises:
            GraphError: The graph is not fresh, or the checkpoint is of a graph with other collections.
        """
        if self._state.sealed:
            raise GraphError("a checkpoint is restored into a fresh graph, before any transaction")
        return restore_checkpoint(self, checkpoint)

    def _end(self) -> None:
        self._transaction = None

    def _require_rest(self, what: str) -> None:
        if self.is_committing:
            raise GraphError(f"transaction {self.seq} is being committed; {what} after it")
