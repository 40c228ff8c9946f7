"""Measures how good a prior is: metrics, baselines, one resumable row per shape, method and condition, and summaries of
the rows.

Entry: evaluate.evaluate_prior. May import: everything but cli.
"""
