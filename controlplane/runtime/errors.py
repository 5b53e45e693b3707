"""Errors of the runtime: all of them messages to a person, none of them a traceback."""


class ControlPlaneError(Exception):
    """What ends a command with a message."""


class OptionError(ControlPlaneError):
    """An option, or two together, that cannot be."""


def known_errors() -> tuple[type[Exception], ...]:
    """Errors whose text says what to do; anything else is a fault of ours and keeps its traceback."""
    from controlplane.infra import InfraError
    from controlplane.log import LogError

    return (ControlPlaneError, LogError, InfraError)
