"""Writes the table of docs/engines.md that says which engine runs what, from what the engines declare.

python docs/figures/engine_features.py
"""

from pathlib import Path

from genn_eventprop.engines.feature_table import feature_table

PAGE = Path(__file__).resolve().parents[1] / "engines.md"
BEGIN, END = "<!-- features: begin -->", "<!-- features: end -->"

before, _, rest = PAGE.read_text().partition(BEGIN)
PAGE.write_text(f"{before}{BEGIN}\n{feature_table()}\n{END}{rest.partition(END)[2]}")
