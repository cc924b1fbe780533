"""Storage: stores, Parquet, JSON files, locks, leases, and disk space."""
