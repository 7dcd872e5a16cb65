// The neurons of one population within a step of exact time.
//
// A state is x(t_k + s) = P(s) y + c(s). y is constant between events, so that all neurons together take an arrival by
// adding P(-s) e times a row of weights, and nothing is propagated inside a step. A bound on g over the whole step tells
// which neurons may cross; only those become lanes, which go through the step's arrivals one by one.
//
// M: the generated model. n states, R receptors; S = NP where neurons have numbers of their own (Varies), else 1.

namespace {

constexpr int RUNAWAY = 200;  // more spikes a neuron and step end the trial

template <int n>
struct Arrival {
    double s;
    const scalar* row;
    int32_t connection, receptor, source;
    int64_t index;        // of the spike in its list, -1 for input spikes
    scalar q[2 * n + 1];  // P(-s) e, and the row dg P(s) of the threshold function; unless neurons vary
};

// An event of a step: a connection >= 0, or -1 - population for an own spike.
struct LogEntry {
    double s;
    int32_t kind, source;
    int64_t index;
};

inline vec larger(vec a, vec b) { return a > b ? a : b; }

template <class M, int N, bool Varies>
struct Neurons {
    typedef M model;
    static constexpr int n = M::n, NP = (N + 15) / 16 * 16, S = Varies ? NP : 1;
    static constexpr int FRONT = 2 * n + 1, BACK = (2 + M::dynamic) * n, RESET = n * (n + 1) + n * n;
    static constexpr bool varies = Varies;
    typedef typename std::conditional<Varies, scalar, double>::type table;
    typedef Arrival<n> Incoming;

    // Tables, see codegen/exact_values.py.
    const scalar *step, *dstep[M::dynamic + 1], *dg, *slope, *curve, *kappa[M::receptors + 1];
    const table *spike, *rho, *dspike[M::dynamic + 1], *arrive[M::receptors + 1], *back[M::receptors + 1];
    const double* A;
    int degree = 0;
    double delta = 0;

    Buffer<scalar> x[n], y[n], mu[n], reach, grad[M::learned + 1], trace, feedback, jump, factor[FRONT > BACK ? FRONT : BACK];
    Buffer<double> spike_time;
    Spikes<n + 1> spikes;
    std::vector<Incoming> pending, late;  // arrivals of this step: those known, in order of time; own ones that act at once
    size_t cursor = 0;
    int64_t spikes_in_step = 0;
    scalar row_at_end[n + 1];

    // Lanes: neurons that may cross in this step. hits: (time, lane) of those that cross before `until`, if `known`.
    Buffer<int32_t> lane_neuron, found;
    Buffer<scalar> lane[n], last_g, test;
    std::vector<std::pair<double, int>> hits;
    std::vector<char> unarmed;  // g was not below zero since the reset: it cannot cross until it has been
    int lanes = 0, n_unarmed = 0;
    double now = 0, until = 0;
    bool known = false;

    void prepare() {
        for (int i = 0; i < n; ++i) x[i].zero(NP), y[i].zero(NP), mu[i].zero(NP), lane[i].zero(NP + 16);
        for (auto& b : grad) b.zero(NP);
        if (M::pushed >= 0) jump.zero(NP);
        for (auto& b : factor) b.zero(Varies ? NP : 1);
        reach.zero(NP), lane_neuron.zero(NP + 16), found.zero(NP + 16), last_g.zero(NP + 16), test.zero(NP + 16);
        unarmed.assign(N, 0);
    }
    // x holds the initial state.
    void begin(int64_t steps, bool keep) {
        spikes_in_step = spikes.count = 0;
        if (keep) trace.reserve((steps + 1) * n * NP);
        if constexpr (M::spiking) {
            double end[n + 1];
            horner<n + 1, S>(rho, degree, delta, 0, end);
            for (int i = 0; i <= n; ++i) row_at_end[i] = scalar(end[i]);
            n_unarmed = 0;
            for (int k = 0; k < N; ++k) {
                double state[n];
                for (int i = 0; i < n; ++i) state[i] = double(x[i].data[k]);
                unarmed[size_t(k)] = threshold(k, state) >= 0;
                n_unarmed += unarmed[size_t(k)];
            }
        }
    }
    void keep_state(int64_t at) {
        for (int i = 0; i < n; ++i) std::memcpy(trace + (at * n + i) * NP, x[i], NP * sizeof(scalar));
    }
    static constexpr int own(int neuron) { return Varies ? neuron : 0; }
    scalar propagated(int i, const scalar* a, int r) const {
        scalar b = M::coupled[i][n] ? step[(i * (n + 1) + n) * S + r] : scalar(0);
        for (int j = 0; j < n; ++j)
            if (M::coupled[i][j]) b += step[(i * (n + 1) + j) * S + r] * a[j];
        return b;
    }
    double threshold(int neuron, const double* state) const {
        double g = double(dg[n * S + own(neuron)]);
        for (int i = 0; i < n; ++i) g += double(dg[i * S + own(neuron)]) * state[i];
        return g;
    }
    double slope_at(int neuron, const double* state) const {
        const double* a = A + own(neuron) * n * (n + 1);
        double v = 0;
        for (int i = 0; i < n; ++i) {
            double f = a[i * (n + 1) + n];
            for (int j = 0; j < n; ++j) f += a[i * (n + 1) + j] * state[j];
            v += double(dg[i * S + own(neuron)]) * f;
        }
        return v;
    }

