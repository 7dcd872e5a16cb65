"""Many runs: repeats, scans, searches, on this machine or a cluster, and the tables of their results."""
