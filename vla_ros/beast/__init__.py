"""BEAST tokens (arXiv:2506.06072): an action chunk as the quantised control points of a B-spline. Needs no torch."""

from vla_ros.beast.config import BeastConfig
from vla_ros.beast.tokenizer import BeastTokenizer

__all__ = ["BeastConfig", "BeastTokenizer"]
