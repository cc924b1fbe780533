"""The dataset: parts, claims, commits and recovery, without HTTP."""
