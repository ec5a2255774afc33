"""Measurements: each module runs as `python -m benchmarks.NAME` and keeps its raw output under results/."""
