"""A late chunk agrees with what was executed meanwhile: a spline goes through the hand-over, a flow is guided to it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from policy.small import JOINTS, model
from policy.test_run_time import LIMITS, START, see

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS, Chunk
from vla_ros.core.splines import uniform_basis
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner
from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.checkpoint_policy import CheckpointPolicy, find_device
from vla_ros.policy.heads.action_heads import guided
from vla_ros.policy.network.checkpoint import CheckpointInfo
from vla_ros.policy.real_time_chunking import PIN_CAP_RAD, CommittedPrefix, pin

SPLINE = SplineConfig(10, 4, 32, 0.05)
FREE = np.zeros(2, dtype=bool)


def active_plan(joints: tuple[str, ...] = JOINTS, start: np.ndarray = START, reach: float = 0.4) -> Plan:
    """A plan that moves every joint by `reach` [rad], in force since before the observation of `see`."""
    chunk = Chunk.from_rate(NS // 2, joints, start + reach * np.linspace(0.05, 1.0, 20)[:, None], 0.05)
    plan = Planner(LIMITS).plan(chunk, Plan.hold(joints, start, NS // 2), NS // 2)
    assert isinstance(plan, Plan)
    return plan


def committed(plan: Plan, after_s: float = 0.2, fade_s: float = 0.2, speed: float = 1.0) -> CommittedPrefix:
    """Hand-over `after_s` after the observation of `see`."""
    return CommittedPrefix(plan, NS + round(after_s * NS), NS + round((after_s + fade_s) * NS), speed)


def wrapped(head: str, condition: bool = True, mixed: bool = False, **actor: object) -> CheckpointPolicy:
    net = model(head, mixed, **actor)
    return CheckpointPolicy.from_model(net, CheckpointInfo("toy", "go", net.config), condition)


@given(seed=st.integers(0, 2**31), at=st.floats(0.0, 1.55), speed=st.floats(0.1, 1.0))
def test_a_pinned_curve_has_the_place_and_speed_of_the_plan_at_the_handover(seed: int, at: float, speed: float) -> None:
    rng = np.random.default_rng(seed)
    knots = np.array([0, 10, 30]) * NS
    plan = Plan(("a", "b"), NS, knots, *rng.normal(0.0, 0.1, (3, 3, 2)))
    told = CommittedPrefix(plan, NS + round(at / speed * NS), 0, speed)
    state = plan.at(told.handover_ns)
    control = rng.normal(0.0, 0.05, (10, 2)) + state.position
    moved = pin(control, SPLINE, told, NS, FREE)
    here, rate = (uniform_basis([at / 1.6], 10, 4, k)[0] / 1.6**k for k in range(2))
    if moved is None:
        assert np.abs(here @ control - state.position).max() > PIN_CAP_RAD
        return
    np.testing.assert_allclose(here @ moved, state.position, atol=1e-7)
    np.testing.assert_allclose(rate @ moved * speed, state.velocity, atol=1e-6)


def test_a_pin_changes_what_comes_much_later_little_and_a_gripper_not_at_all() -> None:
    control = np.zeros((10, 2))
    plan = Plan.hold(("a", "b"), [0.1, 0.1], NS // 2)
    moved = pin(control, SPLINE, CommittedPrefix(plan, NS + NS // 5, 0), NS, np.array([False, True]))
    assert moved is not None
    late = uniform_basis(np.linspace(0.6, 1.0, 20), 10, 4) @ moved
    assert np.abs(late[:, 0]).max() < 0.01
    assert not moved[:, 1].any()


@pytest.mark.parametrize(
    ("start_s", "handover_s", "target"),
    [(0.5, 2.61, 0.1), (0.5, 0.99, 0.1), (1.3, 1.2, 0.1), (0.5, 1.2, PIN_CAP_RAD + 1e-6)],
    ids=["after its end", "before its stamp", "before the plan", "too far away"],
)
def test_what_cannot_or_must_not_be_pinned_stays(start_s: float, handover_s: float, target: float) -> None:
    plan = Plan.hold(("a", "b"), [0.0, target], round(start_s * NS))
    assert pin(np.zeros((10, 2)), SPLINE, CommittedPrefix(plan, round(handover_s * NS), 0), NS, FREE) is None


def test_the_mask_is_one_until_the_handover_and_falls_to_none() -> None:
    plan = Plan.hold(("a",), [0.0], NS + NS // 10)
    times = 0.05 * np.arange(1, 13)
    mask = committed(plan, 0.2, 0.2).mask(NS, times)
    np.testing.assert_array_equal(mask[:4], [0.0, 1.0, 1.0, 1.0])  # 0.05 s lies before the plan
    assert (np.diff(mask[3:8]) < 0.0).all()
    assert mask[5] == pytest.approx(0.5 * np.expm1(0.5) / np.expm1(1.0))
    np.testing.assert_array_equal(mask[7:], 0.0)
    slow = committed(plan, 0.2, 0.2, speed=0.5).mask(NS, times)
    np.testing.assert_array_equal(slow[:2], 1.0)
    np.testing.assert_array_equal(slow[4:], 0.0)
    np.testing.assert_array_equal(committed(plan, 0.2, 0.0).mask(NS, times)[3:], 0.0)


def at_handover(chunk: Chunk, told: CommittedPrefix) -> float:
    """Distance of the arm's joints from the plan in force at the hand-over [rad]."""
    apart = np.abs(chunk.at(told.handover_ns) - told.plan.at(told.handover_ns).position)
    return float(apart[[0, 2]].max())


