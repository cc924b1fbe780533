"""Serve a page on this machine to listen to a dataset and read its bill, directly from its Parquet files."""
