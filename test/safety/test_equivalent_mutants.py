"""The list of equivalent mutants follows the code: it names existing mutants only."""

from __future__ import annotations

from mutation_operators import EQUIVALENT, mutants


def test_every_equivalent_mutant_exists() -> None:
    modules = {key.partition(".")[0] for key in EQUIVALENT}
    names = {mutant.name for module in modules for mutant in mutants(module)}
    assert set(EQUIVALENT) - names == set()
