"""Learning-rate schedules: values, products, saving."""

import json
import math

import pytest

from genn_eventprop.errors import CheckpointError, SettingError
from genn_eventprop.optimisers import Constant, Cosine, EaseIn, Exponential, HalveOnPlateau, Product, Progress, Step


@pytest.mark.parametrize(
    ("schedule", "epoch", "expected"),
    [
        (Constant(), 17, 1.0),
        (Exponential(0.95), 0, 1.0),
        (Exponential(0.95), 10, 0.95**10),
        (Step(10, 0.1), 9, 1.0),
        (Step(10, 0.1), 20, 0.01),
        (Cosine(100), 0, 1.0),
        (Cosine(100, final=0.2), 50, 0.6),
        (Cosine(100, final=0.2), 100, 0.2),
        (Cosine(100), 250, 0.0),
    ],
)
def test_values_by_epoch(schedule, epoch, expected):
    assert schedule.factor(Progress(epoch, epoch * 7)) == pytest.approx(expected, abs=1e-15)


def test_ease_in_grows_five_percent_a_batch_up_to_one():
    factors = [EaseIn().factor(Progress(0, update)) for update in range(300)]
    assert factors[0] == pytest.approx(1e-3)
    full = math.ceil(math.log(1000) / math.log(1.05))
    assert all(b / a == pytest.approx(1.05) for a, b in zip(factors[: full - 1], factors[1:full], strict=True))
    assert factors[full - 1] < 1.0 and set(factors[full:]) == {1.0}
    assert EaseIn().factor(Progress(0, 10**9)) == 1.0


def test_plateau_halves_at_most_every_wait_epochs():
    schedule, changes = HalveOnPlateau(wait=50), []
    for epoch in range(300):
        before = schedule.factor(Progress(epoch, 0))
        schedule.end_epoch(epoch, min(0.9, 0.01 * epoch) if epoch < 150 else 0.8)
        if schedule.factor(Progress(epoch, 0)) != before:
            changes.append(epoch)
    assert changes[0] == 150 and all(b - a >= 50 for a, b in zip(changes, changes[1:], strict=False))
    assert schedule.factor(Progress(300, 0)) == 0.5 ** len(changes)


def test_product_multiplies_flattens_and_is_saved():
    schedule = EaseIn(0.5, 2.0) * Exponential(0.9) * HalveOnPlateau(wait=1)
    assert isinstance(schedule, Product) and len(schedule.parts) == 3
    for epoch, accuracy in enumerate([0.9] * 3 + [0.1] * 9):
        schedule.end_epoch(epoch, accuracy)
    saved = json.loads(json.dumps(schedule.state_dict()))
    again = EaseIn(0.5, 2.0) * Exponential(0.9) * HalveOnPlateau(wait=1)
    again.load_state_dict(saved)
    now = Progress(12, 100)
    assert again.factor(now) == schedule.factor(now) < 0.9**12
    schedule.end_epoch(12, 0.5)
    again.end_epoch(12, 0.5)
    assert again.state_dict() == schedule.state_dict()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Exponential(0.0), r"Exponential: gamma must lie in \(0, 1\], got 0.0"),
        (lambda: Step(0), "Step: every must be an integer >= 1, got 0"),
        (lambda: Cosine(10, final=-0.1), r"Cosine: final must lie in \[0, 1\], got -0.1"),
        (lambda: EaseIn(growth=1.0), "EaseIn: growth must be > 1, got 1.0"),
        (lambda: HalveOnPlateau(0.9, 0.8), r"fast \(0.9\) must be smaller than slow \(0.8\)"),
        (lambda: HalveOnPlateau().end_epoch(0, None), "HalveOnPlateau needs a validation set"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(SettingError, match=message):
        make()


def test_state_of_another_schedule_is_refused():
    with pytest.raises(CheckpointError, match="written with schedule Constant, this run uses Exponential"):
        Exponential().load_state_dict(Constant().state_dict())
    with pytest.raises(CheckpointError, match="the checkpoint has 2 schedules, this run has 3"):
        (EaseIn() * Exponential() * Constant()).load_state_dict((EaseIn() * Exponential()).state_dict())
