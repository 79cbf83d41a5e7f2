"""Records, robot, trajectories, splines, limit monitor, synchroniser, errors: numpy only, no ROS, torch or clock."""
