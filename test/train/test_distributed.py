"""Several processes learn the same weights as one, within rounding; rank 0 writes the files."""

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
from vla_ros.train.distributed import SingleProcess, connect_processes
from vla_ros.train.learner import Learner
from vla_ros.train.learning_curve import read_curve

NEEDS_ACCELERATE = pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None, reason='needs accelerate: pip install "vla_ros[distributed]"'
)


def launch(out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run two processes that communicate by gloo over the loopback interface."""
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    return subprocess.run(
        [*torchrun, shared_steps.__file__, str(out), *more],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


SINGLE_HORIZON = ()
MIXTURE = ("network.mixture={horizons: [8, 32], balance: 0.0}",)
"""Without the balance loss, which depends on the complete batch while each process has its share."""
BELOW_SOFTMAX = ("points.bias", "gate.bias", "qkv.bias")


@NEEDS_ACCELERATE
@pytest.mark.parametrize("settings", [SINGLE_HORIZON, MIXTURE], ids=["single", "mixture"])
@pytest.mark.parametrize("mode", [(), ("sharded",)], ids=["ddp", "fsdp2"])
def test_two_processes_learn_the_same_as_one(tmp_path: Path, mode: tuple[str, ...], settings: tuple[str, ...]) -> None:
    single, out = tmp_path / "single", tmp_path / "two"
    for folder in (single, out):
        shared_steps.demonstrations(folder)
    shared_steps.main(single, *settings)
    done = launch(out, *mode, *settings)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(p.name for p in out.glob("rank*")) == [f"rank{k}-2-MULTI_CPU" for k in range(2)]
    one, two = (load_file(folder / "end.safetensors") for folder in (single, out))
    assert set(one) == set(two)
    for name, value in one.items():
        # Each process has its own noise. The gradient of a bias below a softmax is only rounding, which Adam scales to
        # a step.
        if name != "torch_rng" and not name.endswith(BELOW_SOFTMAX):
            assert (value.float() - two[name].float()).abs().max() < 2e-5, name
    rows = [read_curve(folder / "curve.jsonl") for folder in (single, out)]
    assert [r["step"] for r in rows[0]] == [r["step"] for r in rows[1]] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert rows[1][-1]["open_loop_rad"] == pytest.approx(rows[0][-1]["open_loop_rad"], rel=1e-4)
    # The loss is the mean over both processes, not that of rank 0.
    assert rows[1][0]["action"] == pytest.approx(rows[0][0]["action"], rel=1e-4)
    assert not (out / "training.safetensors").exists()


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    shared_steps.demonstrations(tmp_path)
    config = load_config(None, [*shared_steps.SETTINGS, "batch=7"])
    data = DemoDataset(tmp_path / "demos")
    two = SingleProcess()
    two.world_size = 2
    with pytest.raises(ConfigError, match="a batch of 7 cannot be shared by 2 processes"):
        Learner(BatchMaker(data, config, 0, 0, 2), config, 0, two)


def test_a_missing_accelerate_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ConfigError, match="training on several processes needs accelerate"):
        connect_processes()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert connect_processes().world_size == 1
