"""The curve of the tokenizer against worked examples and published figures; numbers refer to the reference list."""

import numpy as np
import pytest
from beast.motions import error, motion, one_second, times
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from vla_ros.beast import BeastConfig, BeastTokenizer
from vla_ros.core.errors import ConfigError, RecordError
from vla_ros.core.splines import derivative_points, fit_matrix, uniform_basis, uniform_knots


@pytest.mark.parametrize(
    ("count", "degree", "interior"), [(5, 4, []), (5, 3, [0.5]), (10, 4, [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])]
)
def test_01_knots(count: int, degree: int, interior: list[float]) -> None:
    knots = uniform_knots(count, degree)
    assert len(knots) == count + degree + 1
    np.testing.assert_allclose(knots, [0.0] * (degree + 1) + interior + [1.0] * (degree + 1), atol=1e-15)


@pytest.mark.parametrize(("count", "degree"), [(4, 3), (5, 4), (10, 4), (10, 3), (8, 5), (6, 0), (5, 1)])
def test_02_basis(count: int, degree: int) -> None:
    u = np.linspace(0.0, 1.0, 113)
    rows = uniform_basis(u, count, degree)
    assert rows.shape == (113, count)
    assert (rows >= 0.0).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(rows[[0, -1]], np.eye(count)[[0, -1]], atol=1e-12)
    scipy_rows = BSpline.design_matrix(u, uniform_knots(count, degree), degree).toarray()
    np.testing.assert_allclose(rows, scipy_rows, atol=1e-12)


