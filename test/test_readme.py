"""What the README says can be done as it says it."""

import re
from pathlib import Path

import numpy as np

from vla_ros.api import Plan
from vla_ros.cli import commands

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ten_lines_run_and_do_what_they_say(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    names: dict = {}
    exec(code, names)
    assert isinstance(names["plan"], Plan)
    assert capsys.readouterr().out.startswith("permitted")
    assert names["position"].shape == (2,)
    assert np.isfinite(names["acceleration"]).all()


def test_every_command_and_file_it_names_is_there():
    named = set(re.findall(r"`?\./vla (\w+)", TEXT))
    assert named <= set(commands()), named
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / target).is_file(), target


def test_the_bar_it_states_is_the_one_that_is_applied():
    from vla_ros.cli.demo import BAR

    (stated,) = re.findall(r"success of at least (\d+) %", TEXT)
    assert int(stated) == round(100 * BAR)
