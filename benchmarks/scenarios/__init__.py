"""Hold the scenarios of the benchmarks, one module for each question."""
