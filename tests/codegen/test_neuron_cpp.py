"""neuron.h and maximum.h by themselves: one neuron between two events, and what an event does to it, against finite
differences of the tables and against dense samples."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from genn_eventprop import Dense, Network, Normal, Param, losses
from genn_eventprop.codegen.cpp import read
from genn_eventprop.codegen.shared import shared
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.plan import make_plan
from genn_eventprop.plan.series import DEGREE, exact_tables
from genn_eventprop.toolchain.load import build

LEARNED = ("tau_mem", "tau_syn")
RESET = np.array([[0.0, 0.1], [0.2, 0.9]])  # x+ = RESET x-
CHECK = """
struct Tables {
    static constexpr int n = 2, S = 1, modes = 2, dynamic = 2;
    const double *dg, *curve, *rho, *spikes[2], *dspikes[4], *A[2], *arrival[2];
    double together;
    int degree;
    const double *spike(int mode) const { return spikes[mode]; }
    const double *dspike(int mode, int r) const { return dspikes[2 * mode + r]; }
    const double *rates(int mode) const { return A[mode]; }
    const double *arrive(int mode, int) const { return arrival[mode]; }
};
typedef Neuron<Tables> Cell;
extern "C" {
void spike(const Tables &p, double s, const double *y, const double *h, double *next) {
    const Cell cell{p, 0};
    double x[2], after[2];
    cell.at(0, s).to_state(y, x);
    for (int i = 0; i < 2; ++i) after[i] = h[2 * i] * x[0] + h[2 * i + 1] * x[1];
    cell.at(1, s).from_state(after, next);
}
void undo_spike(const Tables &p, double s, const double *y, const double *h, double *mu, double *gradient) {
    const Cell cell{p, 0};
    const auto m = cell.at(0, s);
    double x[2], after[2], extra[2] = {0, 0};
    m.to_state(y, x);
    for (int i = 0; i < 2; ++i) after[i] = h[2 * i] * x[0] + h[2 * i + 1] * x[1];
    const auto jump = [&](double *l) {
        const double a = h[0] * l[0] + h[2] * l[1], b = h[1] * l[0] + h[3] * l[1];
        l[0] = a, l[1] = b;
    };
    cell.undo_spike(0, s, m, x, after, extra, mu, jump, [&](int r, double by) { gradient[r] += by; });
}
void end(const Tables &p, double s, const double *y, double *x, double *next) {
    const Cell cell{p, 0};
    cell.at(1, s).to_state(y, x);
    cell.at(0, s).from_state(x, next);
}
double undo_end(const Tables &p, double s, const double *x, double *mu, double *gradient) {
    return Cell{p, 0}.undo_end(s, x, mu, [&](int r, double by) { gradient[r] += by; });
}
double value(const Tables &p, double s, const double *y) {
    double row[3];
    Cell{p, 0}.row(0, 0, s, row);
    return linear<2>(row, y);
}
void pull(const Tables &p, double s, const double *y, double *mu, double *gradient) {
    Cell{p, 0}.pull(0, 0, s, 1.0, y, mu, [&](int r, double by) { gradient[r] += by; });
}
// Through arrivals of these weights; found: the maximum, its time, the arrival behind it and the one that has a kink.
void maximum(const Tables &p, double *y, double delta, int count, const double *s, const double *w, double *found) {
    const Cell cell{p, 0};
    Maximum<Tables, false, int> most;
    double from = 0, by[2], x[2];
    cell.at(0, 0).to_state(y, x);
    most.begin(y, cell.threshold(x));
    for (int e = 0;; ++e) {
        most.read(cell, y, from, e < count ? s[e] : delta, 0, e, e == count);
        if (e == count) break;
        most.arriving(cell, y, from = s[e]);
        cell.arrive(0, 0, s[e], by);
        for (int i = 0; i < 2; ++i) y[i] += by[i] * w[e];
        most.reached(cell, y, s[e], 0, e);
    }
    found[0] = most.best, found[1] = most.offset, found[2] = most.entry;
    found[3] = most.kink_entry, found[4] = most.turn;
}
double shoot(const Tables &p, double s, const double *y) {
    double c[DEGREE + 1];
    Cell{p, 0}.powers(y, c);
    return value_of(c, p.degree, s);
}
}
"""


@pytest.fixture(scope="module")
def library():
    fixed = [read("host.hpp"), read("runtime.hpp"), read("exact/series.hpp"), "#define UNROLL_POWERS\n"]
    text = "\n".join(
        [
            "typedef double scalar;",
            *fixed,
            *(shared(h, "inline") for h in ("crossings.h", "neuron.h", "maximum.h")),
            CHECK,
        ]
    )
    made = build(text)
    for name in ("undo_end", "value", "shoot"):
        getattr(made, name).restype = ctypes.c_double
    return made


DELTA = 2.0


class Cell:
    """A neuron with its tables; called as the library's functions."""

    def __init__(self, library, watched=None, **changes):
        net = Network()
        values = {"tau_mem": 9.0, "tau_syn": 4.0} | changes
        hidden = net.population(LIFRefractory(**{n: Param(v, trainable=True) for n, v in values.items()}), 1, "hidden")
        net.connect(net.input(1), hidden, Dense(Normal(1.0, 0.0)))
        plan = make_plan(net, losses.FirstSpikeCrossEntropy(hidden), dt=1.0, duration=20.0, spike_times="exact")
        p, parameters = plan.populations[0], net.initial_parameters(1)
        self.tables = [exact_tables(p, parameters, DELTA, mode=m).arrays() for m in (0, 1)]
        free = self.tables[0]
        named = [free[n] for n in ("dg", "curve", "rho")]
        named += [t["spike"] for t in self.tables]
        named += [t[f"dspike_{q}"] for t in self.tables for q in p.trainable if q in p.derived.dynamic_params]
        named += [t["A"] for t in self.tables]
        named += [t[f"arrive_{next(iter(p.derived.receptors))}"] for t in self.tables]
        self.arrays = [np.ascontiguousarray(a, float) for a in named]
        words = [a.ctypes.data for a in self.arrays] + [int(np.float64(1e-12).view(np.int64)), DEGREE]
        self.struct, self.library = np.array(words, np.int64), library

    def __call__(self, name, *arguments):
        def passed(a):
            if isinstance(a, np.ndarray):
                return ctypes.c_void_p(a.ctypes.data)
            return ctypes.c_int(a) if isinstance(a, int) else ctypes.c_double(a)

        return getattr(self.library, name)(ctypes.c_void_p(self.struct.ctypes.data), *map(passed, arguments))


