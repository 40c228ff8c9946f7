"""Run a function over many jobs in processes that may die, on this machine or on a Dask cluster.

Entry: runner.JobRunner. May import: errors, config.
"""
