"""Measures the figures of the re-implemented work with this package and sets them beside the published ones.

Entry: tables.write_reproduction_tables. May import: everything but cli.
"""
