"""Whole tries with a slow policy that is told what is committed, and with the same policy when it is not.

Seeded tries of the task without ROS, in simulated time, through the planner. One question at a time: the next is asked
a control step after the last chunk came, and every chunk comes late by exactly the delay. "Apart" is the distance of a
chunk from the plan in force at the hand-over, the mean over chunks of a try, then over tries and the arm's joints;
the chunks of a policy that agrees with what is being executed are close to it. Time is to success, the mean of those
that succeeded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from bench.common import table
from vla_ros.config import config_dir
from vla_ros.core.errors import VlaError
from vla_ros.evaluation.evaluate import evaluate, wilson
from vla_ros.evaluation.metrics import GRIPPERS
from vla_ros.evaluation.rollout import Result, RolloutConfig

DELAYS_MS = (100, 200, 400)
STEP_MS = 50
SEED = 1_000_000
CHECKPOINT = "so101_pick_place_beast_moh.safetensors"
HEAD = ("checkpoint, delay", "success", "told", "apart mrad", "told", "seconds", "told", "refused", "told")


@dataclass(frozen=True)
class Cell:
    """What some tries come to.

    Attributes:
        successes: Tries that succeeded.
        tries: All.
        apart_mrad: See above.
        seconds: To success [s].
        refused: Share of the chunks.
    """

    successes: int
    tries: int
    apart_mrad: float
    seconds: float
    refused: float

    @classmethod
    def of(cls, results: Sequence[Result]) -> Cell:
        """Count."""
        good = [r.duration_s for r in results if r.success]
        asked = max(1, sum(r.inferences for r in results))
        arm = [v for r in results for joint, v in r.apart.items() if joint not in GRIPPERS]
        refused = sum(r.refused for r in results) / asked
        return cls(len(good), len(results), 1e3 * sum(arm) / max(1, len(arm)), sum(good) / max(1, len(good)), refused)

    def texts(self) -> list[str]:
        """As in `HEAD`."""
        low, high = wilson(self.successes, self.tries)
        success = f"{self.successes}/{self.tries} ({100 * low:.0f}-{100 * high:.0f} %)"
        return [success, f"{self.apart_mrad:.1f}", f"{self.seconds:.1f}", f"{100 * self.refused:.1f} %"]


def cell(checkpoint: Path, delay_ms: int, told: bool, episodes: int) -> Cell:
    """Drive."""
    steps = delay_ms // STEP_MS
    rollout = RolloutConfig(
        delay_steps=steps, least_delay_steps=steps, lead_steps=steps, use_steps=2 * steps + 1
    )  # a question every `steps + 1` control steps
    return Cell.of(evaluate(checkpoint, episodes, SEED, "planner", rollout=rollout, quiet=True, condition=told))


def more(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    parser.add_argument("--episodes", type=int, default=50, help="tries per cell (default 50)")
    parser.add_argument(
        "--checkpoint", type=Path, nargs="+", default=[config_dir() / "checkpoints" / CHECKPOINT],
        help="of the pick and place, with a head that can be told (default: the shipped one)",
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Drive, print; 0 if the claims hold."""
    given = table.options(__doc__ or "", argv, more)
    episodes = 2 if given.quick else given.episodes
    rows, claims = [], []
    with tqdm(total=2 * len(DELAYS_MS) * len(given.checkpoint), desc="conditioning", unit="cell") as bar:
        for file in given.checkpoint:
            for delay in DELAYS_MS:
                cells = []
                for told in (False, True):
                    try:
                        cells.append(cell(file, delay, told, episodes))
                    except VlaError as error:
                        print(f"conditioning: {error}", file=sys.stderr)
                        return 1
                    bar.update()
                free, bound = cells
                pairs = [text for two in zip(free.texts(), bound.texts(), strict=True) for text in two]
                rows.append([f"{file.stem}, {delay} ms", *pairs])
                claims.append((f"{file.stem}, {delay} ms: closer when told", bound.apart_mrad < free.apart_mrad))
                low = wilson(free.successes, free.tries)[0]
                inside = bound.successes >= low * bound.tries
                claims.append((f"{file.stem}, {delay} ms: success told not below the other's interval", inside))
    table.show("whole tries, the policy not told and told what is committed", HEAD, rows)
    return table.verdict(claims)


if __name__ == "__main__":
    sys.exit(main())
