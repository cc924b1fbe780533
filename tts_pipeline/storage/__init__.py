"""Where bytes are: stores, Parquet, JSON files, locks, leases and the disk."""
