"""Errors of the runtime: all of them messages to a person, none of them a traceback."""


class ControlPlaneError(Exception):
    """What ends a command with a message."""


class OptionError(ControlPlaneError):
    """An option, or two together, that cannot be."""