    // Start of a step: y = x, and a bound on g as if nothing arrived.
    __attribute__((noinline)) void start() {
        pending.clear(), late.clear();
        cursor = 0, lanes = 0, spikes_in_step = 0, now = 0, known = false;
        const scalar d = scalar(delta), half = scalar(0.5 * delta * delta);
        scalar* __restrict bound = reach;
        INDEPENDENT
        for (int k = 0; k < NP; ++k) {
            scalar a[n];
            for (int i = 0; i < n; ++i) y[i].data[k] = a[i] = x[i].data[k];
            if constexpr (M::watched) {
                const int r = own(k);
                scalar g0 = dg[n * S + r], g1 = g0, s0 = slope[n * S + r], s1 = s0, bend = curve[n * S + r];
                for (int i = 0; i < n; ++i) {
                    const scalar b = propagated(i, a, r);
                    g0 += dg[i * S + r] * a[i], g1 += dg[i * S + r] * b;
                    s0 += slope[i * S + r] * a[i], s1 += slope[i * S + r] * b;
                    bend += curve[i * S + r] * (a[i] < 0 ? -a[i] : a[i]);
                }
                bend *= half;
                const scalar rise = g0 + s0 * d + bend, up = rise > g0 ? rise : g0, down = g1 - s1 * d + bend;
                scalar inside = up < down ? up : down;
                inside = inside > g0 ? inside : g0;
                bound[k] = g1 > inside ? g1 : inside;
            }
        }
    }
    // End of a step: the state there.
    __attribute__((noinline)) void finish() {
        INDEPENDENT
        for (int k = 0; k < NP; ++k) {
            scalar a[n];
            for (int i = 0; i < n; ++i) a[i] = y[i].data[k];
            for (int i = 0; i < n; ++i) x[i].data[k] = propagated(i, a, own(k));
        }
    }

    // Arrivals

