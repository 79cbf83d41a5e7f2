"""Simulators of robot tasks in MuJoCo: demonstrations, training, evaluation and tests run in them.

    base                 what a simulator offers, and the registry of simulators
    minimum_jerk         motion segments of both scripted experts
    controller_emulator  emulation of a ros2_control trajectory controller
    so101/               SO-101 arm, cubes and a bowl
    aloha/               gym-aloha's transfer of a cube between two arms

No module here imports ROS or torch. MuJoCo, Gymnasium and gym-aloha are imported only by the modules that use them.
"""
