"""Measures the tables of the re-implemented work anew and sets them beside the published figures.

Entry: tables.write_original_tables. May import: everything but cli.
"""