    Incoming incoming(double s, const scalar* row, int32_t connection, int32_t receptor, int32_t source, int64_t index) const {
        Incoming a{s, row, connection, receptor, source, index, {}};
        if constexpr (!Varies) {
            double out[FRONT];
            horner<FRONT, 1>(arrive[receptor], degree, s, 0, out);
            for (int c = 0; c < FRONT; ++c) a.q[c] = scalar(out[c]);
        }
        return a;
    }
    // The arrivals known at the start of the step: y, the bound, and lanes for neurons that may cross.
    void absorb() {
        const auto earlier = [](const Incoming& a, const Incoming& b) { return a.s < b.s; };
        if (!std::is_sorted(pending.begin(), pending.end(), earlier)) std::stable_sort(pending.begin(), pending.end(), earlier);
        for (size_t from = 0, to; from < pending.size(); from = to) {
            for (to = from + 1; to < pending.size() && pending[to].receptor == pending[from].receptor;) ++to;
            add(pending.data() + from, int64_t(to - from));
        }
        if constexpr (M::spiking) make_lanes();
    }
    // An arrival in this step that was not known at its start; it acts at once or waits for its time.
    void insert(const Incoming& a, bool at_once) {
        add(&a, 1);
        known = false;
        if (at_once) {
            late.push_back(a);
            reach_lanes(a);
            now = a.s;
        } else {
            size_t at = pending.size();
            while (at > cursor && pending[at - 1].s > a.s) --at;
            pending.insert(pending.begin() + int64_t(at), a);
        }
        make_lanes();
    }
    // y += P(-s) e w and the bound += the most that arrivals lift g; all at one receptor.
    void add(const Incoming* a, int64_t count) {
        if constexpr (Varies) {
            for (int64_t r = 0; r < count; ++r) add_varying(a[r]);
        } else {
            constexpr int V = NP / LANES, U = V < UNROLL / 2 ? V : UNROLL / 2;
            const bool both = M::watched && kappa[a->receptor][1] > 0;
            int v = 0;
            for (; v + U <= V; v += U) both ? add_block<2, U>(a, count, v) : add_block<M::watched, U>(a, count, v);
            for (; v < V; ++v) both ? add_block<2, 1>(a, count, v) : add_block<M::watched, 1>(a, count, v);
        }
    }
    // Sums stay in registers over all rows. Bound: 0 none, 1 by positive weights, 2 by all.
    template <int Bound, int U>
    void add_block(const Incoming* a, int64_t count, int v) {
        const scalar* most = kappa[a->receptor];
        vec sum[n][U], lift[U];
#pragma GCC unroll 16
        for (int u = 0; u < U; ++u) {
            for (int i = 0; i < n; ++i) sum[i][u] = load(y[i].data + (v + u) * LANES);
            lift[u] = Bound ? load(reach.data + (v + u) * LANES) : vec{};
        }
        for (int64_t r = 0; r < count; ++r) {
            const scalar* row = a[r].row + v * LANES;
            const scalar rest = scalar(delta - a[r].s), up = Bound ? most[0] * rest : 0, down = Bound > 1 ? most[1] * rest : 0;
#pragma GCC unroll 16
            for (int u = 0; u < U; ++u) {
                const vec w = load(row + u * LANES);
                for (int i = 0; i < n; ++i)
                    if (M::reached[i]) sum[i][u] += a[r].q[i] * w;
                if (Bound) lift[u] += up * larger(w, vec{});
                if (Bound > 1) lift[u] += down * larger(-w, vec{});
            }
        }
#pragma GCC unroll 16
        for (int u = 0; u < U; ++u) {
            for (int i = 0; i < n; ++i)
                if (M::reached[i]) store(y[i].data + (v + u) * LANES, sum[i][u]);
            if (Bound) store(reach.data + (v + u) * LANES, lift[u]);
        }
    }
    // factor[c] = column c of a table of C columns at s, for every neuron.
    template <int C>
    void factors(const table* t, int count, double s) {
        for (int c = 0; c < count; ++c) {
            scalar* __restrict out = factor[c];
            const table* column = t + (int64_t(degree) * C + c) * S;
            for (int k = 0; k < NP; ++k) out[k] = scalar(column[own(k)]);
            for (int q = degree - 1; q >= 0; --q) {
                column -= C * S;
                INDEPENDENT
                for (int k = 0; k < NP; ++k) out[k] = out[k] * scalar(s) + scalar(column[own(k)]);
            }
        }
    }
    __attribute__((noinline)) void add_varying(const Incoming& a) {
        factors<FRONT>(arrive[a.receptor], n, a.s);
        const scalar* most = kappa[a.receptor];
        const scalar rest = scalar(delta - a.s);
        INDEPENDENT
        for (int k = 0; k < NP; ++k) {
            const scalar w = a.row[k], up = w > 0 ? w : scalar(0);
            for (int i = 0; i < n; ++i)
                if (M::reached[i]) y[i].data[k] += factor[i].data[k] * w;
            if (M::watched) reach.data[k] += rest * (most[own(k)] * up + most[S + own(k)] * (up - w));
        }
    }

    // Lanes

