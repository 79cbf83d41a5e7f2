"""Training and evaluation of the in-house policy: `python -m vla_ros.train`."""
