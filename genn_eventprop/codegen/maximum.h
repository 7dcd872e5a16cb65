// The maximum of V over continuous time, of one neuron: at ends of stretches or at stationary points inside. At a kink, where the slope
// changes sign at an arrival, D of the arrival gets dL/dr Vdot(t*-). The neuron does not spike; its g is V.
//
// JUMPS: arrivals may move V itself. Then V right after the arrivals of an instant is attained too, and one that ends there
// gets dL/dr Vdot(t*+), since lambda contains the jump at t* when their D are formed. Between arrivals of one instant V has no value.
// Arrivals are counted by Count, in all or within their steps.

namespace {

template <class P, bool JUMPS, class Count>
struct Maximum {
    static constexpr int n = P::n;
    double best, offset, y[n];     // of the stretch that has it
    double turn, rise;             // rise: the slope before the arrivals of the present instant
    Count step, entry, kink_step, kink_entry, last_step, last;  // entry: the first arrival behind it; last: of this instant the last that reaches the neuron
    bool at_end, arrived;          // arrived: whether there are any

    FUNCTION void begin(const double *x, double V) {
        best = V, offset = turn = rise = 0, step = entry = 0, kink_step = kink_entry = last_step = last = -1, at_end = true, arrived = false;
        for (int i = 0; i < n; ++i) y[i] = x[i];
    }
    FUNCTION void keep(const double *now_y, double value, double s, Count now, Count next) {
        best = value, offset = s, step = now, entry = next, kink_entry = -1;
        for (int i = 0; i < n; ++i) y[i] = now_y[i];
    }
    // A stretch of step `now`, up to arrival `next`; final: it ends the trial.
    FUNCTION void read(const Neuron<P> &cell, const double *now_y, double from, double to, Count now, Count next, bool final) {
        if (!(to > from + (final ? 0.0 : cell.p.together))) return;
        double c[DEGREE + 1];
        const int m = cell.p.degree;
        cell.powers(now_y, c);
        at_end = false;
        const double end = value_of(c, m, to), s0 = slope_of(c, m, from), s1 = slope_of(c, m, to);
        if (JUMPS && arrived && value_of(c, m, from) > best) {
            keep(now_y, value_of(c, m, from), from, now, next);
            if (s0 <= 0) turn = s0, kink_step = last_step, kink_entry = last;
        }
        arrived = false, last = -1;
        if (s0 > 0 && s1 < 0 && value_of(c, m, from) + s0 * (to - from) > best) {
            double falling[DEGREE + 1];
            for (int q = 0; q < m; ++q) falling[q] = -(q + 1) * c[q + 1];
            const double s = first_crossing(falling, m - 1, from, to, bend_of(falling, m - 1, to));
            if (s > from && value_of(c, m, s) > best) keep(now_y, value_of(c, m, s), s, now, next);
        }
        // V that rises to T has its maximum there, whose time does not move with that of arrivals just before it: rounding may not decide
        const bool rises = final && s1 > 0 && end >= best - 4e-16 * fabs(best);
        if (end > best || rises) keep(now_y, end, to, now, next), at_end = true;
    }
    // Right ahead of an arrival at s.
    FUNCTION void arriving(const Neuron<P> &cell, const double *now_y, double s) {
        if (arrived) return;
        rise = 0, arrived = true;
        if (!at_end) return;
        double c[DEGREE + 1];
        cell.powers(now_y, c);
        rise = slope_of(c, cell.p.degree, s);
    }
    // Right behind arrival `number`, whose weight is not 0.
    FUNCTION void reached(const Neuron<P> &cell, const double *now_y, double s, Count now, Count number) {
        last_step = now, last = number;
        if (!(at_end && rise > 0 && kink_entry < 0)) return;
        double c[DEGREE + 1];
        cell.powers(now_y, c);
        if (slope_of(c, cell.p.degree, s) <= 0 || (JUMPS && value_of(c, cell.p.degree, s) < best)) turn = rise, kink_step = now, kink_entry = number;
    }
};

}  // namespace
