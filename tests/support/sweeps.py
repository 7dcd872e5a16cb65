"""Sweeps: a few cases in every run. The others run with `pytest -m slow` (`sweep`), or in CI and with
`pytest -m ci` (`THINNED`); CONTRIBUTING.md says which there are."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def sweep(cases: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """Arguments for `parametrize`: the cases of `quick` as they are, all others marked slow.

    A case is one value, or a tuple of the values of several arguments. Cases of `quick` that are none are an error.
    """
    cases = list(cases)
    unknown = [case for case in quick if case not in cases]
    assert not unknown, f"not in the sweep: {unknown}"
    return [
        c if c in quick else pytest.param(*(c if isinstance(c, tuple) else (c,)), marks=pytest.mark.slow) for c in cases
    ]


THINNED = {
    "data/test_data_memory.py::test_training_needs_little_more_than_the_events": 3,
    "engine/test_cuda_device.py::test_steps_on_the_device_are_those_of_numpy": 4,
    "engine/test_engines.py::test_every_problem_is_as_on_the_clocked_reference": 3,
    "engine/test_extended.py::test_the_diff_alone_is_enough": 4,
    "engine/test_genn_engine.py::test_examples_side_by_side_give_the_same": 3,
    "engine/test_genn_engine.py::test_spikes_and_gradients_are_those_of_the_clocked_reference": 3,
    "engine/test_genn_losses.py::test_examples_side_by_side_give_the_same": 3,
    "engine/test_genn_losses.py::test_losses": 3,
    "engine/test_genn_models.py::test_models": 3,
    "engine/test_genn_several.py::test_several_inputs": 2,
    "engine/test_genn_several.py::test_several_losses": 3,
    "engine/test_genn_several.py::test_two_calls_are_the_training_run": 3,
    "engine/test_genn_stochastic.py::test_genn_equals_the_reference": 3,
    "engine/test_genn_zoo.py::test_spikes_and_gradients_are_those_of_the_clocked_reference": 3,
    "engine/test_jumping_outputs.py::test_grid": 3,
    "engine/test_names.py::test_names_change_nothing": 2,
    "engine/test_names.py::test_words_of_the_code_change_nothing": 2,
    "engine/test_native_connectivity.py::test_every_kind_is_as_the_reference": 3,
    "engine/test_native_exact.py::test_native_is_the_event_exact_reference_at_any_step": 3,
    "engine/test_native_exact_connectivity.py::test_every_kind_is_as_the_reference": 3,
    "engine/test_native_exact_readouts.py::test_every_loss_is_that_of_the_event_exact_reference_at_any_step": 3,
    "engine/test_native_exact_robust.py::test_float32_keeps_its_bounds_when_neurons_spike_a_hundred_times": 3,
    "engine/test_native_exact_several.py::test_losses_of_every_layer": 2,
    "engine/test_native_exact_several.py::test_readouts_of_populations_that_reach_each_other": 2,
    "engine/test_nonlinear_arrivals.py::test_nonlinear_arrivals": 3,
    "engine/test_regularisers.py::test_native_equals_the_reference": 3,
    "engine/test_reordered.py::test_it_is_what_the_reference_computes": 4,
    "engine/test_several_readouts.py::test_together_they_are_what_each_is_alone": 3,
    "engine/test_small_populations.py::test_one_neuron_is_run_as_the_reference_runs_it": 3,
    "engine/test_split.py::test_differences_of_weights_and_input_times": 3,
    "engine/test_split.py::test_two_calls_are_the_training_run": 3,
    "gradient/test_gradcheck_connectivity.py::test_gradients_are_those_of_finite_differences": 3,
    "gradient/test_gradcheck_fails.py::test_the_unbroken_adjoint_is_green": 3,
    "gradient/test_gradcheck_zoo.py::test_gradients": 3,
    "gradient/test_gradient_matrix.py::test_cell": 4,
    "gradient/test_reference_event_convergence.py::test_spike_times_and_loss_converge": 2,
    "training/test_training_silent_neurons.py::test_a_deep_net_that_starts_silent_gets_its_rates": 2,
    "training/test_training_silent_neurons.py::test_everything_with_a_memory_resumes_exactly": 3,
    "training/test_training_trainer.py::test_resuming_gives_the_same_bits": 3,
}
"""Tests in `tests/` of which the default run takes every n-th case only, beginning with the first."""


def thin(items: Iterable[pytest.Item]) -> set[str]:
    """Marks the other cases of `THINNED` as `ci`; returns the names that were found."""
    seen: dict[str, int] = {}
    for item in items:
        name = item.nodeid.partition("[")[0].removeprefix("tests/")
        if name in THINNED and item.get_closest_marker("slow") is None:
            seen[name] = seen.get(name, -1) + 1
            if seen[name] % THINNED[name]:
                item.add_marker(pytest.mark.ci)
    return set(seen)
