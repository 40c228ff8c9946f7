"""Tells how good a prior is: metrics, baselines, one resumable row for each shape, method and condition, summaries.

Entry: evaluate.evaluate_prior. May import: everything but cli.
"""
