"""Import of pyarrow with an error that names the extra to install."""

from __future__ import annotations

from vla_ros.core.errors import ConfigError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError:
    raise ConfigError('LeRobot datasets need pyarrow: pip install "vla_ros[lerobot]".') from None

__all__ = ["pa", "pq"]
