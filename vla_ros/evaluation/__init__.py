"""Episodes in simulation: one rollout, its metrics, many episodes in parallel, and the success rate of a policy."""
