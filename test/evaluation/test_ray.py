"""Tries as Ray tasks end as those of the local processes, number for number."""

import importlib
import importlib.util
import ipaddress
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vla_ros.config import config_dir
from vla_ros.core.errors import ConfigError
from vla_ros.data.episodes import read_episode
from vla_ros.evaluation.rollout import RolloutConfig
from vla_ros.evaluation.workers import Job, run

JOB = Job("pick_place", "so101", ("front",), RolloutConfig(image_size=16, limit_s=1.0, noise_rad=0.05))
SHIPPED = config_dir() / "checkpoints" / "so101_pick_place_beast_moh.safetensors"
HERE = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='needs Ray: pip install "vla_ros[ray]"')


def listening() -> set[str]:
    """The addresses at which processes started by this one wait for connections; Ray brings psutil."""
    mine = importlib.import_module("psutil").Process().children(recursive=True)
    return {c.laddr.ip for p in mine for c in p.net_connections("tcp") if c.status == "LISTEN"}


@HERE
def test_the_same_seeds_give_the_same_tries(tmp_path: Path) -> None:
    notes, states = [], []
    for name, ray in (("here", False), ("there", True)):
        tries = run(replace(JOB, folder=tmp_path / name), (4, 5), 2, ray)
        results = [next(tries)]
        if ray:
            heard = listening()
            assert heard
            assert all(ipaddress.ip_address(ip.removeprefix("::ffff:")).is_loopback for ip in heard)
        results += tries
        notes.append(sorted((r.notes["seed"], r.success, r.duration_s) for r in results))
        episodes = [read_episode(p)[1] for p in sorted((tmp_path / name).glob("*.npz"))]
        states.append([(e.joints.tobytes(), e.labels.tobytes(), e.images["front"].tobytes()) for e in episodes])
    assert len(notes[0]) == 2
    assert notes[0] == notes[1]
    assert states[0] == states[1]


@HERE
def test_a_policy_drives_the_same_there() -> None:
    job = replace(JOB, cameras=("front", "wrist"), checkpoint=SHIPPED, rollout=RolloutConfig(limit_s=1.0))
    here, there = ({r.notes["seed"]: r for r in run(job, (4, 5), 2, ray)} for ray in (False, True))
    assert sorted(here) == [4, 5]
    assert here == there  # successes, steps, inferences, jerks: all but how long an inference took


@HERE
def test_a_task_that_is_none_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r'^unknown task "pick_plaze"; did you mean "pick_place"\?$'):
        list(run(replace(JOB, task="pick_plaze"), (4,), 1, ray=True))


def test_without_ray_it_is_said(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="many machines need Ray"):
        list(run(JOB, (4,), 1, ray=True))
