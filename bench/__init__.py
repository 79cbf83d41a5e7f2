"""Benches: a module per subject, run by `./vla bench NAME`; bench/README.md has the figures."""
