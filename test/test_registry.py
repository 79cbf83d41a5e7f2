"""A registry refuses a second of the same name, names the nearest on a miss, and imports only what is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vla_ros.core.errors import ConfigError, UnknownName
from vla_ros.registry import Registry


def a() -> None:
    pass


def b() -> None:
    pass


def test_what_is_registered_is_found_and_listed_in_order() -> None:
    registry: Registry = Registry("tool")
    assert registry.register("saw")(a) is a
    registry.register("axe")(b)
    assert registry.get("saw") is a
    assert list(registry) == ["axe", "saw"]
    assert len(registry) == 2
    assert "saw" in registry
    assert "pen" not in registry


def test_a_second_of_the_same_name_is_refused_and_changes_nothing() -> None:
    registry: Registry = Registry("tool")
    registry.register("saw")(a)
    with pytest.raises(ConfigError, match=r'tool "saw" is registered twice: .*\.a and .*\.b\.'):
        registry.register("saw")(b)
    assert registry.get("saw") is a
    registry.register("saw")(a)  # a module that is imported again registers the same
    assert len(registry) == 1


def test_a_built_in_name_is_not_given_away() -> None:
    registry: Registry = Registry("tool", {"saw": "tools_of_another"})
    with pytest.raises(ConfigError, match="registered twice: tools_of_another and"):
        registry.register("saw")(a)


def test_a_miss_names_the_nearest() -> None:
    registry: Registry = Registry("tool", {"hammer": "not_a_module"})
    with pytest.raises(UnknownName, match='unknown tool "hamer"; did you mean "hammer"'):
        registry.get("hamer")


def test_only_the_module_that_is_asked_for_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "from test_registry_registry import tools\n\n\n@tools.register('{0}')\ndef {0}():\n    pass\n"
    (tmp_path / "test_registry_registry.py").write_text(
        "from vla_ros.registry import Registry\n"
        "tools = Registry('tool', {'saw': 'test_registry_saw', 'axe': 'test_registry_axe'})\n"
    )
    for name in ("saw", "axe", "pen"):
        (tmp_path / f"test_registry_{name}.py").write_text(text.format(name))
    monkeypatch.syspath_prepend(str(tmp_path))
    tools = __import__("test_registry_registry").tools
    assert list(tools) == ["axe", "saw"]
    assert tools.get("saw").__name__ == "saw"
    assert "test_registry_saw" in sys.modules
    assert "test_registry_axe" not in sys.modules
    assert tools.get("test_registry_pen:pen").__name__ == "pen"
    with pytest.raises(ConfigError, match='tool module "no_such_module" cannot be imported'):
        tools.get("no_such_module:pen")
