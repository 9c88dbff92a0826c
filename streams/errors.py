"""Errors of the shell that a person reads: each names the place and the fix."""


class Refused(Exception):
    """The request can not be carried out as it is."""


class Unreachable(Exception):
    """Somebody we need does not answer."""
