"""Audio that was bought before, so that it is not bought again: reuse stores, datasets, journals, this job's own."""
