"""The example in docs/policies/tokenizer.md runs and gives the results that its comments state."""

import re
from pathlib import Path

import numpy as np
import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "policies" / "tokenizer.md").read_text(encoding="utf-8")


def test_the_example_of_the_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    here: dict = {}
    exec(code, here)
    assert here["tokens"].shape == (500, 30)
    assert here["back"].shape == (500, 20, 3)
    assert here["at_500_hz"].shape == (500, 250, 3)
    assert np.abs(here["back"] - here["chunks"])[..., :2].max() < 0.02
    assert (here["at_500_hz"][:, 0, :2] == here["start"][:, 0, :2]).all()
    again = here["BeastTokenizer"].load("tokens.json")
    assert (again.encode(here["chunks"], here["start"]) == here["tokens"]).all()
