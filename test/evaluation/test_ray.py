"""Episodes as Ray tasks give exactly the results of local processes."""

import importlib
import importlib.util
import ipaddress
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vla_ros.config import find_checkpoint
from vla_ros.core.errors import ConfigError
from vla_ros.data.episodes import read_episode
from vla_ros.evaluation.episode_worker import EpisodeJob
from vla_ros.evaluation.rollout import RolloutConfig
from vla_ros.evaluation.workers import run_episodes

JOB = EpisodeJob("pick_place", "so101", ("front",), RolloutConfig(image_size=16, timeout_s=1.0, noise_rad=0.05))
SHIPPED = find_checkpoint()
NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='needs Ray: pip install "vla_ros[ray]"')


def listening() -> set[str]:
    """Addresses on which child processes listen; psutil is a dependency of Ray."""
    children = importlib.import_module("psutil").Process().children(recursive=True)
    return {c.laddr.ip for p in children for c in p.net_connections("tcp") if c.status == "LISTEN"}


@NEEDS_RAY
def test_the_same_seeds_give_the_same_episodes(tmp_path: Path) -> None:
    summaries, states = [], []
    for name, ray in (("local", False), ("ray", True)):
        running = run_episodes(replace(JOB, folder=tmp_path / name), (4, 5), 2, ray)
        results = [next(running)]
        if ray:
            addresses = listening()
            assert addresses
            assert all(ipaddress.ip_address(ip.removeprefix("::ffff:")).is_loopback for ip in addresses)
        results += running
        summaries.append(sorted((r.seed, r.success, r.duration_s) for r in results))
        episodes = [read_episode(p)[1] for p in sorted((tmp_path / name).glob("*.npz"))]
        states.append([(e.joints.tobytes(), e.labels.tobytes(), e.images["front"].tobytes()) for e in episodes])
    assert len(summaries[0]) == 2
    assert summaries[0] == summaries[1]
    assert states[0] == states[1]


@NEEDS_RAY
def test_a_policy_gives_the_same_results() -> None:
    job = replace(JOB, cameras=("front", "wrist"), checkpoint=SHIPPED, rollout=RolloutConfig(timeout_s=1.0))
    local, remote = ({r.seed: r for r in run_episodes(job, (4, 5), 2, ray)} for ray in (False, True))
    assert sorted(local) == [4, 5]
    assert local == remote  # everything but the inference times


@NEEDS_RAY
def test_an_unknown_task_is_one_error() -> None:
    with pytest.raises(ConfigError, match=r'^unknown task "pick_plaze"; did you mean "pick_place"\?$'):
        list(run_episodes(replace(JOB, task="pick_plaze"), (4,), 1, ray=True))


def test_a_missing_ray_is_reported(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="episodes on a cluster need Ray"):
        list(run_episodes(JOB, (4,), 1, ray=True))
