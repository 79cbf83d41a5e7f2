"""vla_ros: runs vision-language-action policies on ROS 2 robots, with a safety supervisor before the robot.

Data flow, with the room of each step:

    camera images, joint states
      -> observation       core/        images and the joint state of the same instant
      -> action chunk      policy/      the policy; networks, heads, encoders; trained by train/ from data/
      -> plan              planning/    a B-spline inside the limits that continues the active plan
      -> permission        safety/      limit certificate, clearance (distances from collision/), monitors, fault rules
      -> joint commands    safety/      the supervisor's gate, at a fixed rate
      -> robot, or sim/    the simulators

nodes/ connects these steps by ROS 2 topics; only nodes/ and testing/ import rclpy. evaluation/ runs episodes without
ROS, system/ starts and stops the graph, report/ and cli/ present results, security/ makes the access rules of SROS 2.
`vla_ros/api.py` is the public interface. core/, planning/ and safety/ know no clock, thread or file: the time is an
argument. test/test_layers.py states which room may import which; docs/architecture.md explains it.
"""

__version__ = "0.1.0"
