"""Exceptions for set-up and malformed input. In the control loop a refusal is a value (`Refusal`), not an exception."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VlaError(Exception):
    """Base class of the errors of this package; the text is one sentence for the user."""


class RecordError(VlaError, ValueError):
    """The values given for a record (chunk, plan, observation, ...) are invalid."""


class ConfigError(VlaError, ValueError):
    """A configuration file, parameter or checkpoint is invalid."""


class UnknownName(ConfigError):
    """An unknown name; the text names the nearest known one, or lists all of them."""

    def __init__(self, what: str, given: str, known: Iterable[str], where: str = "") -> None:
        """Build the text.

        Args:
            what: The kind of thing that the name stands for, for example "robot".
            given: The name that was given.
            known: The accepted names.
            where: The file or other source that holds the name; "" for none.
        """
        names = sorted(known)
        self._arguments = what, given, names, where
        near = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
        hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(names)}."
        place = f" in {where}" if where else ""
        super().__init__(f'unknown {what} "{given}"{place}; {hint}')

    def __reduce__(self) -> tuple[type[UnknownName], tuple[str, str, list[str], str]]:
        """Rebuild from the arguments, so that worker processes can return the error."""
        return type(self), self._arguments
