"""Demonstrations: recorded in the simulated world, kept in files, drawn for training."""
