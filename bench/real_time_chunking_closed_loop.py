"""Success and handover error of complete episodes with a slow policy, with and without real-time chunking.

Seeded episodes without ROS, in simulated time, through the planner. A chunk is requested one control step after the
last one arrived, and every chunk arrives late by exactly the delay. The handover error is the deviation of a chunk from
the active plan at its handover: the mean over the chunks of an episode, then over episodes and the joints of the arm.
Time is to success, the mean of the successful episodes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from bench.common import table
from vla_ros.config import find_checkpoint
from vla_ros.core.errors import VlaError
from vla_ros.core.statistics import wilson_interval
from vla_ros.evaluation.evaluate import evaluate
from vla_ros.evaluation.metrics import GRIPPERS
from vla_ros.evaluation.rollout import EpisodeResult, RolloutConfig

DELAYS_MS = (100, 200, 400)
STEP_MS = 50
SEED = 1_000_000
HEAD = ("checkpoint, delay", "success", "RTC", "error mrad", "RTC", "seconds", "RTC", "refused", "RTC")


@dataclass(frozen=True)
class Summary:
    """Results of a set of episodes.

    Attributes:
        successes: Number of successful episodes.
        episodes: Number of episodes.
        handover_error_mrad: See the module's text [mrad].
        seconds: Mean time to success [s].
        refused_share: Refused chunks over requested chunks.
    """

    successes: int
    episodes: int
    handover_error_mrad: float
    seconds: float
    refused_share: float

    @classmethod
    def of(cls, results: Sequence[EpisodeResult]) -> Summary:
        """Summarise the results."""
        durations = [r.duration_s for r in results if r.success]
        requests = max(1, sum(r.inferences for r in results))
        errors = [v for r in results for joint, v in r.handover_error.items() if joint not in GRIPPERS]
        return cls(
            successes=len(durations),
            episodes=len(results),
            handover_error_mrad=1e3 * sum(errors) / max(1, len(errors)),
            seconds=sum(durations) / max(1, len(durations)),
            refused_share=sum(r.refused_chunks for r in results) / requests,
        )

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the success rate."""
        return wilson_interval(self.successes, self.episodes) or (0.0, 1.0)

    def cells(self) -> list[str]:
        """Cells of a row, in the order of `HEAD`."""
        low, high = self.interval
        success = f"{self.successes}/{self.episodes} ({100 * low:.0f}-{100 * high:.0f} %)"
        refused = f"{100 * self.refused_share:.1f} %"
        return [success, f"{self.handover_error_mrad:.1f}", f"{self.seconds:.1f}", refused]


def run(checkpoint: Path, delay_ms: int, real_time_chunking: bool, episodes: int) -> Summary:
    """Play the episodes."""
    steps = delay_ms // STEP_MS
    # The next chunk is requested every `steps + 1` control steps.
    rollout = RolloutConfig(min_delay_steps=steps, max_delay_steps=steps, lead_steps=steps, use_steps=2 * steps + 1)
    results = evaluate(
        checkpoint,
        episodes,
        SEED,
        "planner",
        rollout=rollout,
        quiet=True,
        real_time_chunking=real_time_chunking,
    )
    return Summary.of(results)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench only."""
    parser.add_argument("--episodes", type=int, default=50, help="episodes per configuration (default 50)")
    parser.add_argument(
        "--checkpoint", type=Path, nargs="+", default=[find_checkpoint()],
        help="checkpoints of pick and place whose head accepts a committed prefix (default: the shipped one)",
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Play, print; returns 0 if the claims hold."""
    options = table.options(__doc__ or "", argv, add_options)
    episodes = 2 if options.quick else options.episodes
    rows, claims = [], []
    total = 2 * len(DELAYS_MS) * len(options.checkpoint)
    with tqdm(total=total, desc="real-time chunking", unit="configuration") as bar:
        for file in options.checkpoint:
            for delay in DELAYS_MS:
                summaries = []
                for real_time_chunking in (False, True):
                    try:
                        summaries.append(run(file, delay, real_time_chunking, episodes))
                    except VlaError as error:
                        print(f"real_time_chunking_closed_loop: {error}", file=sys.stderr)
                        return 1
                    bar.update()
                off, on = summaries
                pairs = [text for two in zip(off.cells(), on.cells(), strict=True) for text in two]
                name = f"{file.stem}, {delay} ms"
                rows.append([name, *pairs])
                smaller = on.handover_error_mrad < off.handover_error_mrad
                claims.append((f"{name}: smaller handover error with real-time chunking", smaller))
                inside = on.successes >= off.interval[0] * on.episodes
                claims.append((f"{name}: success with it not below the interval without it", inside))
    table.show("complete episodes without and with real-time chunking (RTC)", HEAD, rows)
    return table.verdict(claims)


if __name__ == "__main__":
    sys.exit(main())
