"""The benches are no package; they find each other beside themselves. Every test here computes on one thread."""

import sys
from pathlib import Path

from one_thread import one_thread as one_thread

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
