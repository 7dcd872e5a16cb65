"""A published table again, by one command: papers as TOML files of cells, run like a scan, and one report.

paper.py      NAME.paper.toml beside the experiments: cells, their settings, what was published
collect.py    the finished runs of every cell
figures.py    learning curves and activity of every table
report.py     the report, as a page in HTML and Markdown
"""

from .collect import Outcome, collect
from .paper import Cell, Paper, Published, Table, find_paper, paper_names, read_paper
from .report import summary, write_report

__all__ = [
    "Cell",
    "Outcome",
    "Paper",
    "Published",
    "Table",
    "collect",
    "find_paper",
    "paper_names",
    "read_paper",
    "summary",
    "write_report",
]
