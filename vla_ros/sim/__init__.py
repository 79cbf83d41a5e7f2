"""An arm, a table, a cube and a bowl in MuJoCo: stands in for the robot in demonstrations, training and tests.

    tasks ── scene ── world ── snapshot ── camera
                        │
                        ├─ truth ── script ── expert
                        └─ env (Gymnasium)

No ROS and no torch here.
"""
