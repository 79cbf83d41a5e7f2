"""The sequence of the demo: homing, settling, success, timeout, and its end when it cannot continue."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vla_ros.core.records import NS
from vla_ros.evaluation.episode_sequence import (
    HOME_DT_S,
    HOME_TOLERANCE_RAD,
    PHASE_TIMEOUT_S,
    EpisodeRecord,
    EpisodeSequence,
    Phase,
    SequenceInputs,
    SequenceOutput,
)

JOINTS = ("a", "b")
HOME = np.array([0.5, -0.25])
START_NS, STEP_NS = 1_000 * NS, NS // 50
NOTHING = SequenceOutput()


class Demo:
    """A sequence of two episodes from seed 7 with a time limit of 5 s, and a graph that is ready to be armed."""

    def __init__(self, commanded: np.ndarray = HOME) -> None:
        self.now = START_NS
        self.sequence = EpisodeSequence(JOINTS, 2, 7, 5.0, self.now)
        self.inputs = SequenceInputs(
            scene={"seed": 3, "home": HOME.tolist(), "instruction": "put the cube into the bowl"},
            mode="ready",
            policy_connected=True,
            arming_available=True,
        )
        self.observe(commanded, commanded)

    def observe(self, commanded: np.ndarray, measured: np.ndarray, success: bool = False) -> None:
        ground_truth: Any = SimpleNamespace(commanded=commanded, joint_positions=measured, success=success)
        self.inputs.ground_truth = ground_truth

    def step(self, seconds: float = 0.02) -> SequenceOutput:
        self.now += round(seconds * NS)
        return self.sequence.step(self.now, self.inputs)

    def until(self, phase: Phase) -> SequenceOutput:
        """Step until a phase is entered, with a simulator that arranges scenes; returns the output of that step."""
        for _ in range(500):
            output = self.step()
            if output.arm:
                self.inputs.mode = "running"
            if output.seed is not None:
                self.inputs.scene = {**self.inputs.scene, "seed": output.seed}
            assert not output.done
            assert not output.abort_reason
            if self.sequence.phase is phase:
                return output
        raise AssertionError(f"{phase} was not reached; the sequence is in {self.sequence.phase}")


@pytest.mark.parametrize(
    "missing",
    [{"ground_truth": None}, {"policy_connected": False}, {"mode": ""}, {"arming_available": False}],
    ids=lambda missing: next(iter(missing)),
)
def test_it_arms_once_a_second_when_all_nodes_are_ready(missing: dict[str, Any]) -> None:
    demo = Demo()
    ready, demo.inputs = demo.inputs, replace(demo.inputs, **missing)
    assert demo.step() == NOTHING
    demo.inputs = ready
    assert demo.step() == SequenceOutput(arm=True)
    assert demo.step(1.0) == NOTHING
    assert demo.step() == SequenceOutput(arm=True)
    demo.inputs.mode = "running"
    assert demo.step() == NOTHING
    assert demo.sequence.phase is Phase.HOME


def test_it_moves_home_on_a_smooth_path_from_the_commanded_position() -> None:
    start = HOME + np.array([0.0, 2.0])
    demo = Demo(start)
    demo.until(Phase.HOME)
    chunk = demo.step().chunk
    assert chunk is not None
    assert chunk.joints == JOINTS
    assert chunk.stamp_ns == demo.now
    positions = chunk.as_waypoints(HOME_DT_S).positions
    assert len(positions) == 50  # 2 rad at 1 rad/s, then 0.5 s at rest
    u = np.minimum(np.arange(1, 51) / 40, 1.0)[:, None]
    np.testing.assert_allclose(positions, start + (HOME - start) * (10 * u**3 - 15 * u**4 + 6 * u**5), atol=1e-12)


def test_a_chunk_to_home_is_repeated_until_commanded_and_measured_positions_are_home() -> None:
    demo = Demo(HOME + 0.01)
    demo.until(Phase.HOME)
    assert demo.step().chunk is not None
    assert demo.step(2.0) == NOTHING
    assert demo.step().chunk is not None
    demo.observe(HOME, HOME + HOME_TOLERANCE_RAD)
    demo.step()
    assert demo.sequence.phase is Phase.HOME
    demo.observe(HOME + 0.001, HOME)
    demo.step()
    assert demo.sequence.phase is Phase.HOME
    demo.observe(HOME, HOME + 0.9 * HOME_TOLERANCE_RAD)
    demo.step()
    assert demo.sequence.phase is Phase.ARRANGE


def test_the_instruction_follows_when_the_scene_is_arranged_and_has_settled() -> None:
    demo = Demo()
    demo.until(Phase.ARRANGE)
    assert demo.step() == SequenceOutput(seed=7)
    assert demo.step(1.0) == NOTHING
    assert demo.step() == SequenceOutput(seed=7)
    demo.inputs.scene = {**demo.inputs.scene, "seed": 7}
    assert demo.step(0.3) == NOTHING
    assert demo.step() == SequenceOutput(instruction="put the cube into the bowl")
    assert demo.sequence.phase is Phase.RUN


def test_success_ends_the_episode_and_the_last_episode_ends_the_sequence() -> None:
    demo = Demo()
    demo.until(Phase.RUN)
    start = demo.now
    assert demo.step(2.0) == NOTHING
    demo.observe(HOME, HOME, success=True)
    output = demo.step(0.5)
    assert output == SequenceOutput(instruction="", record=EpisodeRecord(0, 7, True, 2.5, start, demo.now))
    assert demo.sequence.phase is Phase.SETTLE
    assert demo.sequence.episode == 1
    assert demo.step(0.3) == NOTHING
    assert demo.sequence.phase is Phase.SETTLE
    demo.observe(HOME, HOME)
    demo.until(Phase.RUN)
    demo.observe(HOME, HOME, success=True)
    output = demo.step(1.0)
    assert output.done
    assert output.instruction == ""
    assert not output.abort_reason
    assert output.record == EpisodeRecord(1, 8, True, 1.0, demo.now - NS, demo.now)


def test_an_episode_without_success_ends_at_its_time_limit() -> None:
    demo = Demo()
    demo.until(Phase.RUN)
    assert demo.step(4.98) == NOTHING
    record = demo.step().record
    assert record is not None
    assert not record.success
    assert record.seconds == 5.0


def test_a_stop_of_the_supervisor_ends_and_records_the_episode_and_aborts_the_rest() -> None:
    demo = Demo()
    demo.until(Phase.RUN)
    demo.inputs.mode, demo.inputs.reason = "stopped", "joint_state_timeout"
    output = demo.step(1.0)
    assert output.abort_reason == "the supervisor is stopped (joint_state_timeout)."
    assert output.instruction == ""
    assert output.record is not None
    assert not output.record.success
    assert not output.done


@pytest.mark.parametrize("phase", [Phase.HOME, Phase.ARRANGE])
def test_a_stop_of_the_supervisor_before_an_episode_aborts_without_a_record(phase: Phase) -> None:
    demo = Demo()
    demo.until(phase)
    demo.inputs.mode, demo.inputs.reason = "stopping", "estop"
    assert demo.step() == SequenceOutput(abort_reason="the supervisor is stopping (estop).")


def test_a_phase_that_does_not_finish_aborts() -> None:
    demo = Demo()
    demo.inputs.policy_connected = False
    assert demo.step(PHASE_TIMEOUT_S) == NOTHING
    expected = "not finished after 120 s: Wait for simulator, supervisor and policy, then arm."
    assert demo.step() == SequenceOutput(abort_reason=expected)
