"""Demonstrations: file format, data set in memory, image augmentation, and LeRobot datasets."""
