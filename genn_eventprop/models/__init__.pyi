"""Types of the models: what each can be called with. Written by tests/pure/test_typed.py."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genn_eventprop import NeuronModel, Param
from genn_eventprop.modelling.neuron import Neuron
from genn_eventprop.modelling.parameters import Initialiser

_Value = float | np.number[Any] | np.ndarray | Sequence[float] | Initialiser | Param

ZOO: Mapping[str, NeuronModel]

# fmt: off

class _ALIF(NeuronModel):
    def __call__(
        self, *, tau_mem: _Value = ..., tau_syn: _Value = ..., tau_B: _Value = ..., b_jump: _Value = ...,
        v_thresh: _Value = ..., v_reset: _Value = ...
    ) -> Neuron: ...

ALIF: _ALIF


class _AdEx(NeuronModel):
    def __call__(
        self, *, c_mem: _Value = ..., g_leak: _Value = ..., e_leak: _Value = ..., v_thresh: _Value = ...,
        delta_t: _Value = ..., tau_w: _Value = ..., a: _Value = ..., b: _Value = ..., v_peak: _Value = ...,
        v_reset: _Value = ..., tau_syn: _Value = ...
    ) -> Neuron: ...

AdEx: _AdEx


class _BalancedRF(NeuronModel):
    def __call__(
        self, *, omega: _Value = ..., b_offset: _Value = ..., q_damping: _Value = ..., tau_q: _Value = ...,
        v_thresh: _Value = ..., tau_syn: _Value = ...
    ) -> Neuron: ...

BalancedRF: _BalancedRF


class _EIF(NeuronModel):
    def __call__(
        self, *, tau_mem: _Value = ..., tau_syn: _Value = ..., v_rest: _Value = ..., v_thresh: _Value = ...,
        delta_t: _Value = ..., v_peak: _Value = ..., v_reset: _Value = ...
    ) -> Neuron: ...

EIF: _EIF


class _Izhikevich(NeuronModel):
    def __call__(
        self, *, a: _Value = ..., b: _Value = ..., c: _Value = ..., d: _Value = ..., v_start: _Value = ...,
        v_peak: _Value = ..., tau_syn: _Value = ...
    ) -> Neuron: ...

Izhikevich: _Izhikevich


class _IzhikevichBursting(NeuronModel):
    def __call__(
        self, *, a: _Value = ..., b: _Value = ..., c: _Value = ..., d: _Value = ..., v_start: _Value = ...,
        v_peak: _Value = ..., tau_syn: _Value = ...
    ) -> Neuron: ...

IzhikevichBursting: _IzhikevichBursting


class _IzhikevichFast(NeuronModel):
    def __call__(
        self, *, a: _Value = ..., b: _Value = ..., c: _Value = ..., d: _Value = ..., v_start: _Value = ...,
        v_peak: _Value = ..., tau_syn: _Value = ...
    ) -> Neuron: ...

IzhikevichFast: _IzhikevichFast


class _LI(NeuronModel):
    def __call__(
        self, *, tau_mem: _Value = ..., tau_syn: _Value = ...
    ) -> Neuron: ...

LI: _LI


class _LIAdaptive(NeuronModel):
    def __call__(
        self, *, tau_mem: _Value = ..., tau_syn: _Value = ..., tau_B: _Value = ..., a: _Value = ...
    ) -> Neuron: ...

LIAdaptive: _LIAdaptive


class _LIF(NeuronModel):
    def __call__(
        self, *, tau_mem: _Value = ..., tau_syn: _Value = ..., v_thresh: _Value = ..., v_reset: _Value = ...
    ) -> Neuron: ...

LIF: _LIF


class _LIFAlpha(NeuronModel):
    def __call__(
        self, *, tau_mem: _Value = ..., tau_syn: _Value = ..., v_thresh: _Value = ..., v_reset: _Value = ...
    ) -> Neuron: ...

LIFAlpha: _LIFAlpha


class _LIFConductance(NeuronModel):
    def __call__(
        self, *, tau_mem: _Value = ..., tau_exc: _Value = ..., tau_inh: _Value = ..., v_rest: _Value = ...,
        e_exc: _Value = ..., e_inh: _Value = ..., v_thresh: _Value = ..., v_reset: _Value = ...
    ) -> Neuron: ...

LIFConductance: _LIFConductance


class _LIFDelta(NeuronModel):
    def __call__(
        self, *, tau_mem: _Value = ..., v_thresh: _Value = ..., v_reset: _Value = ...
    ) -> Neuron: ...

LIFDelta: _LIFDelta


class _LIFDoubleExponential(NeuronModel):
    def __call__(
        self, *, tau_mem: _Value = ..., tau_rise: _Value = ..., tau_decay: _Value = ..., v_thresh: _Value = ...,
        v_reset: _Value = ...
    ) -> Neuron: ...

LIFDoubleExponential: _LIFDoubleExponential


class _LIFRefractory(NeuronModel):
    def __call__(
        self, *, tau_mem: _Value = ..., tau_syn: _Value = ..., t_ref: _Value = ..., v_thresh: _Value = ...,
        v_reset: _Value = ...
    ) -> Neuron: ...

LIFRefractory: _LIFRefractory


class _LIFRelativeReset(NeuronModel):
    def __call__(
        self, *, tau_mem: _Value = ..., tau_syn: _Value = ..., v_thresh: _Value = ...
    ) -> Neuron: ...

LIFRelativeReset: _LIFRelativeReset


class _QIF(NeuronModel):
    def __call__(
        self, *, tau_mem: _Value = ..., tau_syn: _Value = ..., v_crit: _Value = ..., v_peak: _Value = ...,
        v_reset: _Value = ...
    ) -> Neuron: ...

QIF: _QIF


class _SEAdLIF(NeuronModel):
    def __call__(
        self, *, tau_mem: _Value = ..., tau_syn: _Value = ..., tau_w: _Value = ..., a: _Value = ..., b: _Value = ...,
        v_thresh: _Value = ...
    ) -> Neuron: ...

SEAdLIF: _SEAdLIF


class _Theta(NeuronModel):
    def __call__(
        self, *, tau_mem: _Value = ..., tau_syn: _Value = ..., i_bias: _Value = ..., theta_start: _Value = ...
    ) -> Neuron: ...

Theta: _Theta


class _TwoCompartment(NeuronModel):
    def __call__(
        self, *, g_leak: _Value = ..., g_dend: _Value = ..., tau_dend: _Value = ..., tau_syn: _Value = ...,
        v_thresh: _Value = ..., v_reset: _Value = ...
    ) -> Neuron: ...

TwoCompartment: _TwoCompartment
