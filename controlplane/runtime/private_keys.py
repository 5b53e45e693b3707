"""Private keys on their way into the store, and out of it when the log names them no more.

A key is stored before the event that names it is appended. Between the two nothing names it, so who drops keys must know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from threading import Lock

from controlplane.log import LogError, Secrets
from controlplane.model.events import AnyEvent
from controlplane.sources import Appender


class PrivateKeys:
    """The way of private keys into a store.

    Attributes:
        refusal: Why the store did not take the last one; empty where it did.
        dropped: How many were dropped.
    """

    def __init__(self, secrets: Secrets) -> None:
        self.refusal = ""
        self.dropped = 0
        self._secrets = secrets
        self._lock = Lock()
        self._announced: dict[str, set[str]] = {}
        """By source: what it has stored since its last append."""

    def keeper(self, source: str) -> Callable[[bytes], str]:
        """What keeps a key of a source and returns its digest; to be called in any thread.

        Raises (the function does):
            LogError: It cannot be stored.
        """

        def keep(key: bytes) -> str:
            with self._lock:
                try:
                    digest = self._secrets.put(key)
                except LogError as error:
                    self.refusal = str(error)
                    raise
                self.refusal = ""
                self._announced.setdefault(source, set()).add(digest)
                return digest

        return keep

    def appender(self, source: str, append: Appender) -> Appender:
        """``append``, after which the keys that the source has stored are named, or will never be."""

        async def append_named(events: Sequence[AnyEvent]) -> None:
            await append(events)
            self._announced.pop(source, None)

        return append_named

    def drop_except(self, named: Collection[str]) -> int:
        """Forget all keys but those that are named, and those about to be; how many that were. Nothing may be appended meanwhile.

        Raises:
            LogError: One could not be removed.
        """
        with self._lock:
            dropped = self._secrets.drop_except({*named}.union(*self._announced.values()))
            self.dropped += dropped
            return dropped

    def check(self) -> None:
        """See whether the store takes something again after it did not.

        Raises:
            LogError: It does not.
        """
        with self._lock:
            try:
                self._secrets.check()
            except LogError as error:
                self.refusal = str(error)
                raise
            self.refusal = ""
