"""Turns a scan and a prior into a closed mesh: finds code and placement, refines, extracts and judges.

Entry: registry.load, prior.ShapePrior.complete. May import: datasets, scans, models, and everything below them.
"""