    void make_lanes() {
        const int64_t count = find_crossed<N>(found, reach);
        for (int64_t i = 0; i < count; ++i) open_lane(found[i]);
        if (n_unarmed)
            for (int k = 0; k < N; ++k)
                if (unarmed[size_t(k)] && reach.data[k] > scalar(-1e29)) open_lane(k);
    }
    void open_lane(int neuron) {
        const int l = lanes++;
        double state[n], q[FRONT];
        for (int i = 0; i < n; ++i) state[i] = double(x[i].data[neuron]);
        last_g[l] = now > 0 || unarmed[size_t(neuron)] ? scalar(-1) : scalar(threshold(neuron, state));
        lane_neuron[l] = neuron;
        const auto take = [&](const Incoming& a) {
            if constexpr (Varies) {
                horner<FRONT, S>(arrive[a.receptor], degree, a.s, neuron, q);
                for (int i = 0; i < n; ++i) state[i] += q[i] * double(a.row[neuron]);
            } else {
                (void)q;
                for (int i = 0; i < n; ++i) state[i] += double(a.q[i] * a.row[neuron]);
            }
        };
        for (size_t a = 0; a < cursor; ++a) take(pending[a]);
        for (const auto& a : late) take(a);
        for (int i = 0; i < n; ++i) lane[i][l] = scalar(state[i]);
        reach.data[neuron] = scalar(-1e30);
        known = false;
    }
    void reach_lanes(const Incoming& a) {
        if constexpr (Varies) {
            double q[FRONT];
            for (int l = 0; l < lanes; ++l) {
                horner<FRONT, S>(arrive[a.receptor], degree, a.s, lane_neuron[l], q);
                for (int i = 0; i < n; ++i) lane[i][l] += scalar(q[i] * double(a.row[lane_neuron[l]]));
            }
        } else {
            const int32_t* __restrict neuron = lane_neuron;
            INDEPENDENT
            for (int l = 0; l < lanes; ++l) {
                const scalar w = a.row[neuron[l]];
                for (int i = 0; i < n; ++i)
                    if (M::reached[i]) lane[i].data[l] += a.q[i] * w;
            }
        }
    }
    double next_arrival() const { return cursor < pending.size() ? pending[cursor].s : delta; }
    // The next known arrival reaches the lanes (all other neurons have it already).
    void take_arrival() {
        now = pending[cursor].s;
        reach_lanes(pending[cursor++]);
        known = false;
    }
    // Finds what crosses between now and the next arrival.
    void look_ahead() {
        if (known) return;
        known = true;
        until = next_arrival();
        hits.clear();
        if (!lanes) return;
        const scalar half = scalar(0.5 * (until - now) * (until - now));
        if constexpr (Varies) {
            double row[n + 1];
            for (int l = 0; l < lanes; ++l) {
                horner<n + 1, S>(rho, degree, until, lane_neuron[l], row);
                scalar r[n + 1];
                for (int i = 0; i <= n; ++i) r[i] = scalar(row[i]);
                check_lane(l, r, half, own(lane_neuron[l]));
            }
        } else {
            const scalar* row = cursor < pending.size() ? pending[cursor].q + n : row_at_end;
            INDEPENDENT
            for (int l = 0; l < lanes; ++l) check_lane(l, row, half, 0);
        }
        for (int l = 0; l < lanes; ++l)
            if (test.data[l] >= 0 || (n_unarmed && unarmed[size_t(lane_neuron[l])])) solve(l);
    }
    // test >= 0 where g may cross zero before the end of the segment: g < 0 at its start, and g'' is bounded.
    void check_lane(int l, const scalar* row, scalar half, int r) {
        scalar g = row[n], bend = curve[n * S + r];
        for (int i = 0; i < n; ++i) {
            const scalar v = lane[i].data[l];
            g += row[i] * v, bend += curve[i * S + r] * (v < 0 ? -v : v);
        }
        const scalar most = g + bend * half, before = last_g.data[l];
        test.data[l] = most > before ? most : before;
        last_g.data[l] = g;
    }
    void solve(int l) {
        const int neuron = lane_neuron[l];
        double c[DEGREE + 1], v[n], bend = double(curve[n * S + own(neuron)]), from = now;
        for (int i = 0; i < n; ++i) v[i] = double(lane[i][l]), bend += double(curve[i * S + own(neuron)]) * std::fabs(v[i]);
        for (int q = 0; q <= degree; ++q) {
            const table* t = rho + int64_t(q) * (n + 1) * S + own(neuron);
            c[q] = double(t[n * S]);
            for (int i = 0; i < n; ++i) c[q] += double(t[i * S]) * v[i];
        }
        if (unarmed[size_t(neuron)] && !fell_below(neuron, c, bend, from)) return;
        const double s = first_crossing(c, degree, from, until, bend);
        if (s >= 0) hits.emplace_back(s, l);
    }
    // For a neuron that is not armed: from = when g is below zero first; false if not before `until`.
    bool fell_below(int neuron, double* c, double bend, double& from) {
        if (value_of(c, degree, from) >= 0) {
            for (int q = 0; q <= degree; ++q) c[q] = -c[q];
            const double s = value_of(c, degree, from) >= 0 ? from : first_crossing(c, degree, from, until, bend);
            for (int q = 0; q <= degree; ++q) c[q] = -c[q];
            if (s < 0) return false;
            from = s;
            for (double tiny = 1e-15 * delta; from < until && value_of(c, degree, from) >= 0; tiny *= 2) from += tiny;
            if (from >= until) return false;
        }
        unarmed[size_t(neuron)] = 0;
        --n_unarmed;
        return true;
    }
    // Time of the first crossing before the next arrival, never if there is none; which: its place in hits.
    double first_hit(int& which) const {
        which = -1;
        double best = std::numeric_limits<double>::infinity();
        for (int i = 0; i < int(hits.size()); ++i) {
            const double s = hits[size_t(i)].first;
            const bool lower = which >= 0 && lane_neuron.data[hits[size_t(i)].second] < lane_neuron.data[hits[size_t(which)].second];
            if (s < best || (s == best && lower)) best = s, which = i;
        }
        return best;
    }
    // An own spike; returns the neuron. before, after: its state.
    int emit(const Args& args, int which, double t_k, int64_t& guarded, double* before, double* after) {
        const int l = hits[size_t(which)].second, neuron = lane_neuron[l];
        const double s = now = hits[size_t(which)].first;
        hits.erase(hits.begin() + which);
        double m[RESET], v[n];
        horner<RESET, S>(spike, degree, s, own(neuron), m);
        for (int i = 0; i < n; ++i) v[i] = double(lane[i][l]);
        for (int i = 0; i < n; ++i) {
            before[i] = m[i * (n + 1) + n];
            for (int j = 0; j < n; ++j) before[i] += m[i * (n + 1) + j] * v[j];
        }
        M::reset(args, neuron, before, after);
        const int64_t index = spikes.count;
        spikes.reserve(1);
        spike_time.reserve(index + 1);
        spikes.neuron[index] = neuron;
        spike_time[index] = t_k + s;
        double gdot = slope_at(neuron, before);
        if (!(gdot > 0) || gdot < args.slope_floor) ++guarded, gdot = args.slope_floor;
        spikes.record[0][index] = gdot > 0 ? scalar(1 / gdot) : scalar(0);
        for (int i = 0; i < n; ++i) spikes.record[i + 1][index] = scalar(before[i]);
        ++spikes.count;
        ++spikes_in_step;
        for (int i = 0; i < n; ++i) {
            double jump = 0;
            for (int j = 0; j < n; ++j) jump += m[n * (n + 1) + i * n + j] * (after[j] - before[j]);
            lane[i][l] += scalar(jump), y[i].data[neuron] += scalar(jump);
        }
        last_g[l] = scalar(-1);
        if (threshold(neuron, after) >= 0) unarmed[size_t(neuron)] = 1, ++n_unarmed;
        if (until > now) solve(l);
        return neuron;
    }

