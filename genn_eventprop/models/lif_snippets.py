"""The LIF of the loss-shaping paper written by hand as GeNN snippets, forward and adjoint.

The same neuron as `lif.LIF`, for tau_mem != tau_syn: the code divides by their difference, which the derived code does
not. Use it as a template for neurons with existing GeNN code; the reference engines run the equations next to it, so
comparing `genn` or `native` with `reference_clock` checks the code.

Source: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852, section 2.1. Adjoint variables there are
lambda_V^paper = -lambda_V / tau_mem and lambda_I^paper = -lambda_I / tau_syn of the costate used here.
"""

from genn_eventprop import NeuronModel

from . import lif

LIFSnippets = NeuronModel(
    name="LIFSnippets",
    state=lif.LIF.state,
    params=lif.LIF.params,
    dynamics=lif.LIF.dynamics,
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="I",
    snippets={
        "sim_code": """
            const scalar alpha = exp(-dt / tau_mem);
            const scalar beta = exp(-dt / tau_syn);
            V = tau_syn / (tau_mem - tau_syn) * I * (alpha - beta) + alpha * V;
            I *= beta;
        """,
        "reset_code": """
            V = v_reset;
        """,
        "adjoint_sim_code": """
            const scalar alpha = exp(-dt / tau_mem);
            const scalar beta = exp(-dt / tau_syn);
            lambda_I = tau_syn / (tau_mem - tau_syn) * lambda_V * (alpha - beta) + beta * lambda_I;
            lambda_V *= alpha;
        """,
        "adjoint_jump_code": """
            lambda_V = (lambda_V * (I - v_reset) / tau_mem - dl_dt) * inv_gdot;
        """,
    },
)
