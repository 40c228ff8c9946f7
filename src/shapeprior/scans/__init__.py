"""Partial views: what a sensor saw, read from files or simulated, joined, filtered and placed.

Entry: read.read_scan, observation.Observation. May import: sdf, io, geometry, parallel, errors, config.
"""
