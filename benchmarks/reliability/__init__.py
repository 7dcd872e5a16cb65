"""Parts of ``benchmarks/campaign.py``: each is a function that returns a `table.Part`."""
