"""The dataset: parts, claims, commits, recovery. Knows no HTTP."""
