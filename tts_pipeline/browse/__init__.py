"""A page on this machine to listen to a dataset and read its bill, straight from its Parquet files."""
