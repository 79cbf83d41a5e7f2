"""`python -m experiments.learning_table`."""

import sys

from experiments.learning_table.command_line import main

sys.exit(main())
