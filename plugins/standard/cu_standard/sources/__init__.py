"""Data sources: a manifest in Parquet or CSV, and a folder of images for each class."""
