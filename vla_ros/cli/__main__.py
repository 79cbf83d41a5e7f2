"""Runs the command line as `python -m vla_ros.cli <command>`, the same as `vla <command>`."""

import sys

from vla_ros.cli import main

sys.exit(main())