def test_a_splines_disagreement_at_the_handover_vanishes() -> None:
    told = committed(active_plan(reach=0.1))
    free, bound = (wrapped("beast", condition).infer(see(), told) for condition in (False, True))
    assert 0.01 < at_handover(free, told) < PIN_CAP_RAD
    assert at_handover(bound, told) < 1e-6
    grip = JOINTS.index("gripper")
    times = 0.05 * np.arange(1, 13)
    np.testing.assert_allclose(bound.sample(times)[:, grip], free.sample(times)[:, grip], atol=1e-12)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_flows_waypoints_until_the_handover_agree_with_the_plan(mixed: bool) -> None:
    told = committed(active_plan(), 0.25)
    times = 0.05 * np.arange(1, 6)
    apart = []
    for condition in (False, True):
        policy = wrapped("flow", condition, mixed, consensus={"fixed": 12})
        chunk = policy.infer(see(), told)
        apart.append(np.abs(chunk.sample(times) - told.targets(NS, times))[:, [0, 2]].max())
    free, bound = apart
    assert free > 0.1
    assert bound < 0.02


def test_a_guided_spline_flow_comes_nearer() -> None:
    told = committed(active_plan(), 0.25)
    free, bound = (at_handover(wrapped("beast_flow", c).infer(see(), told), told) for c in (False, True))
    assert bound < free / 3


@pytest.mark.parametrize("head", ["flow", "beast_flow", "beast"])
def test_without_a_plan_nothing_changes(head: str) -> None:
    free, bound = (wrapped(head, condition).infer(see()) for condition in (False, True))
    np.testing.assert_allclose(bound.positions, free.positions, atol=1e-6)
    told = committed(active_plan(), 0.25)
    np.testing.assert_array_equal(wrapped(head, False).infer(see(), told).positions, free.positions)


def test_guidance_that_wants_nothing_is_the_flow_itself_and_a_straight_one_arrives() -> None:
    """Where the end of the flow is x itself, each step takes a tenth of its weight off the error."""
    shifts: list[torch.Tensor] = []
    still = guided(lambda x, t: 0.3 * x, torch.zeros_like, shifts)
    x = torch.ones(1, 2, 2)
    torch.testing.assert_close(still(x, 0.5), 0.3 * x)
    goal = guided(lambda x, t: 0.0 * x, lambda end: 2.0 - end, shifts)
    for k in range(10):
        x = x - goal(x, 1.0 - k / 10) / 10
    weights = [min(5.0, ((1 - t) ** 2 + t**2) / max((1 - t) * t, 1e-9)) for t in 1.0 - np.arange(10) / 10]
    torch.testing.assert_close(2.0 - x, torch.full_like(x, float(np.prod(1.0 - np.array(weights) / 10))))


@pytest.mark.parametrize("head", ["regression", "bins"])
def test_a_head_that_cannot_be_conditioned_says_so(head: str) -> None:
    with pytest.raises(ConfigError, match="takes a flow, or a spline"):
        wrapped(head)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("cuda:99", r"finds \d+ GPUs"), ("gpu", "must be"), ("cuda:x", "must be"), ("cpu:1", "must be"), ("", "must be")],
)
def test_a_device_that_is_not_there_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        find_device(name)
    assert str(caught.value).endswith(".")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_on_a_machine_without_one_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError, match=r'device "cuda": torch .* finds 0 GPUs on this machine; use device "cpu"'):
        CheckpointPolicy("no such file", device="cuda")


def test_warming_up_leaves_no_trace() -> None:
    policy = wrapped("flow", mixed=True)
    cold = policy.infer(see())
    policy.warm_up()
    assert policy.uncertainty_rad is None
    np.testing.assert_array_equal(policy.infer(see()).positions, cold.positions)
