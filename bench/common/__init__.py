"""What several benches share: chunk streams, baselines, timing, tables."""
