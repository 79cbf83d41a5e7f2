"""`./vla experiment` and `./vla bench`: list programs of the checkout, and run them."""

from pathlib import Path

import pytest

from vla_ros.cli import _checkout, bench, experiment, faults
from vla_ros.core.errors import UnknownName


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one module and one package in each folder."""
    monkeypatch.setattr(_checkout, "ROOT", tmp_path)
    for folder in ("bench", "experiments"):
        package = tmp_path / folder / "comparison"
        package.mkdir(parents=True)
        (tmp_path / folder / "__init__.py").write_text("")
        (package / "__init__.py").write_text('"""Compares.\n\nMore text."""\n')
        (package / "__main__.py").write_text("import sys\nsys.exit(len(sys.argv) - 1)\n")
        (tmp_path / folder / "single.py").write_text('"""Measures."""\nimport sys\nsys.exit(len(sys.argv) - 1)\n')
        (tmp_path / folder / "helpers").mkdir()
        (tmp_path / folder / "helpers" / "__init__.py").write_text("")
    return tmp_path


def test_programs_are_listed_with_the_first_line_of_their_docstring(checkout: Path, capsys) -> None:
    assert _checkout.programs("experiments") == {"comparison": "Compares.", "single": "Measures."}
    for command in (bench, experiment):
        assert command.main([]) == 0
        listed = capsys.readouterr().out
        assert "comparison  Compares." in listed
        assert "helpers" not in listed


def test_an_unknown_name_is_answered_with_a_similar_one(checkout: Path) -> None:
    for command in (bench, experiment):
        with pytest.raises(UnknownName, match='did you mean "single"'):
            command.main(["singel"])


def test_benches_are_run_one_after_another_with_the_same_options(checkout: Path) -> None:
    assert bench.main(["single", "comparison"]) == 0
    assert bench.main(["all"]) == 0
    assert bench.main(["single", "--quick"]) == 1


def test_an_experiment_receives_every_further_argument(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checkout, "replace_process", _checkout.run_module)
    assert experiment.main(["comparison"]) == 0
    assert experiment.main(["comparison", "one", "--two", "-h"]) == 3


def test_help_is_printed_without_running_anything(checkout: Path, capsys) -> None:
    for command, name in ((bench, "bench"), (experiment, "experiment")):
        assert command.main(["--help"]) == 0
        assert f"usage: vla {name}" in capsys.readouterr().out


def test_an_installed_package_has_no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(_checkout, "ROOT", tmp_path)
    for command in (bench, experiment, faults):
        assert command.main([]) == 2
        assert "needs a checkout" in capsys.readouterr().err


def test_the_benches_and_experiments_of_this_checkout_are_documented() -> None:
    assert "learning_table" in _checkout.programs("experiments")
    listed = {**_checkout.programs("bench"), **_checkout.programs("experiments")}
    assert "delay" in listed
    assert all(line.endswith(".") for line in listed.values()), listed
