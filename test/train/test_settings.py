"""Settings of a run: read, overridden, refused; and how success is counted."""

import subprocess
import sys
from pathlib import Path

import pytest

from vla_ros.config import config_dir
from vla_ros.core.errors import ConfigError, UnknownName
from vla_ros.evaluation.evaluate import latency_ms, main, make_executor, report, wilson
from vla_ros.evaluation.rollout import Result
from vla_ros.train.config import load_config
from vla_ros.train.trainer import Run, Trainer


def test_every_configuration_that_ships_loads() -> None:
    files = sorted((config_dir() / "train").glob("*.yaml"))
    assert files
    for file in files:
        assert load_config(file).spline.waypoints >= 8


def test_overrides_reach_nested_parts() -> None:
    config = load_config(None, ["lr=2e-3", "demos.episodes=7", "joint_weights={gripper: 3.0}", "bf16=off"])
    assert (config.lr, config.demos.episodes, config.joint_weights, config.bf16) == (2e-3, 7, {"gripper": 3.0}, "off")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("batches=3", 'unknown key "batches" in the command line; did you mean "batch"'),
        ("demo.episodes=3", 'did you mean "demos"'),
        ("demos.episode=3", 'did you mean "episodes"'),
        ("batch", "is not of the form key=value"),
        ("batch=0", "batch must be at least 1"),
        ("lr=-1", "lr must be greater than zero"),
        ("ema=1.0", "ema must be in"),
        ("bf16=maybe", 'unknown value of bf16 "maybe"'),
        ("demos=3", "demos must be a mapping"),
        ("spline.degree=12", "degree < control points"),
        ("lr=fast", "lr must be a number"),
        ("actor=3", "actor must be a mapping"),
        ("actor.horizon=[4]", 'did you mean "horizons"'),
        ("actor.consensus.ratio=0", "consensus: ratio must be greater than zero"),
        ("consensus.ratio=1.0", 'unknown key "consensus" in the command line'),
    ],
)
def test_what_does_not_fit_is_refused(override: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(None, [override])


def test_an_unknown_key_in_a_file_is_refused(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("task: pick_place\nspline: {control_point: 8}\n")
    with pytest.raises(UnknownName, match='"control_point" in spline of mine.yaml; did you mean "control_points"'):
        load_config(file)


def test_wilson_interval_of_known_cases() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(36, 40)
    assert (round(low, 3), round(high, 3)) == (0.769, 0.960)
    assert wilson(40, 40)[1] == pytest.approx(1.0)


def test_report_names_the_failed_seeds() -> None:
    results = [Result(k != 2, 7.0, notes={"seed": 1_000_000 + k}) for k in range(4)]
    text = report(results)
    assert "success 3/4 = 75.0 %" in text
    assert text.endswith("failed seeds: 1000002")
    assert "ms" not in text  # none was timed


def test_latency_is_of_all_inferences_of_all_tries() -> None:
    results = [Result(True, 7.0, inference_s=[0.002] * 60), Result(True, 7.0, inference_s=[0.004] * 38 + [0.1] * 2)]
    assert latency_ms(results) == pytest.approx((2.0, 100.0))
    assert latency_ms([Result(True, 7.0)]) is None


def test_unknown_executor_is_refused() -> None:
    with pytest.raises(UnknownName, match='did you mean "planner"'):
        make_executor("planer", "so101")


def test_evaluate_answers_a_missing_checkpoint_with_a_sentence(tmp_path, capsys) -> None:
    assert main(["--checkpoint", str(tmp_path / "none.safetensors"), "--episodes", "1"]) == 1
    assert "there is no checkpoint" in capsys.readouterr().err


def test_evaluate_drives_with_a_policy_of_any_name(capsys) -> None:
    assert main(["--policy", "hold", "--episodes", "1", "--processes", "1"]) == 0
    assert "success 0/1" in capsys.readouterr().out
    assert main(["--policy", "nowhere:mine", "--episodes", "1", "--processes", "1"]) == 1
    assert 'policy module "nowhere" cannot be imported' in capsys.readouterr().err
    assert main(["--policy", "", "--episodes", "1", "--processes", "1"]) == 1
    assert 'unknown policy ""' in capsys.readouterr().err
    told = ["--policy", "hold", "--condition", "--through", "planner", "--episodes", "1", "--processes", "1"]
    assert main(told) == 1
    assert '"hold" cannot be told of the plan in force' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--seed", "-1"], "seeds must not be negative; got -1"),
        (["--episodes", "-2"], "-2 tries by 2 processes"),
        (["--processes", "0"], "by 0 processes"),
        (["--delay-ms=-100"], 'at least 0, or LOW:HIGH; got "-100"'),
        (["--delay-ms", "0:inf"], "--delay-ms takes"),
    ],
)
def test_evaluate_answers_numbers_that_are_none_with_a_sentence(capsys, given: list[str], says: str) -> None:
    assert main(["--checkpoint", "expert", "--episodes", "1", *given]) == 1
    assert says in capsys.readouterr().err


def test_a_run_needs_a_seed() -> None:
    with pytest.raises(ConfigError, match="must not be negative; got -1"):
        Trainer(Run(load_config(None), -1, 1.0, Path("nowhere"), "train"))


def test_simulator_and_core_do_not_load_torch() -> None:
    modules = "vla_ros.core, vla_ros.sim.so101.world, vla_ros.policy.base, vla_ros.evaluation.rollout"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
