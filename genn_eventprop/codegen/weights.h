// The time weight of a loss, w(t) a(t) / T, in ms of the trial; generated: W, see codegen/time_weights.py. w is open in a window; a(t) may follow
// the input spikes [from, to) and is heard[base + k] right behind spike k; what is weighted may have knots, at multiples of dt.

namespace {

template <class W, class Times = const double *, class Heard = double *>
struct TimeWeight {
    W w;
    Times times;
    Heard heard;
    int64_t from, to, base;
    // Sets a(t) behind the input spikes from `next` on, up to a time; returns the one that follows.
    FUNCTION int64_t hear(int64_t next, double until) const {
        for (; next < to && times[next] <= until; ++next) heard[base + next] = level(next, times[next]) + w.jump;
        return next;
    }
    // a(t) behind the input spikes ahead of number `next`.
    FUNCTION double level(int64_t next, double t) const { return next > from ? heard[base + next - 1] * exp((times[next - 1] - t) * w.rate) : 0.0; }
    // The first input spike later than offset s in the step that begins at t_k; too: or at s.
    FUNCTION int64_t later(double t_k, double s, bool too) const {
        int64_t a = from, b = to;
        while (a < b) {
            const int64_t middle = a + (b - a) / 2;
            const double at = times[middle] - t_k;
            if (at > s || (too && at == s)) b = middle;
            else a = middle + 1;
        }
        return a;
    }
    // What is open at the end of the trial is so for an event at T.
    FUNCTION bool open(double t) const { return t >= w.opens - w.tiny && (t < w.closes - w.tiny || w.closes >= w.T); }
    // At t, ahead of an input spike there; since: where the piece begins in which it is smooth, which says whether it is open.
    FUNCTION double at(double t, double since) const {
        if (!open(since)) return 0.0;
        double level_there = 1;
        if constexpr (W::driven) level_there = level(later(0.0, t, true), t);
        return W::w(t, w.T) * level_there / w.T;
    }
    // Up to where it is smooth from a on, at most b; offsets in a step.
    FUNCTION double smooth(double t_k, double a, double b) const {
        const double opens = w.opens - t_k, closes = w.closes - t_k;
        if (opens > a + w.tiny) b = fmin(b, opens);
        if (closes > a + w.tiny) b = fmin(b, closes);
        if constexpr (W::knots) {
            int64_t knot = (int64_t)((t_k + a) / w.dt);
            while ((double)knot * w.dt - t_k <= a) ++knot;
            b = fmin(b, (double)knot * w.dt - t_k);
        }
        if constexpr (W::driven)
            if (const int64_t next = later(t_k, a, false); next < to) b = fmin(b, times[next] - t_k);
        return b;
    }
};

template <class W, class Times, class Heard>
FUNCTION TimeWeight<W, Times, Heard> time_weight(W w, Times times, Heard heard, int64_t from, int64_t to, int64_t base) {
    return {w, times, heard, from, to, base};
}

// How many Gauss nodes integrate something over h ms: it is analytic, and not much larger, within pi / rate of the real axis, so that the
// error falls as rho^(-2 nodes). terms: coefficients of the polynomial that it is multiplied with. digits: that are asked for.
FUNCTION int nodes_of(double h, double rate, int64_t terms, double digits) {
    const double z = 3.15 / (h * rate);
    return 1 + (int)(0.5 * digits / log10(z + sqrt(z * z + 1)) + 0.5 * (double)(terms - 1));
}

}  // namespace