@pytest.mark.parametrize(("count", "degree"), [(10, 4), (8, 5), (5, 2)])
def test_02_derivative(count: int, degree: int) -> None:
    u, h = np.linspace(0.01, 0.99, 43), 1e-6
    slope = (uniform_basis(u + h, count, degree) - uniform_basis(u - h, count, degree)) / (2 * h)
    np.testing.assert_allclose(uniform_basis(u, count, degree, 1), slope, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: uniform_basis([0.5], 4, 4), "needs more than 4"),
        (lambda: uniform_basis([0.5], 4, 3, 4), "no derivative of order 4"),
        (lambda: uniform_basis([1.1], 4, 3), "must lie in"),
        (lambda: uniform_basis([float("nan")], 4, 3), "must lie in"),
        (lambda: derivative_points(np.zeros((4, 1)), 3, 1.0, 4), "no derivative of order 4"),
        (lambda: derivative_points(np.zeros(4), 3, 1.0), "finite control points of shape"),
        (lambda: derivative_points(np.full((4, 1), np.nan), 3, 1.0), "finite control points of shape"),
        (lambda: derivative_points(np.zeros((4, 1)), 3, 0.0), "a duration greater than zero"),
    ],
)
def test_02_a_basis_out_of_range_is_refused(call, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        call()


def test_03_worked_cubic() -> None:
    np.testing.assert_allclose(uniform_basis([0.25], 4, 3), [[0.421875, 0.421875, 0.140625, 0.015625]], atol=1e-15)
    np.testing.assert_allclose(uniform_basis([0.25, 0.5], 4, 3) @ [0, 1, 1, 0], [0.5625, 0.75], atol=1e-15)


def test_04_worked_ridge() -> None:
    target = np.array([0.0, 0.5, 1.0, 0.5, 0.0])
    basis = uniform_basis(np.linspace(0.0, 1.0, 5), 3, 1)
    np.testing.assert_allclose(fit_matrix(basis, 0.0) @ target, [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(fit_matrix(basis, 0.1) @ target, [0.0122850, 0.9336609, 0.0122850], atol=1e-7)
    pinned = BeastTokenizer(BeastConfig(1, 5, 0.25, 3, 1, grid="ends", ridge=0.0, pinned=1))
    fitted = pinned.control_points(target[:, None], [[0.2]])
    np.testing.assert_allclose(fitted[:, 0], [0.2, 0.96551724, 0.00689655], atol=1e-8)


REFERENCE = [
    *((1, n, e) for n, e in ((5, 3e-4), (10, 3e-9))),
    *((2, n, e) for n, e in ((5, 3e-2), (8, 5e-4), (10, 1e-5), (15, 6e-9))),
    *((3, n, e) for n, e in ((8, 1e-2), (10, 1e-3), (15, 7e-7))),
    *((5, n, e) for n, e in ((10, 5e-2), (15, 1e-3), (20, 5e-6))),
    *((8, n, e) for n, e in ((15, 4e-2), (20, 4e-3), (25, 8e-5))),
]


@pytest.mark.parametrize("grid", ["ends", "after"])
@pytest.mark.parametrize(("hz", "count", "reference"), REFERENCE)
def test_08_reconstruction(hz: float, count: int, reference: float, grid: str) -> None:
    tokenizer = one_second(count, grid=grid)
    actions = motion(hz)(times(tokenizer))
    quartic = error(tokenizer, actions)
    assert reference / 2.5 < quartic < reference * 2.5
    if reference > 1e-5:
        assert 1 / 3 < error(one_second(count, grid=grid, degree=3), actions) / quartic < 3


@pytest.mark.parametrize(("goal", "published"), [(1e-2, (5, 6, 9, 14, 19)), (1e-4, (6, 9, 12, 18, 25))])
@pytest.mark.parametrize("grid", ["ends", "after"])
def test_09_smallest_count(goal: float, published: tuple[int, ...], grid: str) -> None:
    def smallest(hz: float) -> int:
        actions = motion(hz)(times(one_second(5, grid=grid)))
        return next(n for n in range(5, 50) if error(one_second(n, grid=grid), actions) < goal)

    found = np.array([smallest(hz) for hz in (1, 2, 3, 5, 8)])
    assert (np.abs(found - published) <= 1).all(), found


def chunk_transitions(pinned: int, overwrite: bool = False) -> tuple[np.ndarray, np.ndarray, float]:
    """Jumps of position and of velocity between two noisy predictions of one motion, one second each.

    And the mean squared error of the second one.
    """
    first, second = one_second(10), one_second(10, pinned=pinned)
    complete, rng = motion(2, second=2.0), np.random.default_rng(3)

    def predicted(control: np.ndarray) -> np.ndarray:
        return control + 0.05 * rng.normal(size=control.shape)

    before = predicted(first.control_points(complete(times(first))))
    position, speed = before[:, -1], derivative_points(before, 4, 1.0)[:, -1]
    start = np.stack([position, speed], axis=1)[:, :pinned] if pinned else None
    control = second.control_points(complete(1.0 + times(second)), start)
    after = predicted(control)
    after[:, :pinned] = control[:, :pinned]
    if overwrite:
        after[:, 0] = position
    lost = float(np.mean((second.evaluate(after) - complete(1.0 + times(second))) ** 2))
    return second.evaluate(after, [0.0])[:, 0] - position, derivative_points(after, 4, 1.0)[:, 0] - speed, lost


def test_11_chunk_transitions() -> None:
    jump, speed, lost = chunk_transitions(0)
    assert 0.03 < np.abs(jump).mean() < 0.1
    assert 0.1 < np.abs(jump).max() < 0.4
    assert 0.9 < np.abs(speed).mean() < 3.6
    assert 0.7e-3 < lost < 2e-3
    free = np.abs(speed).mean()
    for jump, speed, more in (chunk_transitions(0, overwrite=True), chunk_transitions(1)):
        assert (jump == 0.0).all()
        assert 0.7 * lost < more < 1.5 * lost
        assert free < np.abs(speed).mean() < 5.0  # a pinned position alone makes the jump of the velocity larger
    jump, speed, more = chunk_transitions(2)
    assert (jump == 0.0).all()
    assert np.abs(speed).max() < 1e-12
    assert 0.7 * lost < more < 1.7 * lost  # the cost of a continuous transition in the middle of the chunk


def test_11_position_alone_is_not_enough() -> None:
    speeds = [derivative_points(np.array(c)[:, None], 3, 1.0)[:, 0] for c in ([0.0, 1, 1, 0], [0.0, 1, 0, 1])]
    assert speeds[0][-1] == -3.0
    assert speeds[1][0] == 3.0


def test_12_the_anchor_is_the_state_at_the_hand_over() -> None:
    tokenizer = one_second(10, 20, "after", pinned=2)
    actions = motion(2, second=2.0)(times(tokenizer))
    start = np.zeros((len(actions), 2, 1))
    tokenizer.fit(actions, start)
    old = tokenizer.encode(actions, start)
    left_s = 7 * tokenizer.config.period_s  # 7 of 20 actions executed
    position = tokenizer.decode_at(old, [left_s], start)
    speed = uniform_basis([left_s], 10, 4, 1) @ tokenizer.restore(old, start)  # one second: u is time
    anchor = np.concatenate([position, speed], axis=1)
    new = tokenizer.encode(actions, anchor)
    assert (tokenizer.decode_at(new, [0.0], anchor) == position).all()
    at_end = tokenizer.decode(old, start)[:, -1:]
    assert np.abs(tokenizer.decode_at(new, [0.0], anchor) - at_end).mean() > 0.1


@pytest.mark.parametrize("pinned", [0, 2])
@pytest.mark.parametrize("grid", ["ends", "after"])
def test_13_part_of_a_chunk(grid: str, pinned: int) -> None:
    tokenizer = one_second(10, 20, grid, pinned=pinned)
    actions = motion(3)(times(tokenizer))
    start = np.zeros((len(actions), 2, 1)) if pinned else None
    tokens = tokenizer.fit(actions, start).encode(actions, start)
    complete = tokenizer.decode(tokens, start)
    np.testing.assert_allclose(tokenizer.decode_at(tokens, times(tokenizer)[:10], start), complete[:, :10], atol=1e-12)
    np.testing.assert_allclose(tokenizer.decode_at(tokens, [times(tokenizer)[7]], start), complete[:, 7:8], atol=1e-12)
    with pytest.raises(RecordError, match="times must lie in the chunk"):
        tokenizer.decode_at(tokens, [1.1], start)


def test_14_mixed_grids_ruin_the_fit() -> None:
    after, ends = one_second(10, 20, "after"), one_second(10, 20, "ends")
    actions = motion(3)(times(after))
    control = after.control_points(actions)
    right = np.mean((after.evaluate(control) - actions) ** 2)
    assert right < 4e-3
    assert np.mean((ends.evaluate(control) - actions) ** 2) > 20 * right
    # The paper's grid starts at 0 and does not reach 1; its code evaluates to 1.
    u = np.arange(20) / 20
    actions = motion(3)(u)
    control = fit_matrix(uniform_basis(u, 10, 4), 1e-5) @ actions
    assert np.mean((uniform_basis(np.linspace(0, 1, 20), 10, 4) @ control - actions) ** 2) > 0.04


def gripper(count: int, grid: str, steps: tuple[int, ...]) -> tuple[int, float]:
    """Maximum number of actions on the wrong side, and maximum overshoot, over closings at every instant."""
    tokenizer, wrong, over = one_second(count, 20, grid, steps=steps), 0, 0.0
    for k in range(21):
        actions = np.where(np.arange(20) < k, -1.0, 1.0)[:, None]
        back = tokenizer.evaluate(tokenizer.control_points(actions))
        wrong = max(wrong, int(((back >= 0.0) != (actions > 0.0)).sum()))
        over = max(over, float(np.abs(back).max() - 1.0))
    return wrong, over


@pytest.mark.parametrize("grid", ["ends", "after"])
def test_16_gripper(grid: str) -> None:
    wrong, over = gripper(10, grid, (0,))
    assert wrong <= 1
    assert over < 1e-9
    wrong, over = gripper(20, grid, (0,))
    assert wrong == 0
    assert over < 1e-9
    assert 0.2 < gripper(10, grid, ())[1] < 0.5


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_17_up_sampling(noise: float) -> None:
    tokenizer, reference = one_second(10, 20), motion(2)
    fine, coarse = np.arange(501) / 500, times(tokenizer)
    actions = reference(coarse) + noise * np.random.default_rng(0).normal(size=(600, 20, 1))

    def jerk(values: np.ndarray) -> float:
        return float(np.abs(np.diff(values, 3, axis=1)).mean() * 500.0**3)

    true = jerk(reference(fine))
    assert 1.5e2 < true < 6e2
    assert jerk(tokenizer.evaluate(tokenizer.control_points(actions), fine)) < 2 * true
    linear = np.stack([np.interp(fine, coarse, row[:, 0]) for row in actions])[..., None]
    assert jerk(linear) > 30 * true
    assert jerk(actions[:, np.minimum((fine * 20).astype(int), 19)]) > 3000 * true


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(0, 8), st.sampled_from([0.4, 1.0, 2.5]))
def test_18_hull_of_the_derivatives(seed: int, degree: int, more: int, duration_s: float) -> None:
    count = degree + 1 + more
    control = np.random.default_rng(seed).normal(size=(count, 2))
    u = np.linspace(0.0, 1.0, 301)
    for order in (1, 2):
        points = derivative_points(control, degree, duration_s, order)
        curve = uniform_basis(u, count, degree, order) @ control / duration_s**order
        slack = 1e-9 * np.abs(points).max()
        assert (curve <= points.max(axis=0) + slack).all()
        assert (curve >= points.min(axis=0) - slack).all()
    steps = np.diff(control, axis=0)
    knots = uniform_knots(count, degree)
    worked = degree * steps / (knots[degree + 1 : -1] - knots[1 : -degree - 1])[:, None] / duration_s
    np.testing.assert_allclose(derivative_points(control, degree, duration_s), worked, rtol=1e-12)


def test_19_degeneracy() -> None:
    def normal(count: int) -> np.ndarray:
        basis = uniform_basis(np.linspace(0.0, 1.0, 20), count, 4)
        return basis.T @ basis

    assert np.linalg.cond(normal(10)) == pytest.approx(67, rel=0.02)
    assert np.linalg.cond(normal(20)) == pytest.approx(1.9e5, rel=0.05)
    assert np.linalg.matrix_rank(normal(25)) < 25
    assert np.isfinite(one_second(25, 20).control_points(np.ones((20, 1)))).all()
    for grid in ("ends", "after"):
        for ridge, minimum in ((1e-5, 0.99995), (1e-4, 0.9995)):
            tokenizer = one_second(10, 20, grid, ridge=ridge)
            assert tokenizer.evaluate(tokenizer.control_points(np.ones((20, 1)))).min() >= minimum
    assert one_second(10, 20).evaluate(one_second(10, 20).control_points(np.ones((20, 1)))).min() >= 0.99998
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(RecordError, match=r"^actions must be finite; got NaN or infinity\.$"):
            one_second(10, 20).control_points(np.where(np.arange(20) == 3, bad, 0.0)[:, None])
    with pytest.raises(ConfigError, match="degree < control points"):
        BeastConfig(1, control_points=4, degree=4)
