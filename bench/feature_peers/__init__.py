"""Contestants of the feature store's benchmarks: one process each, one line of JSON each."""
