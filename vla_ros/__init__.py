"""vla_ros: from a vision-language-action policy to a supervised arm.

    cameras ─┐
             ├─ observe ─ policy ── chunk ── planner ── plan ── supervisor ── command ── robot or simulator
    joints ──┘                                 ▲                    │
                                               └──── plan in force ─┘

`core/` is numpy and a QP solver: no ROS, no torch, no clock. `policy/` and `train/` use torch,
`sim/` uses MuJoCo, and only `nodes/` imports rclpy. `docs/architecture.md` has the rules.
"""

__version__ = "0.1.0"
