"""Import of files: rows of CSV, JSON and Parquet files become calls."""
