"""Fault-injection suite: breaks real processes on purpose while a simulated arm moves."""
