"""LeRobotDataset v3.0: write, read, and convert to and from demonstrations, without LeRobot."""
