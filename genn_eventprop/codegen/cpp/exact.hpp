// Exact spike times: a trial goes from event to event (arrivals, own spikes, borders of steps), and all neurons of a
// population advance together by the exact propagator of the time between two events.
//
// A model M is linear: dx/dt = A x + b with M::n states, spikes where g = dg . x + g0 crosses zero from below. Tables
// (host, double): taylor[m] = A^m / m! with the constant drive as column n, so P(delta) is a polynomial in delta that is
// exact to rounding for delta <= args.longest. Bounds on g over a segment decide which neurons are looked at one by one.

namespace {

constexpr int DEGREE = 20, RUNAWAY = 200;  // more than RUNAWAY spikes a neuron between two borders end the trial

// 1 / q of the power series.
constexpr double INVERSE[DEGREE + 1] = {0,       1.,      1. / 2,  1. / 3,  1. / 4,  1. / 5,  1. / 6,
                                        1. / 7,  1. / 8,  1. / 9,  1. / 10, 1. / 11, 1. / 12, 1. / 13,
                                        1. / 14, 1. / 15, 1. / 16, 1. / 17, 1. / 18, 1. / 19, 1. / 20};

struct LogEntry {
    double time, delta;  // of the event; length of the segment that ends there, 0 for none
    int32_t kind;        // BORDER, a connection >= 0, or -2 - population for an own spike
    int32_t source;      // sending neuron of an arrival
    int64_t index;       // of the spike in its list, -1 for input spikes
};
constexpr int32_t BORDER = -1;

// Smallest s in [0, delta] where the polynomial c (degree m) crosses zero from below, -1 if nowhere. Intervals are cut
// in half until a bound on the second derivative shows that g stays below zero or rises through it once.
__attribute__((noinline)) double first_crossing(const double* c, int m, double delta) {
    if (c[0] >= 0) return 0;
    auto value = [&](double s) {
        double v = c[m];
        for (int j = m - 1; j >= 0; --j) v = v * s + c[j];
        return v;
    };
    auto slope = [&](double s) {
        double v = m * c[m];
        for (int j = m - 1; j >= 1; --j) v = v * s + j * c[j];
        return v;
    };
    double curve = 0;
    for (int j = m; j >= 2; --j) curve = curve * delta + j * (j - 1) * std::fabs(c[j]);
    double ends[64], left = 0, right = delta, g_left = c[0], s_left = c[1];
    int depth = 0;
    for (;;) {
        const double h = right - left, g_right = value(right), s_right = slope(right), bend = 0.5 * curve * h * h;
        const bool tiny = h <= 1e-15 * delta || depth == 63;
        if (g_right < 0) {
            const double up = std::fmax(g_left, g_left + s_left * h + bend), down = std::fmax(g_right, g_right - s_right * h + bend);
            if (std::fmin(up, down) < 0 || tiny) {
                if (depth == 0) return -1;
                left = right, g_left = g_right, s_left = s_right, right = ends[--depth];
                continue;
            }
        } else if (s_left > curve * h || s_right > curve * h || tiny) {
            break;
        }
        ends[depth++] = right;
        right = left + 0.5 * h;
    }
    double s = left - g_left * (right - left) / (value(right) - g_left);
    for (int k = 0; k < 60; ++k) {
        const double g = value(s), d = slope(s);
        (g < 0 ? left : right) = s;
        double next = s - g / d;
        if (next >= left && next <= right) {
            // Newton converges quadratically: after a step this small the next one is below rounding.
            if (std::fabs(next - s) <= 1e-9 * delta) return next;
        } else {
            next = 0.5 * (left + right);
            if (right - left <= 4e-16 * delta) return next;
        }
        s = next;
    }
    return s;
}

// The neurons of one population. Varies: every neuron has its own dynamics (tables [..][NP], else [..][1]).
template <class M, int N, bool Varies>
struct Neurons {
    typedef M model;
    static constexpr int n = M::n, NP = (N + 15) / 16 * 16;
    typedef typename std::conditional<Varies, scalar, double>::type table;
    Buffer<scalar> x[n], fresh[n], lambda[n], reach, P[Varies ? n * (n + 1) : 1], grad[M::learned + 1];
    Buffer<scalar> trace, feedback;
    Buffer<double> spike_time;
    Spikes<n + 1> spikes;
    scalar p[n][n + 1];
    int64_t rows = 0, spikes_in_step = 0;
    // The crossings of this population until `valid_until`, unless an arrival comes first.
    struct Crossing {
        double time, x[n];
        int neuron;
    };
    std::vector<Crossing> crossings;
    double valid_until = -1, fresh_delta = -1;
    bool any_reach = false;
    const table *taylor, *derivative[M::learned + 1];
    const double *limit, *A;
    const scalar *dg, *slope, *curve;

