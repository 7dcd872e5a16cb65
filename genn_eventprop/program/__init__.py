"""What one trial does forwards and backwards, written once as data; a code generation target turns it into text.

Input: a `Plan`. Output: a `Trial` (`trial.py`): buffers, and steps made of kernels (straight-line statements of one
neuron) and a handful of operations between neurons (deliver spikes, feed back, gather weight gradients, compare).
`lower.py` writes these out as loops, which `check.py` checks and `passes.py` changes before a target prints them.
"""
