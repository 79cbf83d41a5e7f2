"""Records, robots, trajectories, splines and errors for every other room; no clock, thread, file, ROS or torch."""
