"""Intervals and paired comparisons, against tables and against all assignments of signs by hand."""

import numpy as np
import pytest

from genn_eventprop.studies.comparison import interval, paired, t_quantile


@pytest.mark.parametrize("p, degrees, wanted", [
    (0.975, 1, 12.7062), (0.975, 2, 4.30265), (0.975, 7, 2.36462), (0.995, 4, 4.60409), (0.975, 100, 1.98397),
])  # fmt: skip
def test_quantiles_are_those_of_the_tables(p, degrees, wanted):
    assert t_quantile(p, degrees) == pytest.approx(wanted, rel=2e-5)


def test_an_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = [low <= 3.0 <= high for low, high in (interval(rng.normal(3.0, 2.0, 5).tolist()) for _ in range(4000))]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.012)
    assert interval([0.5]) is None


def test_an_interval_of_accuracies_stays_within_them():
    """Two runs of 99 and 100 % say nothing about more than 100 %; the lower end is Student's as ever."""
    low, high = interval([0.99, 1.0], limits=(0.0, 1.0))
    assert high == 1.0 and low == pytest.approx(0.995 - 12.7062 * np.std([0.99, 1.0], ddof=1) / np.sqrt(2), rel=1e-4)
    assert interval([0.99, 1.0])[1] > 1 and interval([0.0, 0.02], limits=(0.0, 1.0))[0] == 0.0
    assert paired({1: 0.0, 2: 0.0}, {1: 1.0, 2: 0.2}, limit=1.0).interval == (-1.0, 1.0)


def test_pairs_are_matched_by_seed_and_all_signs_are_tried():
    first = {1: 0.5, 2: 0.6, 3: 0.7, 9: 0.1}
    second = {3: 0.71, 2: 0.64, 1: 0.53, 8: 0.9}
    found = paired(first, second)
    assert (found.pairs, found.p) == (3, 0.25)  # +++ and --- of the 8
    assert found.mean == pytest.approx(0.08 / 3)
    assert paired({1: 0.5}, {2: 0.5}) is None
    assert paired({1: 0.5}, {1: 0.6}).interval is None


def test_p_values_of_paired_signs():
    rng = np.random.default_rng(1)
    same = [paired(dict(enumerate(rng.normal(size=8))), dict(enumerate(rng.normal(size=8)))).p for _ in range(400)]
    assert np.mean(np.array(same) < 0.05) == pytest.approx(0.05, abs=0.03)
    base = dict(enumerate(rng.normal(size=20)))
    assert paired(base, {k: v + 0.3 for k, v in base.items()}).p < 1e-3
    assert paired(base, base).p == 1.0


@pytest.mark.parametrize("counts, p", [((1, -2, 1, -2), 0.75), ((0, 1, -1, 1), 1.0), ((3, -1, -2, 4, 0), 0.625)])
@pytest.mark.parametrize("base", [9000, 9731, 1])
def test_sums_of_signs_that_tie_count(counts, p, base):
    """Accuracies of 10,000 samples: sums of their differences tie but for rounding."""
    first = {i: (base + 7 * i) / 10000 for i in range(len(counts))}
    second = {i: (base + 7 * i + d) / 10000 for i, d in enumerate(counts)}
    assert paired(first, second).p == p
