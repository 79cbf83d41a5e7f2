"""LeRobot's ACT, timed in LeRobot's own environment at the other end of a pipe; started by `LeRobotProcess`.

The first line of input has the sizes as JSON; the first line of output has versions, parameters and FLOPs. Then each
line "forward" or "complete" runs one inference, and its processor and wall time [s] are written. "complete" is
LeRobot's own pipeline from uint8 images to actions: preparation of the observation, processors, policy.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

with contextlib.suppress(ImportError):
    import tvshim  # noqa: F401  (for a torchvision without its compiled part)

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.act.processor_act import make_act_pre_post_processors
from lerobot.policies.utils import prepare_observation_for_inference


def calls(sizes: dict) -> tuple[ACTPolicy, dict[str, Callable[[], object]]]:
    """The policy, and the calls that are timed, by name."""
    joints, side = sizes["joints"], sizes["image_size"]
    names = [f"observation.images.{k}" for k in range(sizes["cameras"])]
    features = {name: PolicyFeature(FeatureType.VISUAL, (3, side, side)) for name in names}
    features["observation.state"] = PolicyFeature(FeatureType.STATE, (joints,))
    config = ACTConfig(
        input_features=features,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (joints,))},
        chunk_size=sizes["chunk"],
        n_action_steps=sizes["chunk"],
        dim_model=sizes["width"],
        n_heads=sizes["attention_heads"],
        dim_feedforward=4 * sizes["width"],
        n_encoder_layers=sizes["context_layers"],
        n_decoder_layers=sizes["layers"],
        pretrained_backbone_weights=None,
        device="cpu",
    )
    policy = ACTPolicy(config).eval()
    flat = {"mean": torch.zeros(joints), "std": torch.ones(joints)}
    image = {"mean": torch.full((3, 1, 1), 0.5), "std": torch.full((3, 1, 1), 0.25)}
    stats = {"observation.state": flat, "action": flat, **dict.fromkeys(names, image)}
    before, after = make_act_pre_post_processors(config, stats)
    rng = np.random.default_rng(0)
    raw = {name: rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for name in names}
    raw["observation.state"] = np.zeros(joints, np.float32)
    prepared = before(prepare_observation_for_inference(dict(raw), torch.device("cpu")))

    def forward() -> object:
        return policy.predict_action_chunk(prepared)

    def complete() -> object:
        batch = before(prepare_observation_for_inference(dict(raw), torch.device("cpu")))
        return after(policy.predict_action_chunk(batch)).numpy()

    return policy, {"forward": forward, "complete": complete}


def main() -> None:
    """Serve requests until the pipe closes."""
    out = sys.stdout
    sys.stdout = sys.stderr  # output of libraries must not be mistaken for a result
    torch.set_num_threads(1)
    policy, inferences = calls(json.loads(sys.stdin.readline()))
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            inferences["forward"]()
        inferences["complete"]()
        parameters = sum(p.numel() for n, p in policy.named_parameters() if "vae_encoder" not in n)
        facts = {"torch": torch.__version__, "flops": counter.get_total_flops(), "parameters": parameters}
        print(json.dumps(facts), file=out, flush=True)
        for line in sys.stdin:
            wall, cpu = time.perf_counter(), time.process_time()
            inferences[line.strip()]()
            print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]), file=out, flush=True)


if __name__ == "__main__":
    main()
