"""The evaluation command, the statistics of episodes and their report."""

import subprocess
import sys

import pytest

from vla_ros.config import config_dir, load_robot
from vla_ros.core.errors import ConfigError
from vla_ros.core.statistics import wilson_interval
from vla_ros.evaluation.evaluate import _parse_delay, evaluate, inference_latency_ms, main, report, summarise
from vla_ros.evaluation.rollout import EpisodeResult, RolloutConfig


def test_wilson_interval_of_known_cases() -> None:
    assert wilson_interval(0, 0) is None
    assert summarise([]).interval == (0.0, 1.0)
    low, high = wilson_interval(36, 40)
    assert (round(low, 3), round(high, 3)) == (0.769, 0.960)
    assert wilson_interval(40, 40)[1] == pytest.approx(1.0)


def test_the_report_names_the_failed_seeds() -> None:
    results = [EpisodeResult(1_000_000 + k, k != 2, 7.0) for k in range(4)]
    text = report(results)
    assert "success 3/4 = 75.0 %" in text
    assert text.endswith("failed seeds: 1000002")
    assert "ms" not in text  # without inferences there is no latency


def test_the_latency_covers_all_inferences_of_all_episodes() -> None:
    results = [
        EpisodeResult(0, True, 7.0, inference_s=[0.002] * 60),
        EpisodeResult(1, True, 7.0, inference_s=[0.004] * 38 + [0.1] * 2),
    ]
    assert inference_latency_ms(results) == pytest.approx((2.0, 100.0))
    assert inference_latency_ms([EpisodeResult(0, True, 7.0)]) is None


def test_an_unknown_executor_is_refused(capsys) -> None:
    assert main(["--policy", "expert", "--executor", "planer", "--episodes", "1"]) == 1
    assert 'evaluate: unknown executor "planer"; did you mean "planner"?' in capsys.readouterr().err


def test_a_missing_checkpoint_is_refused(tmp_path, capsys) -> None:
    assert main(["--checkpoint", str(tmp_path / "none.safetensors"), "--episodes", "1"]) == 1
    assert "there is no checkpoint" in capsys.readouterr().err


def test_a_policy_of_any_name_is_evaluated(capsys) -> None:
    one = ["--episodes", "1", "--processes", "1"]
    assert main(["--policy", "hold", *one]) == 0
    assert "success 0/1" in capsys.readouterr().out
    assert main(["--policy", "expert", *one]) == 0
    assert "success 1/1" in capsys.readouterr().out
    assert main(["--policy", "nowhere:mine", *one]) == 1
    assert 'policy module "nowhere" cannot be imported' in capsys.readouterr().err
    assert main(["--policy", "", *one]) == 1
    assert 'unknown policy ""' in capsys.readouterr().err
    assert main(["--policy", "hold", "--real-time-chunking", "--executor", "planner", *one]) == 1
    assert 'policy "hold" does not accept a committed prefix' in capsys.readouterr().err


def test_the_help_names_the_command(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert capsys.readouterr().out.startswith("usage: vla eval ")


def test_real_time_chunking_needs_a_policy_and_the_planner() -> None:
    with pytest.raises(ConfigError, match="--executor planner"):
        evaluate(None, 1, real_time_chunking=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "-1"], "seeds must not be negative; got -1"),
        (["--episodes", "-2"], "episodes must not be negative and processes must be at least 1; got -2 and 2"),
        (["--processes", "0"], "got 1 and 0"),
        (["--delay-ms=-100"], 'with 0 <= LOW <= HIGH; got "-100"'),
        (["--delay-ms", "0:inf"], "--delay-ms must be"),
        (["--delay-ms", "200:100"], 'got "200:100"'),
    ],
)
def test_invalid_numbers_are_refused(capsys, arguments: list[str], message: str) -> None:
    assert main(["--policy", "expert", "--episodes", "1", *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("text", "steps"), [("0", (0, 0)), ("100", (0, 2)), ("0:100", (0, 2)), ("60:60", (2, 2))])
def test_delays_are_rounded_up_to_control_steps(text: str, steps: tuple[int, int]) -> None:
    assert _parse_delay(text) == steps


def test_an_unknown_task_ends_with_an_error() -> None:
    """A process pool restarts a process that fails during initialisation for ever, so it must not fail there."""
    code = "from vla_ros.evaluation.evaluate import main\nif __name__ == '__main__':\n    main({})"
    arguments = ["--policy", "expert", "--episodes", "1", "--processes", "1", "--task", "pick_plaze"]
    done = subprocess.run(
        [sys.executable, "-c", code.format(arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert 'evaluate: unknown task "pick_plaze"; did you mean "pick_place"?' in done.stderr


def test_simulator_and_rollout_do_not_import_torch() -> None:
    modules = "vla_ros.core, vla_ros.sim.so101.world, vla_ros.policy.base, vla_ros.evaluation.rollout"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_limits_of_a_robot_file_are_used(tmp_path) -> None:
    text = (config_dir() / "robots" / "so101.yaml").read_text(encoding="utf-8")
    (tmp_path / "slow.yaml").write_text(text.replace("jerk: 150.0", "jerk: 15.0"), encoding="utf-8")
    (result,) = evaluate(
        None, 1, 5, "planner", robot=str(tmp_path / "slow.yaml"), cameras=(), policy="expert",
        rollout=RolloutConfig(timeout_s=2.0), quiet=True,
    )  # fmt: skip
    limits = load_robot(str(tmp_path / "slow.yaml")).limits
    assert summarise([result], limits).max_command_jerk <= 1.0 + 1e-6
