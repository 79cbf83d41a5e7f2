"""Experiments: long comparisons whose results are kept, run by `./vla experiment NAME`."""
