"""Experiments, one page each: paper, command, expected result and time."""
