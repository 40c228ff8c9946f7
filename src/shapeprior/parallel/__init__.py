"""Runs a function over many jobs in processes that may die, on this machine or on a Dask cluster.

Entry: pool.run_jobs. May import: errors, config.
"""
