"""The caches of bought audio, so that nothing is bought twice: reuse stores, datasets, journals, and the job's own."""
