"""Many processes learn what one learns: same batch, same weights within rounding; one of them writes."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from train import shared_steps

from vla_ros.core.errors import ConfigError
from vla_ros.data.episodes import DemoDataset
from vla_ros.train.batches import BatchMaker
from vla_ros.train.config import load_config
from vla_ros.train.distributed import Machines, find_machines
from vla_ros.train.learner import Learner
from vla_ros.train.learning_curve import read_curve

NEEDS = pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None, reason='needs accelerate: pip install "vla_ros[machines]"'
)


def launch(out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Two processes that speak gloo over the loopback."""
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    return subprocess.run(
        [*torchrun, shared_steps.__file__, str(out), *more],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


TRUNK = ()
ACTOR = "head: regression, width: 16, layers: 1, attention: 2, gripper: [], horizons: [8, 32], balance: 0.0"
MIXTURE = (f"actor={{{ACTOR}}}",)
"""Without the loss that keeps the gate even: it is of the whole batch, and each process sees its part."""
BELOW_SOFTMAX = ("points.bias", "gate.bias", "qkv.bias")


@NEEDS
@pytest.mark.parametrize("settings", [TRUNK, MIXTURE], ids=["trunk", "mixture"])
@pytest.mark.parametrize("how", [(), ("cut",)], ids=["ddp", "fsdp2"])
def test_two_processes_learn_what_one_learns(tmp_path: Path, how: tuple[str, ...], settings: tuple[str, ...]) -> None:
    alone, out = tmp_path / "alone", tmp_path / "two"
    for place in (alone, out):
        shared_steps.demonstrations(place)
    shared_steps.main(alone, *settings)
    done = launch(out, *how, *settings)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(p.name for p in out.glob("rank*")) == [f"rank{k}-2-MULTI_CPU" for k in range(2)]
    one, two = (load_file(place / "end.safetensors") for place in (alone, out))
    assert set(one) == set(two)
    for name, value in one.items():
        # Each process draws noise of its own. A bias below a softmax has no gradient but rounding, which Adam makes a
        # step of.
        if name != "chance" and not name.endswith(BELOW_SOFTMAX):
            assert (value.float() - two[name].float()).abs().max() < 2e-5, name
    rows = [read_curve(place / "curve.jsonl") for place in (alone, out)]
    assert [r["step"] for r in rows[0]] == [r["step"] for r in rows[1]] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert rows[1][-1]["open_loop_rad"] == pytest.approx(rows[0][-1]["open_loop_rad"], rel=1e-4)
    # Process 0's share of the loss alone would be another number.
    assert rows[1][0]["action"] == pytest.approx(rows[0][0]["action"], rel=1e-4)
    assert not (out / "training.safetensors").exists()


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    shared_steps.demonstrations(tmp_path)
    config = load_config(None, [*shared_steps.SETTINGS, "batch=7"])
    data = DemoDataset(tmp_path / "demos")
    two = Machines()
    two.processes = 2
    with pytest.raises(ConfigError, match="a batch of 7 cannot be shared by 2 processes"):
        Learner(BatchMaker(data, config, 0, 0, 2), config, 0, two)


def test_without_accelerate_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ConfigError, match="many processes need accelerate"):
        find_machines()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert find_machines().processes == 1
