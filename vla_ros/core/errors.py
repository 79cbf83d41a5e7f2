"""Errors of set-up and of malformed input; inside the loop a refusal is a value, never an exception."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VlaError(Exception):
    """Base of every error this package raises on purpose; its text is one sentence for a user."""


class RecordError(VlaError, ValueError):
    """A record (chunk, plan, observation) was given values it cannot hold."""


class ConfigError(VlaError, ValueError):
    """A configuration file, parameter or checkpoint does not fit."""


class UnknownName(ConfigError):
    """A name is not among the known ones; the text names the nearest."""

    def __init__(self, what: str, given: str, known: Iterable[str], where: str = "") -> None:
        """Build the sentence.

        Args:
            what: What the name names, for example "robot".
            given: The name that was given.
            known: The names that would have been accepted.
            where: The file or place it was given in, if any.
        """
        names = sorted(known)
        self._made_of = what, given, names, where
        near = difflib.get_close_matches(given, names, n=1, cutoff=0.4)
        hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(names)}."
        place = f" in {where}" if where else ""
        super().__init__(f'unknown {what} "{given}"{place}; {hint}')

    def __reduce__(self) -> tuple[type[UnknownName], tuple[str, str, list[str], str]]:
        """What it was made of, so that it can be sent from a worker's process."""
        return type(self), self._made_of
