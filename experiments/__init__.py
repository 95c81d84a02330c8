"""Experiments: Python functions that return the cells of a table, and the command that runs those that are missing."""
