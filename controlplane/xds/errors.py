"""What a client is told when its stream cannot go on.

A rejected resource is no error: Envoy's NACK is a fact of the protocol and ends nothing. An ``XdsError`` ends one stream.
"""

from grpclib.const import Status


class XdsError(Exception):
    """The client broke the protocol or a limit; its stream ends with this gRPC status.

    Attributes:
        code: The gRPC status that the client sees.
        message: A sentence for the person who reads the proxy's log.
    """

    def __init__(self, code: Status, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


def invalid(message: str) -> XdsError:
    """An ``INVALID_ARGUMENT``: the request itself is wrong, and would be again."""
    return XdsError(Status.INVALID_ARGUMENT, message)


def exhausted(message: str) -> XdsError:
    """A ``RESOURCE_EXHAUSTED``: a limit of ours, named in the message."""
    return XdsError(Status.RESOURCE_EXHAUSTED, message)
