"""The training loop: optimizer steps until the run is complete, saved states, and actions at given progress."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from vla_ros.train.learner import Learner
from vla_ros.train.run_state import defer_interrupts


class Pace(ABC):
    """Measures the progress of a run."""

    @abstractmethod
    def progress(self, step_count: int) -> float:
        """Progress after `step_count` optimizer steps, from 0 to 1; the run is complete at 1."""

    @abstractmethod
    def elapsed_s(self) -> float:
        """Clock for the time between saved states [s]."""

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Context of one optimizer step. Default: no effect."""
        yield


class StepPace(Pace):
    """Progress in optimizer steps, limited by wall time: if time runs out first, progress follows the clock.

    Attributes:
        steps: Optimizer steps of the complete run.
    """

    def __init__(self, steps: int, minutes: float) -> None:
        """Start the clock; the run ends at the latest after `minutes`, recording included."""
        self.steps = steps
        self._created_s = time.monotonic()
        self._end_s = self._created_s + 60.0 * minutes
        self._training_start_s = self._created_s
        self._earlier_total_s = self._earlier_training_s = 0.0

    def resume(self, total_s: float, training_s: float) -> None:
        """Count the time of interrupted runs: in total, and since training started [s]."""
        self._earlier_total_s, self._earlier_training_s = total_s, training_s
        self._end_s -= total_s

    def start_training(self) -> None:
        """Progress by the clock counts from now on."""
        self._training_start_s = time.monotonic() - self._earlier_training_s

    @property
    def total_s(self) -> float:
        """Time since the beginning, interrupted runs included [s]."""
        return self._earlier_total_s + time.monotonic() - self._created_s

    @property
    def training_s(self) -> float:
        """Time since training started, interrupted runs included [s]."""
        return time.monotonic() - self._training_start_s

    def progress(self, step_count: int) -> float:
        """See `Pace`."""
        now = time.monotonic()
        if now >= self._end_s:
            return 1.0
        by_time = (now - self._training_start_s) / (self._end_s - self._training_start_s)
        return max(step_count / self.steps, by_time)

    def elapsed_s(self) -> float:
        """See `Pace`."""
        return time.monotonic()


class ProcessorTimePace(Pace):
    """Progress in processor time of the optimizer steps.

    Attributes:
        spent_s: Processor time used so far [s].
    """

    def __init__(self, total_s: float, spent_s: float = 0.0) -> None:
        """The run is complete after `total_s` [s]; `spent_s` were used before an interruption [s]."""
        self._total_s, self.spent_s = total_s, spent_s

    def progress(self, step_count: int) -> float:
        """See `Pace`."""
        return self.spent_s / self._total_s

    def elapsed_s(self) -> float:
        """See `Pace`."""
        return self.spent_s

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """See `Pace`."""
        begin = time.process_time()
        yield
        self.spent_s += time.process_time() - begin


@dataclass(frozen=True)
class Milestone:
    """An action that is executed once.

    Attributes:
        progress: Progress from which on it is due, 0 to 1.
        action: The action.
    """

    progress: float
    action: Callable[[], None]


@dataclass
class TrainingLoop:
    """Runs optimizer steps until the pace reports completion; several processes follow the clock of rank 0.

    Attributes:
        learner: The model under training.
        pace: Measures progress.
        save_state: Saves the state of the run.
        save_s: Time between saved states, by the clock of `pace` [s].
        on_step: Called with (losses, learning rate) after each optimizer step; an interrupt waits for its end.
        after_step: Called after each step; an interrupt does not wait for it.
        milestones: In the order of their progress; removed when they are done. At most one is executed per step, and
            none after completion.
    """

    learner: Learner
    pace: Pace
    save_state: Callable[[], None]
    save_s: float
    on_step: Callable[[Mapping[str, float], float], None]
    after_step: Callable[[Mapping[str, float]], None] = lambda losses: None
    milestones: list[Milestone] = field(default_factory=list)

    def run(self) -> None:
        """Train until completion."""
        learner, pace = self.learner, self.pace
        saved_s, saved_step = pace.elapsed_s(), learner.step_count
        while True:
            save_due = pace.elapsed_s() - saved_s >= self.save_s
            progress, save = learner.distributed.broadcast([pace.progress(learner.step_count), float(save_due)])
            if save and learner.step_count > saved_step:
                self.save_state()
                saved_step, saved_s = learner.step_count, pace.elapsed_s()
            if progress >= 1.0:
                return
            if self.milestones and progress >= self.milestones[0].progress:
                self.milestones[0].action()
                del self.milestones[0]
            rate = learner.rate(progress)
            with defer_interrupts():
                with pace.measure():
                    losses = learner.step(progress)
                self.on_step(losses, rate)
            self.after_step(losses)
