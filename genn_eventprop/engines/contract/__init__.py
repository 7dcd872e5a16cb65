"""What all engines share: the `Engine` contract, its data and results, and the rules for what an engine can run."""
