"""Every property is drawn from the same seeds on every machine; a failure prints its seed."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "core", derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("core")
