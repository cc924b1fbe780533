"""A page on this machine to listen to a dataset and to look at its bill, over the Parquet itself."""
