"""The commands, files and examples of the README work as the README states."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from vla_ros.api import Observation, Plan, Planner, Robot, certify
from vla_ros.cli import commands
from vla_ros.config import load_robot
from vla_ros.policy.base import Policy, PolicyContext, infer_chunk, make_policy, policies

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
TEN_LINES, POLICY = re.findall(r"```python\n(.*?)```", TEXT, re.S)
(ROBOT,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.S)
NOW_NS = 1_000_000_000


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    """The robot file of the README."""
    (tmp_path / "my_arm.yaml").write_text(ROBOT, encoding="utf-8")
    return load_robot(tmp_path / "my_arm.yaml")


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name "mine" is registered for one test only."""
    monkeypatch.setattr(policies, "_found", dict(policies._found))


def my_policy(folder: Path, monkeypatch: pytest.MonkeyPatch, joints: tuple[str, ...]) -> Policy:
    """The policy of the README, saved and named as the README says."""
    assert "Save this as `my_policy.py`" in TEXT
    assert "--policy my_policy:mine" in TEXT
    (folder / "my_policy.py").write_text(POLICY, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "my_policy", raising=False)
    return make_policy("my_policy:mine", PolicyContext(joints=joints))


def observation(joints: tuple[str, ...], positions: np.ndarray) -> Observation:
    image = np.zeros((96, 96, 3), dtype=np.uint8)
    return Observation(NOW_NS - 80_000_000, {"front": image}, joints, positions, "put the red cube in the bowl")


def test_the_ten_lines_make_a_certified_plan(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict = {}
    exec(TEN_LINES, names)
    assert isinstance(names["plan"], Plan)
    assert capsys.readouterr().out.startswith("permitted")
    assert names["position"].shape == (2,)
    assert np.isfinite(names["acceleration"]).all()


@pytest.mark.parametrize("arm", ["my_arm", "so101"])
def test_the_policy_example_produces_chunks_that_become_certified_plans(
    arm: str, robot: Robot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = robot.limits if arm == "my_arm" else load_robot(arm).limits
    start = 0.5 * limits.lower + 0.5 * limits.upper + 0.1 * (limits.upper - limits.lower)
    policy = my_policy(tmp_path, monkeypatch, limits.joints)
    policy.reset()
    assert policy.cameras == ("front",)
    chunk = infer_chunk("mine", policy, observation(limits.joints, start))
    assert (chunk.stamp_ns, chunk.joints) == (NOW_NS - 80_000_000, limits.joints)
    np.testing.assert_allclose(chunk.offsets_s, 0.05 * np.arange(1, 17))
    np.testing.assert_allclose(chunk.positions[-1], 0.8 * start)
    plan = Planner(limits).plan(chunk, Plan.hold(limits.joints, start, start_ns=NOW_NS), NOW_NS)
    assert isinstance(plan, Plan), plan
    assert certify(plan, limits).permitted
    assert (np.abs(plan.at(plan.end_ns).position) < np.abs(start)).all()


def test_the_policy_example_holds_like_the_hold_policy_at_its_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joints = load_robot("so101").limits.joints
    at_target = observation(joints, np.zeros(len(joints)))
    chunk = my_policy(tmp_path, monkeypatch, joints).infer(at_target)
    held = make_policy("hold", PolicyContext(joints=joints)).infer(at_target)
    assert (chunk.stamp_ns, chunk.joints) == (held.stamp_ns, held.joints)
    np.testing.assert_array_equal(chunk.positions[:8], held.positions)
    np.testing.assert_array_equal(chunk.offsets_s[:8], held.offsets_s)


def test_the_robot_example_without_the_optional_part_has_no_clearance(robot: Robot) -> None:
    assert robot.name == "my_arm"
    assert len(robot.limits.joints) == 6
    assert robot.clearance is None


def test_the_optional_part_of_the_robot_example_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "my_arm.yaml"
    file.write_text(re.sub(r"^# (clearance:|  )", r"\1", ROBOT, flags=re.M), encoding="utf-8")
    clearance = load_robot(file).clearance
    assert clearance is not None
    assert clearance.model == str(tmp_path / "my_arm.urdf")


def test_every_command_and_launch_argument_it_names_exists() -> None:
    named = set(re.findall(r"`?\./vla (\w+)", TEXT))
    assert named <= set(commands()), named
    launch = (ROOT / "launch" / "vla.launch.py").read_text(encoding="utf-8")
    arguments = set(re.findall(r"(\w+):=", TEXT))
    assert {"source", "robot", "policy"} <= arguments
    for argument in arguments:
        assert f'"{argument}": (' in launch, argument


def test_every_topic_and_service_it_names_exists() -> None:
    topics = (ROOT / "vla_ros" / "nodes" / "common" / "topics.py").read_text(encoding="utf-8")
    named = set(re.findall(r"\bvla/[a-z_]+", TEXT))
    assert {"vla/chunk", "vla/plan", "vla/instruction", "vla/arm", "vla/stop"} <= named
    for name in named:
        assert f'"{name}"' in topics, name


def test_the_success_threshold_it_states_is_the_one_that_is_applied() -> None:
    from vla_ros.cli.demo import SUCCESS_THRESHOLD

    (stated,) = re.findall(r"success of at least (\d+) %", TEXT)
    assert int(stated) == round(100 * SUCCESS_THRESHOLD)
