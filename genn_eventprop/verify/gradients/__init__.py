"""Gradient checks: every element is compared with central differences of event-exact forward runs; and a Taylor slope.

report = check(MyNeuron, seed=0)        # draws small random networks around a model
assert report.passed, report.text()
report = check_network(network, loss, parameters=..., events=..., duration=50.0)   # your own network
report = check_births(network, loss, events=..., duration=50.0, sigma=0.1)   # of spikes about to be born, by draws
"""

from .births import BirthReport, check_births
from .command import main
from .compare import check_network
from .draw import check
from .report import Block, Case, Report

__all__ = ["BirthReport", "Block", "Case", "Report", "check", "check_births", "check_network", "main"]
