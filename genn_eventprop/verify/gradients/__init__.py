"""Gradient checks: every element is compared with central differences of event-exact forward runs; and a Taylor slope.

report = check(MyNeuron, seed=0)        # draws small random networks around a model
assert report.passed, report.text()
report = check_network(network, loss, parameters=..., events=..., duration=50.0)   # your own network
"""

from .command import main
from .compare import check_network
from .draw import check
from .report import Block, Case, Report

__all__ = ["Block", "Case", "Report", "check", "check_network", "main"]
