"""Maps and singletons: rows that a function of ours computes from other rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias, TypeVar

import msgspec

from controlplane.krt.cause import Cause
from controlplane.krt.claims import Claims
from controlplane.krt.collection import Collection, State, failure_text
from controlplane.krt.errors import DuplicateKeyError, RowTypeError
from controlplane.krt.failure import Failure, describe
from controlplane.krt.fetch import Fetch
from controlplane.krt.index import Index
from controlplane.krt.keys import Key, ordered
from controlplane.krt.rows import Options, Row

R = TypeVar("R", bound=Row)
P = TypeVar("P", bound=Row)

Result: TypeAlias = R | Iterable[R] | None
Tokens: TypeAlias = tuple[Any, ...]
"""``(table, token, table, token ...)``, as ``Fetch`` leaves them."""


class Computed(Collection[R]):
    """Runs a function for each input key that is dirty, once a transaction, and settles what it returns.

    An input key is dirty when its row changed or something that its last run read did. If the function raises, the rows of its
    last good run stand, and what it read until then is what makes it run again.
    """

    def __init__(
        self,
        state: State,
        rank: int,
        name: str,
        row_type: type[R],
        inputs: Sequence[Collection[Row] | Index[Row]],
        reads: Sequence[Collection[Row] | Index[Row]],
        options: Options[R],
    ) -> None:
        super().__init__(state, rank, name, row_type, inputs, options)
        self._fetch = Fetch(name, reads)
        self._tokens_of: dict[Key, Tokens] = {}
        self._claims: Claims[R] = Claims(self._rows, self._touch)
        self._raised: set[Key] = set()
        """Inputs whose last run raised. Their claims are those of the last run that did not."""
        self._carried: dict[Key, tuple[R, ...]] = {}
        """Rows from a checkpoint, for inputs that raise on the first run of a restored graph."""

    def _work(self) -> tuple[Callable[[Any, Fetch], Result[R]], Mapping[Key, Row]]:
        """The function, and the rows that it is for."""
        raise NotImplementedError

    def _primary_changes(self) -> tuple[list[Key], set[Key]]:
        """Inputs that are gone, and inputs that are new or different."""
        raise NotImplementedError

    def _compute(self) -> Iterator[None]:
        gone, dirty = self._primary_changes()
        for key in gone:
            self._drop(key)
        for table in self._fetch._tables:
            if table.readers:
                self._lookups += table.mark(dirty)
                yield
        function, inputs = self._work()
        fetch, claims, tokens_of = self._fetch, self._claims, self._tokens_of
        row_type, key_of, rows, raised = self.row_type, self._key_of, self._rows, self._raised
        for key in ordered(dirty):
            writes = self._writes
            failure: Failure | None = None
            new: dict[Key, R] | None = None
            log: list[Any] = []
            fetch._log = log
            try:
                result = function(inputs[key], fetch)
                if type(result) is not row_type or key_of(result) != key or not claims.is_plain(key):
                    new = self._checked(result)
            except Exception as error:  # noqa: BLE001  # a user's function: its key fails, everything else goes on
                failure = describe(self.name, key, error)
            finally:
                fetch._log = None
            tokens = tuple(log)
            if tokens != tokens_of.get(key, ()):
                self._rebind(key, tokens)
            if failure is not None:
                self._fail(failure)
            else:
                if new is None:
                    old = rows.get(key)
                    if old is None or (old is not result and old != result):
                        self._touch(key, result)  # type: ignore[arg-type]  # of row_type, as was seen above
                elif new or key in rows or not claims.is_plain(key):
                    claims.replace(key, new)
                if raised and key in raised:
                    self._recover(key)
            self._runs += 1
            if self._writes == writes:
                self._cutoffs += 1
            yield
        self._report_contests()

    def _checked(self, result: Result[R]) -> dict[Key, R]:
        """What a function returned, by key.

        Raises:
            RowTypeError: Something in it is not a row of this collection.
            DuplicateKeyError: Two of the rows have one key.
        """
        if result is None:
            return {}
        if isinstance(result, self.row_type):
            return {self._key_of_row(result): result}
        if isinstance(result, str | bytes | Mapping | msgspec.Struct) or not isinstance(result, Iterable):
            raise RowTypeError(f"returned {type(result).__name__}, not a {self.row_type.__name__}, several, or None")
        found: dict[Key, R] = {}
        for row in result:
            if not isinstance(row, self.row_type):
                raise RowTypeError(f"returned {type(row).__name__} among its rows, not a {self.row_type.__name__}")
            key = self._key_of_row(row)
            if key in found:
                raise DuplicateKeyError(f"returned two rows with the key {key!r}")
            found[key] = row
        return found

    def _rebind(self, key: Key, tokens: Tokens) -> None:
        """Replace the tokens of an input's last run."""
        old = self._tokens_of.get(key)
        wanted = dict.fromkeys(zip(tokens[::2], tokens[1::2], strict=True))
        if old is None:
            for table, token in wanted:
                table.add(token, key)
        else:
            held = dict.fromkeys(zip(old[::2], old[1::2], strict=True))
            for table, token in held:
                if (table, token) not in wanted:
                    table.discard(token, key)
            for table, token in wanted:
                if (table, token) not in held:
                    table.add(token, key)
        if tokens:
            self._tokens_of[key] = tokens
        else:
            self._tokens_of.pop(key, None)

    def _drop(self, key: Key) -> None:
        """Forget an input and all that it gave."""
        self._claims.replace(key, {})
        if key in self._tokens_of:
            self._rebind(key, ())
        self._failures.clear(key)
        self._raised.discard(key)

    def _fail(self, failure: Failure) -> None:
        self._raised.add(failure.key)
        self._failures.put(failure)
        carried = self._carried.pop(failure.key, None)
        if carried is not None:
            self._claims.replace(failure.key, {self._key_of(row): row for row in carried})

    def _recover(self, key: Key) -> None:
        self._raised.discard(key)
        self._failures.clear(key)
        self._claims.contested.add(key)

    def _report_contests(self) -> None:
        """A failure for each input that claims a key that another one owns."""
        contested, self._claims.contested = self._claims.contested, set()
        for key in ordered(contested):
            if key in self._raised:
                continue
            lost = self._claims.lost(key)
            if not lost:
                self._failures.clear(key)
                continue
            owner = self._claims.owner(lost[0])
            message = f"{owner!r} and {key!r} both give the row {lost[0]!r}; {owner!r} comes first and has it"
            if len(lost) > 1:
                message += f" (and {len(lost) - 1} more such rows)"
            self._failures.put(Failure(self.name, key, message, DuplicateKeyError.__name__))

    def _tokens(self) -> int:
        return sum(len(table.readers) for table in self._fetch._tables)

    def _failure_of(self, key: Key) -> str:
        return failure_text(self._failures.get(self._claims.owner(key))) or super()._failure_of(key)

    def _kept(self) -> dict[Key, tuple[R, ...]]:
        kept = {key: tuple(self._claims.rows_of(key)) for key in ordered(self._raised)}
        return {key: rows for key, rows in kept.items() if rows}

    def _carry(self, kept: Mapping[Key, tuple[R, ...]]) -> None:
        self._carried = dict(kept)

    def _primary_cause(self, key: Key) -> Iterator[Cause]:
        raise NotImplementedError

    def _causes(self, key: Key) -> Iterator[Cause]:
        owner = self._claims.owner(key)
        yield from self._primary_cause(owner)
        tokens = self._tokens_of.get(owner, ())
        for table, token in dict.fromkeys(zip(tokens[::2], tokens[1::2], strict=True)):
            how, keys = table.resolve(token)
            yield Cause(table.collection, how, tuple(ordered(keys)))


