"""The source: rows of Parquet files or frames, their columns, and duplicate rows."""
