"""Parts of ``benchmarks/campaign.py``: each is a function that returns a `table.Part`.

They are no tests: a test says whether something holds, these count how often it does. A part runs hundreds of trials,
for hours if asked to, kills processes, fills disks that it mounts (which needs root), and writes the page
docs/reliability.md, also about what failed. `tests/cli/test_campaign.py` runs the quick parts, and shows that each kind
of fault would be told and counted.
"""
