// One neuron with exact spike times, in a step: x(t_k + s) = P(s) y + c(s), and y is constant between events (plan/series.py). What is
// computed of a stretch between two events, and what an event does, forwards and backwards, on every target.
//
// P: its population: n states, `modes` sets of dynamics (the last is that of the refractory period), `dynamic` learned parameters of
// them; S = 1 if all neurons share their numbers, else one set each; `degree` of the series, and tables by their names: dg, curve, rho,
// spike(mode), dspike(mode, r), rates(mode), arrive(mode, receptor) and back(mode, receptor). Backwards mu = P(s)^T lambda; learn(r, by) adds to the gradient of learned parameter r.

namespace {

// out[c] = sum over q <= m of table[q][c] s^q, for C of `all` columns; first: the place of the first of them for the neuron.
template <int C, int S = 1, int all = C, class Table>
FUNCTION void horner(const Table &table, int64_t first, int m, double s, double *out) {
    for (int c = 0; c < C; ++c) out[c] = double(table[first + (m * all + c) * S]);
    UNROLL_POWERS
    for (int q = m - 1; q >= 0; --q)
        for (int c = 0; c < C; ++c) out[c] = out[c] * s + double(table[first + (q * all + c) * S]);
}

// The table `spike` at a time has P(s) with c(s) in the last column, and P(-s), whose inverse would cost more, and digits where a
// time constant is short.
template <int n>
struct Propagator {
    static constexpr int C = n * (n + 1);
    double m[C + n * n];
    FUNCTION void to_state(const double *y, double *x) const {
        for (int i = 0; i < n; ++i) {
            x[i] = m[i * (n + 1) + n];
            for (int j = 0; j < n; ++j) x[i] += m[i * (n + 1) + j] * y[j];
        }
    }
    // y is not x, all of which every row reads.
    FUNCTION void from_state(const double *x, double *y) const {
        for (int i = 0; i < n; ++i) {
            y[i] = 0;
            for (int j = 0; j < n; ++j) y[i] += m[C + i * n + j] * (x[j] - m[j * (n + 1) + n]);
        }
    }
    // What a jump of the state adds to y.
    FUNCTION double jump(int i, const double *before, const double *after) const {
        double by = 0;
        for (int j = 0; j < n; ++j) by += m[C + i * n + j] * (after[j] - before[j]);
        return by;
    }
    FUNCTION void to_lambda(const double *mu, double *lambda) const {
        for (int i = 0; i < n; ++i) {
            lambda[i] = 0;
            for (int j = 0; j < n; ++j) lambda[i] += m[C + j * n + i] * mu[j];
        }
    }
    FUNCTION void from_lambda(const double *lambda, double *mu) const {
        for (int j = 0; j < n; ++j) {
            mu[j] = 0;
            for (int i = 0; i < n; ++i) mu[j] += m[i * (n + 1) + j] * lambda[i];
        }
    }
};

// A row of a table and its constant, of a state.
template <int n>
FUNCTION double linear(const double *row, const double *x) {
    double v = row[n];
    for (int j = 0; j < n; ++j) v += row[j] * x[j];
    return v;
}

template <class P>
struct Neuron {
    static constexpr int n = P::n, S = P::S, C = n * (n + 1), RESET = C + n * n, HELD = P::modes - 1;
    const P &p;
    int number;  // in the population
    FUNCTION int column() const { return S > 1 ? number : 0; }
    FUNCTION double threshold(const double *x) const {
        double g = double(p.dg[n * S + column()]);
        for (int i = 0; i < n; ++i) g += double(p.dg[i * S + column()]) * x[i];
        return g;
    }
    // dx_i/dt.
    FUNCTION double rate(int mode, int i, const double *x) const {
        const auto a = p.rates(mode);
        const int first = (column() * n + i) * (n + 1);
        double f = a[first + n];
        for (int j = 0; j < n; ++j) f += a[first + j] * x[j];
        return f;
    }
    // dg/dt.
    FUNCTION double slope(const double *x) const {
        double v = 0;
        for (int i = 0; i < n; ++i) v += double(p.dg[i * S + column()]) * rate(0, i, x);
        return v;
    }
    // A bound on |g''| in the step.
    FUNCTION double bend(const double *y) const {
        double v = double(p.curve[n * S + column()]);
        for (int i = 0; i < n; ++i) v += double(p.curve[i * S + column()]) * fabs(y[i]);
        return v;
    }
    // g in powers of s; of a population that does not spike, V.
    FUNCTION void powers(const double *y, double *c) const {
        for (int q = 0; q <= p.degree; ++q) {
            const int first = q * (n + 1) * S + column();
            c[q] = double(p.rho[first + n * S]);
            for (int i = 0; i < n; ++i) c[q] += double(p.rho[first + i * S]) * y[i];
        }
    }
    FUNCTION Propagator<n> at(int mode, double s) const {
        Propagator<n> to;
        horner<RESET, S>(p.spike(mode), column(), p.degree, s, to.m);
        return to;
    }
    // What an arrival of unit weight adds to y.
    FUNCTION void arrive(int mode, int receptor, double s, double *out) const {
        horner<n, S, 2 * n + 1>(p.arrive(mode, receptor), column(), p.degree, s, out);
    }
    // The same with the row of g behind it.
    FUNCTION void front(int receptor, double s, double *out) const {
        horner<2 * n + 1, S>(p.arrive(0, receptor), column(), p.degree, s, out);
    }
    // Of an arrival, backwards: P(-s) e, P(-s) (-A e), dP(-s) e by every learned parameter.
    FUNCTION void back(int mode, int receptor, double s, double *out) const {
        horner<(2 + P::dynamic) * n, S>(p.back(mode, receptor), column(), p.degree, s, out);
    }
    // A bound on |dx_v/dt| of states as large as these.
    FUNCTION double speed(int mode, int v, const double *x) const {
        const auto a = p.rates(mode);
        const int first = (column() * n + v) * (n + 1);
        double most = fabs(a[first + n]);
        for (int j = 0; j < n; ++j) most += fabs(a[first + j] * x[j]);
        return most;
    }
    // Row v of P(s) and c(s).
    FUNCTION void row(int v, int mode, double s, double *out) const {
        horner<n + 1, S, RESET>(p.spike(mode), v * (n + 1) * S + column(), p.degree, s, out);
    }
    // State v at s.
    FUNCTION double value(int v, int mode, double s, const double *y) const {
        double of[n + 1];
        row(v, mode, s, of);
        return linear<n>(of, y);
    }