    // Backwards: mu = P(s)^T lambda(t_k + s) is constant between events.

    // From the end of a step: mu from lambda, in place; what the step as a whole adds to learned parameters.
    __attribute__((noinline)) void retreat(int64_t at) {
        const scalar* end = M::dynamic ? trace + (at + 1) * n * NP : nullptr;
        for (int r = 0; r < M::dynamic; ++r) {
            scalar* __restrict g = grad[M::place[r]];
            for (int i = 0; i < n; ++i)
                for (int j = 0; j <= n; ++j) {
                    const scalar* d = dstep[r] + (i * (n + 1) + j) * S;
                    INDEPENDENT
                    for (int k = 0; k < NP; ++k) g[k] += mu[i].data[k] * d[own(k)] * (j < n ? end[j * NP + k] : scalar(1));
                }
        }
        INDEPENDENT
        for (int k = 0; k < NP; ++k) {
            scalar a[n];
            for (int i = 0; i < n; ++i) a[i] = mu[i].data[k];
            for (int j = 0; j < n; ++j) {
                scalar v = 0;
                for (int i = 0; i < n; ++i)
                    if (M::coupled[i][j]) v += step[(i * (n + 1) + j) * S + own(k)] * a[i];
                mu[j].data[k] = v;
            }
        }
    }
    // An arrival: weight gradient into `slice_row` (if Grad), gradients of learned parameters; returns D (if Feed).
    // The reader's part is dr times factors of its own.
    template <bool Grad, bool Feed, class Reader>
    scalar arrived(scalar* slice_row, const scalar* row, int receptor, double s, const Reader& reader, const scalar* dr) {
        scalar total = 0;
        if constexpr (Varies) {
            factors<BACK>(back[receptor], BACK, s);
            for (int k = 0; k < N; ++k) {
                scalar q = Reader::adds ? dr[k] * reader.direction(k) : scalar(0), z = Reader::adds ? dr[k] * reader.feedback(k) : scalar(0);
                for (int i = 0; i < n; ++i) q += factor[i].data[k] * mu[i].data[k], z += factor[n + i].data[k] * mu[i].data[k];
                if (Grad) slice_row[k] += q;
                if (Feed) total += row[k] * z;
                for (int r = 0; r < M::dynamic; ++r) {
                    scalar d = Reader::adds ? dr[k] * reader.change(r, k) : scalar(0);
                    for (int i = 0; i < n; ++i) d += factor[(2 + r) * n + i].data[k] * mu[i].data[k];
                    grad[M::place[r]].data[k] += row[k] * d;
                }
            }
        } else {
            double f[BACK];
            horner<BACK, 1>(back[receptor], degree, s, 0, f);
            scalar q[n + 1], z[n + 1];
            for (int i = 0; i < n; ++i) q[i] = scalar(f[i]), z[i] = scalar(f[n + i]);
            q[n] = Reader::adds ? reader.direction(0) : scalar(0), z[n] = Reader::adds ? reader.feedback(0) : scalar(0);
            vec sum = {};
            for (int v = 0; v < NP; v += LANES) {
                vec a = {}, b = {};
                for (int r = 0; r < M::dynamic; ++r) {
                    vec d = {};
                    for (int i = 0; i < n; ++i) d += scalar(f[(2 + r) * n + i]) * load(mu[i].data + v);
                    if (Reader::adds) d += reader.change(r, 0) * load(dr + v);
                    scalar* g = grad[M::place[r]].data + v;
                    store(g, load(g) + d * load(row + v));
                }
                for (int i = 0; i < n; ++i) {
                    const vec m = load(mu[i].data + v);
                    a += q[i] * m, b += z[i] * m;
                }
                if (Reader::adds) a += q[n] * load(dr + v), b += z[n] * load(dr + v);
                if (Grad) store(slice_row + v, load(slice_row + v) + a);
                if (Feed) sum += b * load(row + v);
            }
            if (Feed) total = lane_sum(sum);
        }
        return total;
    }
    // An own spike: the jump of the model, and what it adds to learned parameters. extra: the reader's lambda there.
    void jumped(const Args& args, int neuron, int64_t index, double s, scalar dl_dt, const double* extra) {
        double m[RESET], before[n], after[n], d[n * (n + 1)];
        scalar kept[n], lambda[n];
        horner<RESET, S>(spike, degree, s, own(neuron), m);
        for (int i = 0; i < n; ++i) kept[i] = spikes.record[i + 1][index], before[i] = double(kept[i]);
        double right[n], left[n];
        for (int i = 0; i < n; ++i) {
            right[i] = 0;
            for (int j = 0; j < n; ++j) right[i] += m[n * (n + 1) + j * n + i] * double(mu[j].data[neuron]);
            lambda[i] = scalar(right[i] + extra[i]);
        }
        M::jump(args, neuron, kept, dl_dt, spikes.record[0][index], lambda, grad);
        if (M::pushed >= 0) lambda[M::pushed < 0 ? 0 : M::pushed] += jump[neuron];
        for (int i = 0; i < n; ++i) left[i] = double(lambda[i]) - extra[i];
        for (int j = 0; j < n; ++j) {
            double v = 0;
            for (int i = 0; i < n; ++i) v += m[i * (n + 1) + j] * left[i];
            mu[j].data[neuron] = scalar(v);
        }
        if (!M::dynamic) return;
        M::reset(args, neuron, before, after);
        double b[n], a[n];  // y before and after
        for (int i = 0; i < n; ++i) {
            b[i] = a[i] = 0;
            for (int j = 0; j < n; ++j) {
                b[i] += m[n * (n + 1) + i * n + j] * (before[j] - m[j * (n + 1) + n]);
                a[i] += m[n * (n + 1) + i * n + j] * (after[j] - m[j * (n + 1) + n]);
            }
        }
        for (int r = 0; r < M::dynamic; ++r) {
            horner<n * (n + 1), S>(dspike[r], degree, s, own(neuron), d);
            double v = 0;
            for (int i = 0; i < n; ++i) {
                double db = d[i * (n + 1) + n], da = db;
                for (int j = 0; j < n; ++j) db += d[i * (n + 1) + j] * b[j], da += d[i * (n + 1) + j] * a[j];
                v += left[i] * db - right[i] * da;
            }
            grad[M::place[r]].data[neuron] += scalar(v);
        }
    }
};

}  // namespace
