"""The references in NumPy: `grid` defines the clocked engines, `exact` the gradients of continuous time."""