def slopes(f, at, step=1e-6):
    return np.array([(f(at + step * e) - f(at - step * e)) / (2 * step) for e in np.eye(len(at))])


def by_parameter(library, f, step=1e-5):
    """d/dq of f(cell) by every learned parameter."""
    base, found = {"tau_mem": 9.0, "tau_syn": 4.0}, []
    for q in LEARNED:
        high, low = (f(Cell(library, **{q: base[q] + sign * step})) for sign in (1, -1))
        found.append((high - low) / (2 * step))
    return np.array(found)


@pytest.mark.parametrize("seed", range(4))
def test_events_backwards_are_the_slopes_of_events_forwards(library, seed):
    rng = np.random.default_rng(seed)
    cell, s, mu, y = Cell(library), float(rng.uniform(0.1, DELTA)), rng.normal(size=2), rng.normal(size=2)

    def spiked(cell, y):
        out = np.zeros(2)
        cell("spike", s, np.ascontiguousarray(y), RESET, out)
        return float(mu @ out)

    back, gradient = mu.copy(), np.zeros(2)
    cell("undo_spike", s, y, RESET, back, gradient)
    np.testing.assert_allclose(back, slopes(lambda v: spiked(cell, v), y), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(gradient, by_parameter(library, lambda c: spiked(c, y)), rtol=1e-5, atol=1e-8)

    def ended(cell, y, s=s):
        x, out = np.zeros(2), np.zeros(2)
        cell("end", s, np.ascontiguousarray(y), x, out)
        return float(mu @ out), x

    back, gradient = mu.copy(), np.zeros(2)
    D = cell("undo_end", s, ended(cell, y)[1], back, gradient)
    np.testing.assert_allclose(back, slopes(lambda v: ended(cell, v)[0], y), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(gradient, by_parameter(library, lambda c: ended(c, y)[0]), rtol=1e-5, atol=1e-8)
    assert D == pytest.approx((ended(cell, y, s + 1e-6)[0] - ended(cell, y, s - 1e-6)[0]) / 2e-6, rel=1e-6)

    back, gradient = np.zeros(2), np.zeros(2)
    cell("pull", s, y, back, gradient)
    np.testing.assert_allclose(back, slopes(lambda v: cell("value", s, np.ascontiguousarray(v)), y), rtol=1e-6)
    np.testing.assert_allclose(gradient, by_parameter(library, lambda c: c("value", s, y)), rtol=1e-5, atol=1e-8)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("seed", range(30))
def test_the_maximum_is_that_of_dense_samples(library, seed):
    """Inside a stretch, at an arrival, at the end; a kink belongs to the arrival that ends the rise."""
    rng = np.random.default_rng(seed)
    cell, count = Cell(library), int(rng.integers(0, 5))
    s, w = np.sort(rng.uniform(0, DELTA, count)), 2 * rng.normal(size=count)
    start, found = rng.normal(size=2), np.zeros(5)
    y, times, values = start.copy(), [], []
    ends = np.concatenate([[0.0], s, [DELTA]])
    for e in range(count + 1):
        at = np.linspace(ends[e], ends[e + 1], 4001)
        times, values = [*times, *at], [*values, *(cell("shoot", float(t), y) for t in at)]
        if e < count:
            by = self_response(cell, float(s[e]))
            y = y + by * w[e]
    cell("maximum", start.copy(), DELTA, count, s, w, found)
    best = int(np.argmax(values))
    assert found[0] == pytest.approx(values[best], abs=1e-6) and found[0] >= values[best] - 1e-9
    assert found[1] == pytest.approx(times[best], abs=2e-3)
    kink = [e for e in range(count) if abs(found[1] - s[e]) < 1e-12]
    if int(found[3]) >= 0:
        assert kink == [int(found[3])] and found[4] > 0


def self_response(cell, s):
    """P(-s) e, from the table."""
    table = cell.tables[0][next(n for n in cell.tables[0] if n.startswith("arrive_"))][:, :2, 0]
    return np.array([s**q for q in range(len(table))]) @ table
