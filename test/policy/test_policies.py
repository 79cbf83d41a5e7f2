"""Policies by name: their chunks, their declared capabilities, and observations they refuse."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from vla_ros.core.errors import ConfigError, RecordError, UnknownName
from vla_ros.core.records import Chunk, Observation
from vla_ros.core.trajectory import Plan
from vla_ros.data.images import crop_and_resize
from vla_ros.policy.base import (
    Policy,
    PolicyContext,
    infer_chunk,
    make_policy,
    policies,
    policy,
    require_committed_prefix,
)
from vla_ros.policy.encoders.base import image_encoders
from vla_ros.policy.heads.base import action_heads
from vla_ros.policy.hold import HoldPolicy
from vla_ros.policy.network.checkpoint import CheckpointInfo, save_checkpoint
from vla_ros.policy.network.config import ModelConfig, NetworkConfig
from vla_ros.policy.network.horizon_consensus import ConsensusConfig
from vla_ros.policy.network.model import VlaNetwork
from vla_ros.policy.real_time_chunking import CommittedPrefix
from vla_ros.policy.text.encoders import hash_embedding

JOINTS = ("a", "b", "c")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    rule = ConsensusConfig(fixed_steps=32)
    network = NetworkConfig(channels=8, keypoints=8, language="hash", grippers=(), consensus=rule)
    config = ModelConfig(JOINTS, ("front", "wrist"), network=network)
    model = VlaNetwork(config)
    path = tmp_path / "policy.safetensors"
    save_checkpoint(path, model, CheckpointInfo("so101", "put it there", config))
    return path


def observe(
    joints=JOINTS, cameras=("front", "wrist"), positions=(0.1, 0.2, 0.3), size=(224, 224), text=""
) -> Observation:
    rng = np.random.default_rng(3)
    images = {c: rng.integers(0, 256, (*size, 3), dtype=np.uint8) for c in ("front", "wrist")}
    return Observation(123, {c: images[c] for c in cameras}, joints, np.array(positions), text)


def test_learned_returns_a_curve(checkpoint: Path) -> None:
    policy = make_policy("learned", PolicyContext(robot="so101", checkpoint=checkpoint))
    policy.reset()
    chunk = policy.infer(observe())
    assert policy.cameras == ("front", "wrist")
    assert chunk.stamp_ns == 123
    assert chunk.joints == JOINTS
    assert chunk.is_curve
    np.testing.assert_allclose(chunk.offsets_s, 1.6 * np.arange(7) / 6, atol=1e-9)
    assert chunk.positions.shape == (7, 3)
    assert np.isfinite(chunk.positions).all()


def test_learned_matches_joints_by_name(checkpoint: Path) -> None:
    policy = make_policy("learned", PolicyContext(checkpoint=checkpoint))
    one = policy.infer(observe())
    two = policy.infer(observe(joints=("c", "b", "a"), positions=(0.3, 0.2, 0.1)))
    np.testing.assert_array_equal(one.positions, two.positions)


def test_learned_uses_the_instruction(checkpoint: Path) -> None:
    policy = make_policy("learned", PolicyContext(checkpoint=checkpoint))
    same, empty, other = (policy.infer(observe(text=t)).positions for t in ("Put it there!", "", "drop all of it"))
    np.testing.assert_array_equal(same, empty)
    assert np.abs(same - other).max() > 0.0


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (observe(cameras=("front",)), "lacks camera wrist; it has front"),
        (observe(cameras=()), "it has none"),
        (observe(joints=("a", "b", "d")), "lacks c and has unknown d"),
        (observe(joints=("a", "b"), positions=(0.0, 0.0)), "lacks c"),
    ],
)
def test_learned_refuses_an_incomplete_observation(checkpoint: Path, observation: Observation, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        make_policy("learned", PolicyContext(checkpoint=checkpoint)).infer(observation)


def test_hold_holds() -> None:
    chunk = make_policy("hold", PolicyContext(("c", "a", "b"))).infer(observe(cameras=()))
    np.testing.assert_array_equal(chunk.positions, np.tile([0.3, 0.1, 0.2], (8, 1)))


def test_expert_follows_the_ground_truth_on_the_grid_of_the_chunk() -> None:
    requests = []

    def path(observation: Observation, waypoints: int, dt_s: float) -> np.ndarray:
        requests.append((observation.stamp_ns, waypoints, dt_s))
        return np.full((waypoints, 3), 0.5)

    expert = make_policy("expert", PolicyContext(JOINTS, ground_truth=path))
    assert expert.needs_ground_truth
    chunk = expert.infer(observe(cameras=()))
    assert requests == [(123, 32, 0.05)]
    assert chunk.positions.shape == (32, 3)
    assert chunk.stamp_ns == 123


def test_unknown_names_name_the_nearest() -> None:
    with pytest.raises(UnknownName, match='did you mean "learned"'):
        make_policy("lerned", PolicyContext())
    with pytest.raises(UnknownName, match='did you mean "keypoint"'):
        image_encoders.get("keypoints")
    with pytest.raises(UnknownName, match='did you mean "regression"'):
        action_heads.get("regresion")
    with pytest.raises(ConfigError, match='policy "hold" needs the joints of the robot'):
        make_policy("hold", PolicyContext())
    with pytest.raises(ConfigError, match='policy "learned" needs a checkpoint'):
        make_policy("learned", PolicyContext(JOINTS))
    with pytest.raises(ConfigError, match='policy "expert" needs the ground truth of the simulator'):
        make_policy("expert", PolicyContext(JOINTS))


def test_hash_embeddings_differ_between_instructions_and_not_between_machines() -> None:
    one = hash_embedding("Put the red cube in the bowl.", 32)
    np.testing.assert_array_equal(one, hash_embedding("put the red cube in the bowl", 32))
    assert np.linalg.norm(one) == pytest.approx(1.0)
    assert not hash_embedding("", 32).any()
    assert one @ hash_embedding("open the drawer", 32) < 0.9
    # A fixed value: a checkpoint is read on other machines and by later versions.
    assert np.flatnonzero(hash_embedding("bowl", 32)).tolist() == [int(np.argmax(np.abs(hash_embedding("bowl", 32))))]


@pytest.mark.parametrize("size", [(224, 224), (480, 640), (640, 480), (96, 96), (64, 64)])
def test_images_of_any_shape_become_squares(size) -> None:
    image = np.full((*size, 3), 77, dtype=np.uint8)
    assert crop_and_resize(image, 96).shape == (96, 96, 3)
    assert (crop_and_resize(image, 96) == 77).all()


def test_a_user_policy_is_found_by_module_and_name(tmp_path, monkeypatch):
    (tmp_path / "own_policies.py").write_text(
        "from vla_ros.policy.hold import HoldPolicy\n"
        "from vla_ros.policy.base import policy\n\n\n"
        '@policy("still")\n'
        "class Still(HoldPolicy):\n"
        '    """Mine."""\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert make_policy("own_policies:still", PolicyContext(("a", "b"))).joints == ("a", "b")
    with pytest.raises(ConfigError, match='"no_such_module" cannot be imported'):
        make_policy("no_such_module:still", PolicyContext(("a",)))
    with pytest.raises(UnknownName, match='did you mean "still"'):
        make_policy("own_policies:stil", PolicyContext(("a",)))


def test_a_simple_policy_has_no_optional_capability() -> None:
    @policy("simple")
    class Simple:
        def __init__(self, joints: tuple[str, ...]) -> None:
            self.joints, self.cameras, self.resets = joints, ("front",), 0

        def infer(self, observation: Observation) -> Chunk:
            return Chunk.from_rate(observation.stamp_ns, self.joints, np.zeros((2, 3)), 0.05)

        def reset(self) -> None:
            Simple.count += 1

        count = 0

    made = make_policy("simple", PolicyContext(JOINTS))
    assert isinstance(made, Policy)
    assert (made.joints, made.cameras, made.units) == (JOINTS, ("front",), "rad")
    assert (made.accepts_committed_prefix, made.needs_ground_truth, made.uncertainty_rad) == (False, False, None)
    made.warm_up()
    made.reset()
    assert Simple.count == 1
    assert made.infer(observe(), None).positions.shape == (2, 3)
    with pytest.raises(ConfigError, match='"simple" does not accept a committed prefix'):
        require_committed_prefix("simple", made)


def test_a_policy_declares_its_capabilities() -> None:
    @policy("capable")
    class Capable(HoldPolicy):
        accepts_committed_prefix = True

        def infer(self, observation: Observation, committed: CommittedPrefix | None = None) -> Chunk:
            self.uncertainty_rad = 0.25
            return super().infer(observation)

    made = make_policy("capable", PolicyContext(JOINTS))
    require_committed_prefix("capable", made)
    assert made.uncertainty_rad is None
    made.infer(observe())
    assert made.uncertainty_rad == 0.25


def test_a_policy_in_other_units_or_with_other_arguments_is_refused() -> None:
    @policy("degrees")
    class Degrees(HoldPolicy):
        units = "deg"

    @policy("stubborn")
    class Stubborn(HoldPolicy):
        def __init__(self, joints: tuple[str, ...], speed: float) -> None:
            super().__init__(joints)

    with pytest.raises(ConfigError, match='policy "degrees" has units "deg"; only "rad" is supported'):
        make_policy("degrees", PolicyContext(JOINTS))
    with pytest.raises(ConfigError, match=r"policy \"stubborn\" cannot be made with joints=.*argument: 'speed'"):
        make_policy("stubborn", PolicyContext(JOINTS))


def test_a_result_that_is_no_chunk_is_refused_in_one_sentence() -> None:
    class Wrong(HoldPolicy):
        def infer(self, observation: Observation) -> np.ndarray:
            return np.zeros((8, 3))

    assert infer_chunk("hold", HoldPolicy(JOINTS), observe(cameras=())).joints == JOINTS
    with pytest.raises(ConfigError, match=r'policy "mine" must return a Chunk, .* it returned ndarray'):
        infer_chunk("mine", Wrong(JOINTS), observe())


def test_only_a_policy_that_accepts_a_committed_prefix_is_given_it() -> None:
    class Accepting(HoldPolicy):
        accepts_committed_prefix = True

        def infer(self, observation: Observation, committed: CommittedPrefix | None = None) -> Chunk:
            self.given = committed
            return super().infer(observation)

    prefix = CommittedPrefix(Plan.hold(JOINTS, np.zeros(3), 0), 1, 2)
    policy = Accepting(JOINTS)
    infer_chunk("accepting", policy, observe(), prefix)
    assert policy.given is prefix
    infer_chunk("hold", HoldPolicy(JOINTS), observe(), prefix)


def test_the_user_policy_of_the_docs_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "policies" / "your_own_policy.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0]
    (tmp_path / "module_of_the_docs.py").write_text(code)
    monkeypatch.setattr(policies, "_found", dict(policies._found))  # "mine" is registered for this test only
    monkeypatch.syspath_prepend(tmp_path)
    mine = make_policy("module_of_the_docs:mine", PolicyContext(JOINTS))
    chunk = infer_chunk("mine", mine, observe())
    assert (chunk.joints, chunk.positions.shape, chunk.stamp_ns) == (JOINTS, (16, 3), 123)
    np.testing.assert_allclose(chunk.offsets_s, 0.05 * np.arange(1, 17))


def test_an_incomplete_policy_is_refused_and_an_error_inside_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "_found", dict(policies._found))

    @policy("incomplete")
    class Incomplete:
        def __init__(self, joints: tuple[str, ...]) -> None:
            self.joints = joints

        def infer(self, observation: Observation) -> None:
            pass

    @policy("failing")
    class Failing:
        def __init__(self, joints: tuple[str, ...]) -> None:
            raise TypeError("a mistake inside")

    with pytest.raises(ConfigError, match='policy "incomplete" lacks cameras, reset'):
        make_policy("incomplete", PolicyContext(JOINTS))
    with pytest.raises(TypeError, match="a mistake inside"):
        make_policy("failing", PolicyContext(JOINTS))
