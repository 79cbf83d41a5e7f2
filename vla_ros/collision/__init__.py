"""Collision geometry of an arm: convex hulls of its links, and their distances from each other and from a box."""