    // Backwards

    // State v at s, times `by`, is part of the loss.
    template <class Learn>
    FUNCTION void pull(int v, int mode, double s, double by, const double *y, double *mu, Learn learn) const {
        double of[n + 1];
        row(v, mode, s, of);
        for (int j = 0; j < n; ++j) mu[j] += by * of[j];
        if constexpr (P::dynamic > 0)
            for (int r = 0; r < P::dynamic; ++r) {
                horner<n + 1, S, C>(p.dspike(mode, r), v * (n + 1) * S + column(), p.degree, s, of);
                learn(r, by * linear<n>(of, y));
            }
    }
    // Adds to learned parameters what the part of a step before (sign 1) or behind (-1) a jump at s contributes.
    template <class Learn>
    FUNCTION void between(int mode, double s, const Propagator<n> &m, const double *x, const double *lambda, double sign, Learn learn) const {
        if constexpr (P::dynamic > 0) {
            double d[C], y[n];
            m.from_state(x, y);
            for (int r = 0; r < P::dynamic; ++r) {
                horner<C, S>(p.dspike(mode, r), column(), p.degree, s, d);
                double v = 0;
                for (int i = 0; i < n; ++i) v += lambda[i] * linear<n>(d + i * (n + 1), y);
                learn(r, sign * v);
            }
        }
    }
    // A spike of the neuron in a mode at s; m: P and c there. extra: what lambda has beside P^T mu. jump(lambda): the jump of the model.
    template <class Jump, class Learn>
    FUNCTION void undo_spike(int mode, double s, const Propagator<n> &m, const double *before, const double *after, const double *extra, double *mu, Jump jump, Learn learn) const {
        const Propagator<n> behind = HELD ? at(HELD, s) : m;
        double lambda[n], right[n];
        behind.to_lambda(mu, right);
        for (int i = 0; i < n; ++i) lambda[i] = right[i] + extra[i];
        jump(lambda);
        for (int i = 0; i < n; ++i) lambda[i] -= extra[i];
        m.from_lambda(lambda, mu);
        between(mode, s, m, before, lambda, 1, learn), between(HELD, s, behind, after, right, -1, learn);
    }
    // The end of a refractory period at s, where lambda is continuous; returns D, which goes to the spike that began it.
    template <class Learn>
    FUNCTION double undo_end(double s, const double *x, double *mu, Learn learn) const {
        const Propagator<n> m = at(0, s), before = at(HELD, s);
        double lambda[n], D = 0;
        m.to_lambda(mu, lambda);
        for (int i = 0; i < n; ++i) D += lambda[i] * (rate(HELD, i, x) - rate(0, i, x));
        before.from_lambda(lambda, mu);
        between(HELD, s, before, x, lambda, 1, learn), between(0, s, m, x, lambda, -1, learn);
        return D;
    }
};

}  // namespace
