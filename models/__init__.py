"""Neuron and synapse models, one small file each: equations, parameters, units, source."""
