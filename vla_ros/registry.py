"""Named implementations: registered once, found by name, imported only when requested."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from vla_ros.core.errors import ConfigError, UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """Implementations of one kind by name.

    A built-in name is known from the start, and its module is imported when the name is first requested: requesting one
    implementation does not import the libraries of the others. Code outside the package registers with the same
    decorator; "module:name" imports `module` first.
    """

    def __init__(self, kind: str, builtin: Mapping[str, str] | None = None) -> None:
        """Make an empty registry.

        Args:
            kind: What the names name, for errors, for example "action head".
            builtin: Name to the module that registers it.
        """
        self.kind = kind
        self._modules = dict(builtin or {})
        self._found: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers a class, function or value under `name`.

        Raises:
            ConfigError: Something else has that name already, or the name belongs to another, built-in module.
        """

        def add(item: T) -> T:
            known = self._found.get(name)
            module = getattr(item, "__module__", "")
            if known is not None and _identity(known) != _identity(item):
                raise ConfigError(f'{self.kind} "{name}" is registered twice: {_place(known)} and {_place(item)}.')
            owner = self._modules.get(name)
            if owner is not None and module and module != owner:
                raise ConfigError(f'{self.kind} "{name}" is registered twice: {owner} and {_place(item)}.')
            self._found[name] = item
            return item

        return add

    def get(self, name: str) -> T:
        """What is registered as `name`, or as "module:name" after importing `module`.

        Raises:
            UnknownName: There is none of that name; the text names the nearest.
            ConfigError: The module cannot be imported.
        """
        module, _, short = str(name).rpartition(":")
        if module:
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise ConfigError(f'{self.kind} module "{module}" cannot be imported: {error}.') from None
        elif short not in self._found and short in self._modules:
            importlib.import_module(self._modules[short])
        if short not in self._found:
            raise UnknownName(self.kind, short, self)
        return self._found[short]

    def __iter__(self) -> Iterator[str]:
        """Every known name, sorted."""
        return iter(sorted({*self._modules, *self._found}))

    def __len__(self) -> int:
        return len({*self._modules, *self._found})

    def __contains__(self, name: object) -> bool:
        return name in self._modules or name in self._found


def _identity(item: object) -> tuple[object, ...]:
    """The same for a class or function before and after its module is imported again."""
    names = getattr(item, "__module__", None), getattr(item, "__qualname__", None)
    return names if all(names) else (id(item),)


def _place(item: object) -> str:
    return f"{getattr(item, '__module__', '?')}.{getattr(item, '__qualname__', repr(item))}"
