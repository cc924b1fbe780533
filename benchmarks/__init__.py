"""Measure the speed, CPU time and memory of the pipeline beside other clients: ``make bench``."""
