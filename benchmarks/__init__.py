"""What the pipeline costs and how fast it is, measured beside what people use instead: ``make bench``."""
