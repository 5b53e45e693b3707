"""Events to and from the bytes that the log stores."""

from __future__ import annotations

from typing import Final, get_args

import msgspec

from controlplane.model.events import AnyEvent, Event

_TYPES: Final[dict[str, type[Event]]] = {cls.__name__: cls for cls in get_args(AnyEvent)}


class EventCodec:
    """The log's codec for our events: the type is the class's name, the data its JSON."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder(order="deterministic")
        self._decoders = {name: msgspec.json.Decoder(cls) for name, cls in _TYPES.items()}

    def encode(self, event: AnyEvent) -> tuple[str, bytes]:
        """The event's type and its JSON object."""
        return type(event).__name__, self._encoder.encode(event)

    def decode(self, type: str, data: bytes) -> AnyEvent:  # noqa: A002 (the log's word)
        """The event that ``encode`` was given.

        Raises:
            LookupError: ``type`` is none of ours; a newer version wrote it.
            msgspec.DecodeError: ``data`` is not an event of that type.
        """
        return self._decoders[type].decode(data)  # type: ignore[return-value]