    void prepare() {
        for (int i = 0; i < n; ++i) x[i].zero(NP), fresh[i].zero(NP), lambda[i].zero(NP);
        for (auto& b : P) b.zero(NP);
        for (auto& b : grad) b.zero(NP);
        reach.zero(NP);
    }
    void begin() {
        crossings.clear();
        valid_until = fresh_delta = -1;
        rows = spikes_in_step = spikes.count = 0;
    }
    static constexpr int at(int neuron) { return Varies ? neuron : 0; }
    static constexpr int S = Varies ? NP : 1;
    scalar coefficient(int i, int j, int neuron) const {
        if constexpr (Varies) return P[i * (n + 1) + j].data[neuron];
        (void)neuron;
        return p[i][j];
    }
    int degree(double delta) const {
        int m = 1;
        while (m < DEGREE && delta > limit[m]) ++m;
        return m;
    }
    // P(delta) and its constant part.
    __attribute__((noinline)) void step(double delta) {
        const int m = degree(delta);
        for (int i = 0; i < n; ++i)
            for (int j = 0; j <= n; ++j) {
                if (!M::coupled[i][j]) {
                    p[i][j] = 0;
                    continue;
                }
                const table* t = taylor + (i * (n + 1) + j) * S;
                if constexpr (Varies) {
                    scalar* __restrict out = P[i * (n + 1) + j];
                    const scalar d = scalar(delta);
                    INDEPENDENT
                    for (int k = 0; k < NP; ++k) out[k] = t[m * n * (n + 1) * S + k];
                    for (int q = m - 1; q >= 0; --q)
                        INDEPENDENT
                        for (int k = 0; k < NP; ++k) out[k] = out[k] * d + t[q * n * (n + 1) * S + k];
                } else {
                    double v = t[m * n * (n + 1)];
                    for (int q = m - 1; q >= 0; --q) v = v * delta + t[q * n * (n + 1)];
                    p[i][j] = scalar(v);
                }
            }
    }
    // fresh = state after delta; reach >= the largest g on the way. Returns whether some neuron may have crossed.
    __attribute__((noinline)) bool advance(double delta) {
        if (fresh_delta == delta) return any_reach;
        fresh_delta = delta;
        step(delta);
        const scalar d = scalar(delta), half = scalar(0.5 * delta * delta);
        scalar* __restrict out = reach;
        INDEPENDENT
        for (int k = 0; k < NP; ++k) {
            scalar a[n], b[n];
            for (int i = 0; i < n; ++i) a[i] = x[i].data[k];
            for (int i = 0; i < n; ++i) {
                b[i] = M::coupled[i][n] ? coefficient(i, n, k) : scalar(0);
                for (int j = 0; j < n; ++j)
                    if (M::coupled[i][j]) b[i] += coefficient(i, j, k) * a[j];
                fresh[i].data[k] = b[i];
            }
            if constexpr (M::spiking) {
                const int r = M::varying_g ? k : 0;
                constexpr int R = M::varying_g ? NP : 1;
                scalar g0 = dg[n * R + r], g1 = g0, s0 = slope[n * R + r], s1 = s0, bend = curve[n * R + r];
                for (int i = 0; i < n; ++i) {
                    g0 += dg[i * R + r] * a[i], g1 += dg[i * R + r] * b[i];
                    s0 += slope[i * R + r] * a[i], s1 += slope[i * R + r] * b[i];
                    bend += curve[i * R + r] * (a[i] < 0 ? -a[i] : a[i]);
                }
                bend *= half;
                const scalar rise = g0 + s0 * d + bend, up = rise > g0 ? rise : g0, down = g1 - s1 * d + bend;
                scalar inside = up < down ? up : down;
                inside = inside > g0 ? inside : g0;
                out[k] = g1 > inside ? g1 : inside;
            }
        }
        if constexpr (!M::spiking) return false;
        int any = 0;
        INDEPENDENT
        for (int k = 0; k < N; ++k) any |= out[k] >= 0;
        return any_reach = any != 0;
    }
    void accept() {
        for (int i = 0; i < n; ++i) std::swap(x[i].data, fresh[i].data);
        fresh_delta = -1;
    }
    // An arrival changed the states: what was known of crossings no longer holds.
    void touch() { valid_until = fresh_delta = -1; }
    // Power series of g and of all states of one neuron from its present state; returns the degree.
    __attribute__((noinline)) int series(int neuron, double delta, double* g, double (*state)[DEGREE + 1]) const {
        const double* a = A + (Varies ? neuron : 0) * n * (n + 1);
        const int r = M::varying_g ? neuron : 0, R = M::varying_g ? NP : 1, m = degree(delta);
        double v[n], w[n];
        for (int i = 0; i < n; ++i) state[i][0] = v[i] = double(x[i].data[neuron]);
        for (int q = 1; q <= m; ++q) {
            for (int i = 0; i < n; ++i) {
                w[i] = q == 1 ? a[i * (n + 1) + n] : 0.0;
                for (int j = 0; j < n; ++j) w[i] += a[i * (n + 1) + j] * v[j];
            }
            for (int i = 0; i < n; ++i) state[i][q] = v[i] = w[i] * INVERSE[q];
        }
        for (int q = 0; q <= m; ++q) {
            g[q] = q == 0 ? double(dg[n * R + r]) : 0.0;
            for (int i = 0; i < n; ++i) g[q] += double(dg[i * R + r]) * state[i][q];
        }
        return m;
    }
    // Adds the first crossing of one neuron within (t, t + delta], with its state there.
    void solve(int neuron, double t, double delta) {
        double g[DEGREE + 1], state[n][DEGREE + 1];
        const int m = series(neuron, delta, g, state);
        const double s = first_crossing(g, m, delta);
        if (s < 0) return;
        Crossing c;
        c.time = t + s;
        c.neuron = neuron;
        for (int i = 0; i < n; ++i) {
            double v = state[i][m];
            for (int q = m - 1; q >= 0; --q) v = v * s + state[i][q];
            c.x[i] = v;
        }
        crossings.push_back(c);
    }
    // Finds all crossings until `next` unless they are known.
    void look_ahead(double t, double next) {
        if (valid_until >= next) return;
        crossings.clear();
        valid_until = next;
        if (!advance(next - t)) return;
        for (int k = 0; k < N; ++k)
            if (reach.data[k] >= 0) solve(k, t, next - t);
    }
    // The earliest known crossing up to `until`, the lowest neuron first; -1 for none.
    int earliest(double until) const {
        int best = -1;
        for (int i = 0; i < int(crossings.size()); ++i) {
            const Crossing &a = crossings[size_t(i)], &b = crossings[size_t(best < 0 ? 0 : best)];
            if (a.time > until) continue;
            if (best < 0 || a.time < b.time || (a.time == b.time && a.neuron < b.neuron)) best = i;
        }
        return best;
    }
    // The crossing happened: forget it and look for the neuron's next one from its state after the reset.
    void happened(int which, double t) {
        const int neuron = crossings[size_t(which)].neuron;
        crossings.erase(crossings.begin() + which);
        fresh_delta = -1;
        if (valid_until > t) solve(neuron, t, valid_until - t);
    }
    // lambda at the start of a segment from its end; step(delta) was called.
    void retreat() {
        INDEPENDENT
        for (int k = 0; k < NP; ++k) {
            scalar a[n];
            for (int i = 0; i < n; ++i) a[i] = lambda[i].data[k];
            for (int j = 0; j < n; ++j) {
                scalar v = 0;
                for (int i = 0; i < n; ++i)
                    if (M::coupled[i][j]) v += coefficient(i, j, k) * a[i];
                lambda[j].data[k] = v;
            }
        }
    }
    // What a segment adds to learned parameters of the dynamics: lambda_end . (dP x_start + dc).
    void parameter_rate(int r, double delta) {
        if (!derivative[r]) return;
        const int m = degree(delta);
        const scalar* start = trace + (rows - 1) * n * NP;
        for (int i = 0; i < n; ++i)
            for (int j = 0; j <= n; ++j) {
                const table* t = derivative[r] + (i * (n + 1) + j) * S;
                if (t[0] == 0 && t[n * (n + 1) * S] == 0 && t[2 * n * (n + 1) * S] == 0 && !Varies) continue;
                if constexpr (Varies) {
                    const scalar d = scalar(delta);
                    for (int k = 0; k < N; ++k) {
                        scalar v = t[m * n * (n + 1) * S + k];
                        for (int q = m - 1; q >= 0; --q) v = v * d + t[q * n * (n + 1) * S + k];
                        grad[r][k] += lambda[i].data[k] * v * (j < n ? start[j * NP + k] : scalar(1));
                    }
                } else {
                    double v = t[m * n * (n + 1)];
                    for (int q = m - 1; q >= 0; --q) v = v * delta + t[q * n * (n + 1)];
                    const scalar c = scalar(v);
                    INDEPENDENT
                    for (int k = 0; k < NP; ++k)
                        grad[r][k] += lambda[i].data[k] * c * (j < n ? start[j * NP + k] : scalar(1));
                }
            }
    }
    // Row `neuron` of P(s) for one state, in double; s <= the longest segment.
    void row(int state, int neuron, double s, double* out, int r = -1) const {
        const int m = degree(s);
        for (int j = 0; j <= n; ++j) {
            const table* t = (r < 0 ? taylor : derivative[r]) + (state * (n + 1) + j) * S + (Varies ? neuron : 0);
            double v = double(t[m * n * (n + 1) * S]);
            for (int q = m - 1; q >= 0; --q) v = v * s + double(t[q * n * (n + 1) * S]);
            out[j] = v;
        }
    }
    double slope_at(int state, int neuron) const {
        const double* a = A + (Varies ? neuron : 0) * n * (n + 1) + state * (n + 1);
        double v = a[n];
        for (int j = 0; j < n; ++j) v += a[j] * double(x[j].data[neuron]);
        return v;
    }
    double gdot(int neuron, const double* state) const {
        const double* a = A + (Varies ? neuron : 0) * n * (n + 1);
        const int r = M::varying_g ? neuron : 0, R = M::varying_g ? NP : 1;
        double v = 0;
        for (int i = 0; i < n; ++i) {
            double f = a[i * (n + 1) + n];
            for (int j = 0; j < n; ++j) f += a[i * (n + 1) + j] * state[j];
            v += double(dg[i * R + r]) * f;
        }
        return v;
    }
    void keep_trace() {
        trace.reserve((rows + 1) * n * NP);
        for (int i = 0; i < n; ++i) std::memcpy(trace + (rows * n + i) * NP, x[i], NP * sizeof(scalar));
        ++rows;
    }
};

// Readouts. O: the output's Neurons, V: index of the state that is read, N: classes.

template <class O, int V, int N>
struct ReadFirstSpike {
    int64_t first[N];
    void begin(O&) {}
    void segment(O&, const Args&, double, double, int64_t) {}
    void before_arrival(O&) {}
    void after_arrival(O&, int64_t, int) {}
    void finish(O& out, const Args& args, double* readout, int32_t* valid) {
        for (int k = 0; k < N; ++k) first[k] = -1, readout[k] = args.duration, valid[k] = -1;
        for (int64_t i = out.spikes.count - 1; i >= 0; --i) first[out.spikes.neuron[i]] = i;
        for (int k = 0; k < N; ++k)
            if (first[k] >= 0) readout[k] = out.spike_time[first[k]], valid[k] = 0;
    }
    void source(O&, const Args&, const scalar*, double, double, int64_t) {}
    scalar own_spike(const Args&, const scalar* dr, int64_t i, int neuron, double, const scalar*, const scalar*) {
        return first[neuron] == i ? dr[neuron] : scalar(0);
    }
    scalar arrival(const Args&, const scalar*, int64_t, int, double, const scalar*) { return 0; }
};

// The maximum over continuous time: at the ends of segments and at stationary points inside. At a kink (the slope turns
// at an arrival) the arrival's D gets dL/dr Vdot(t*-).
template <class O, int V, int N>
struct ReadMaximum {
    double best[N], inside[N], kink[N], slope[N];
    int64_t entry[N], kink_entry[N];
    int kink_connection[N];
    bool at_end[N];
    void begin(O& out) {
        for (int k = 0; k < N; ++k)
            best[k] = double(out.x[V].data[k]), entry[k] = -1, inside[k] = 0, kink[k] = 0, at_end[k] = true, kink_entry[k] = -1;
    }
    void segment(O& out, const Args&, double, double delta, int64_t at) {
        for (int k = 0; k < N; ++k) {
            at_end[k] = false;
            const double v1 = double(out.fresh[V].data[k]);
            const double s0 = out.slope_at(V, k);
            double s1 = out.A[(O::at(k) * O::n + V) * (O::n + 1) + O::n];
            for (int j = 0; j < O::n; ++j) s1 += out.A[(O::at(k) * O::n + V) * (O::n + 1) + j] * double(out.fresh[j].data[k]);
            if (s0 > 0 && s1 < 0 && double(out.x[V].data[k]) + s0 * delta > best[k]) stationary(out, k, delta, at);
            if (v1 > best[k]) best[k] = v1, entry[k] = at, inside[k] = delta, at_end[k] = true, kink[k] = 0, kink_entry[k] = -1;
        }
    }
    void stationary(O& out, int k, double delta, int64_t at) {
        double g[DEGREE + 1], state[O::n][DEGREE + 1], c[DEGREE + 1];
        const int m = out.series(k, delta, g, state);
        for (int q = 0; q < m; ++q) c[q] = -(q + 1) * state[V][q + 1];
        const double s = first_crossing(c, m - 1, delta);
        if (s <= 0) return;
        double v = state[V][m];
        for (int q = m - 1; q >= 0; --q) v = v * s + state[V][q];
        if (v > best[k]) best[k] = v, entry[k] = at, inside[k] = s, kink[k] = 0, kink_entry[k] = -1;
    }
    void before_arrival(O& out) {
        for (int k = 0; k < N; ++k) slope[k] = at_end[k] ? out.slope_at(V, k) : 0;
    }
    void after_arrival(O& out, int64_t at, int connection) {
        for (int k = 0; k < N; ++k)
            if (at_end[k] && slope[k] > 0 && out.slope_at(V, k) <= 0)
                kink[k] = slope[k], kink_entry[k] = at, kink_connection[k] = connection;
    }
    void finish(O&, const Args&, double* readout, int32_t* valid) {
        for (int k = 0; k < N; ++k) readout[k] = best[k], valid[k] = 0;
    }
    void source(O& out, const Args&, const scalar* dr, double, double, int64_t at) {
        for (int k = 0; k < N; ++k) {
            if (entry[k] != at) continue;
            double p[O::n + 1];
            out.row(V, k, inside[k], p);
            for (int j = 0; j < O::n; ++j) out.lambda[j].data[k] += dr[k] * scalar(p[j]);
            for (int r = 0; r < O::model::learned; ++r) {
                if (!out.derivative[r]) continue;
                out.row(V, k, inside[k], p, r);
                const scalar* start = out.trace + (out.rows - 1) * O::n * O::NP;
                scalar v = scalar(p[O::n]);
                for (int j = 0; j < O::n; ++j) v += scalar(p[j]) * start[j * O::NP + k];
                out.grad[r][k] += dr[k] * v;
            }
        }
    }
    scalar own_spike(const Args&, const scalar*, int64_t, int, double, const scalar*, const scalar*) { return 0; }
    scalar arrival(const Args&, const scalar* dr, int64_t at, int connection, double, const scalar*) {
        scalar total = 0;
        for (int k = 0; k < N; ++k)
            if (kink_entry[k] == at && kink_connection[k] == connection) total += dr[k] * scalar(kink[k]);
        return total;
    }
};

// r = 1/T int w V dt by Gauss-Legendre on every segment.
template <class O, int V, int N>
struct ReadIntegral {
    double total[N];
    static int nodes(double delta, double longest, const double*& x, const double*& w) {
        static const double x4[] = {0.069431844202973713, 0.33000947820757187, 0.66999052179242813, 0.93056815579702629};
        static const double w4[] = {0.17392742256872692, 0.32607257743127307, 0.32607257743127307, 0.17392742256872692};
        static const double x8[] = {0.019855071751231856, 0.10166676129318664, 0.2372337950418355, 0.40828267875217511,
                                    0.59171732124782489, 0.7627662049581645, 0.89833323870681336, 0.98014492824876814};
        static const double w8[] = {0.050614268145188129, 0.11119051722668724, 0.15685332293894363, 0.18134189168918099,
                                    0.18134189168918099, 0.15685332293894363, 0.11119051722668724, 0.050614268145188129};
        const bool few = delta < 0.02 * longest;
        x = few ? x4 : x8, w = few ? w4 : w8;
        return few ? 4 : 8;
    }
    // sum_q w_q w(t + s_q) P_V(s_q) / T, or of dP by learned parameter r.
    static void weights(const O& out, const Args& args, int neuron, double t, double delta, double* u, int r = -1) {
        const double *x, *w;
        double p[O::n + 1];
        const int count = nodes(delta, args.longest, x, w);
        for (int j = 0; j <= O::n; ++j) u[j] = 0;
        for (int q = 0; q < count; ++q) {
            const double s = x[q] * delta, factor = w[q] * delta * time_weight(t + s, args) / args.duration;
            out.row(V, neuron, s, p, r);
            for (int j = 0; j <= O::n; ++j) u[j] += factor * p[j];
        }
    }
    void begin(O&) {
        for (int k = 0; k < N; ++k) total[k] = 0;
    }
    void segment(O& out, const Args& args, double t, double delta, int64_t) {
        double u[O::n + 1];
        for (int k = 0; k < N; ++k) {
            if (k == 0 || O::S > 1) weights(out, args, k, t, delta, u);
            double v = u[O::n];
            for (int j = 0; j < O::n; ++j) v += u[j] * double(out.x[j].data[k]);
            total[k] += v;
        }
    }
    void before_arrival(O&) {}
    void after_arrival(O&, int64_t, int) {}
    void finish(O&, const Args&, double* readout, int32_t* valid) {
        for (int k = 0; k < N; ++k) readout[k] = total[k], valid[k] = 0;
    }
    void source(O& out, const Args& args, const scalar* dr, double t, double delta, int64_t) {
        double u[O::n + 1];
        for (int k = 0; k < N; ++k) {
            if (k == 0 || O::S > 1) weights(out, args, k, t, delta, u);
            for (int j = 0; j < O::n; ++j) out.lambda[j].data[k] += dr[k] * scalar(u[j]);
        }
        for (int r = 0; r < O::model::learned; ++r) {
            if (!out.derivative[r]) continue;
            const scalar* start = out.trace + (out.rows - 1) * O::n * O::NP;
            for (int k = 0; k < N; ++k) {
                if (k == 0 || O::S > 1) weights(out, args, k, t, delta, u, r);
                scalar v = scalar(u[O::n]);
                for (int j = 0; j < O::n; ++j) v += scalar(u[j]) * start[j * O::NP + k];
                out.grad[r][k] += dr[k] * v;
            }
        }
    }
    scalar own_spike(const Args& args, const scalar* dr, int64_t, int neuron, double t, const scalar* before, const scalar* after) {
        return dr[neuron] * scalar(time_weight(t, args) / args.duration) * (before[V] - after[V]);
    }
    // l(x-) - l(x+) of an arrival, where it acts on the state that is read.
    scalar arrival(const Args& args, const scalar* dr, int64_t, int, double t, const scalar* change) {
        scalar total = 0;
        if (change)
            for (int k = 0; k < N; ++k) total -= dr[k] * change[k];
        return total * scalar(time_weight(t, args) / args.duration);
    }
};

}  // namespace
