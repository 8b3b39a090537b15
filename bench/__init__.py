"""Benchmarks: each part is a module that can be run alone, and prints a table; ``--json FILE`` keeps its figures."""