class Map(Computed[R]):
    """One row in, none to many out."""

    kind: ClassVar[str] = "map"

    def __init__(
        self,
        state: State,
        rank: int,
        name: str,
        row_type: type[R],
        primary: Collection[P],
        function: Callable[[P, Fetch], Result[R]],
        reads: Sequence[Collection[Row] | Index[Row]],
        options: Options[R],
    ) -> None:
        super().__init__(state, rank, name, row_type, (primary, *reads), reads, options)
        self._primary: Collection[Row] = primary
        self._function: Callable[[Any, Fetch], Result[R]] = function

    def _work(self) -> tuple[Callable[[Any, Fetch], Result[R]], Mapping[Key, Row]]:
        return self._function, self._primary._rows

    def _primary_changes(self) -> tuple[list[Key], set[Key]]:
        gone: list[Key] = []
        dirty: set[Key] = set()
        for key, (_, new) in self._primary._delta.items():
            if new is None:
                gone.append(key)
            else:
                dirty.add(key)
        return gone, dirty

    def _primary_cause(self, key: Key) -> Iterator[Cause]:
        yield Cause(self._primary, "input", (key,))


class Singleton(Computed[R]):
    """One row, or none, from whatever it reads. Its one input key is its own name."""

    kind: ClassVar[str] = "singleton"

    def __init__(
        self,
        state: State,
        rank: int,
        name: str,
        row_type: type[R],
        function: Callable[[Fetch], R | None],
        reads: Sequence[Collection[Row] | Index[Row]],
        options: Options[R],
    ) -> None:
        super().__init__(state, rank, name, row_type, reads, reads, options)
        self._function = function
        self._has_run = False

    def _work(self) -> tuple[Callable[[Any, Fetch], Result[R]], Mapping[Key, Row]]:
        function = self._function
        return (lambda _, fetch: function(fetch)), {self.name: Row()}

    def _primary_changes(self) -> tuple[list[Key], set[Key]]:
        first, self._has_run = not self._has_run, True
        return [], {self.name} if first else set()

    def _primary_cause(self, key: Key) -> Iterator[Cause]:
        return iter(())

    def _checked(self, result: Result[R]) -> dict[Key, R]:
        if result is None or isinstance(result, self.row_type):
            return super()._checked(result)
        raise RowTypeError(f"returned {type(result).__name__}, not a {self.row_type.__name__} or None")
