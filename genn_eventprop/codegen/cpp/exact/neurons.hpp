// The neurons of one population within a step of exact time.
//
// A state is x(t_k + s) = P(s) y + c(s). y is constant between events, so that all neurons together take an arrival by
// adding P(-s) e times a row of weights, and nothing is propagated inside a step. A bound on g over the whole step tells
// which neurons may cross; only those become lanes, which go through the step's arrivals one by one.
//
// A neuron in its refractory period is `held`: P and c are those of that mode, and it is taken through the step by itself.
// Backwards, where all is linear in mu, `mu` has zeros for held neurons and `held_mu` for all others.
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
    scalar held[2 * n + 1];  // the same for neurons in a refractory period
    void set(double at, const scalar* weights, int32_t by, int32_t to, int32_t from, int64_t spike) {
        s = at, row = weights, connection = by, receptor = to, source = from, index = spike;
    }
};

// An event of a step: a connection >= 0, or -1 - i for an own spike and END_OF_PERIOD - i for the end of a refractory
// period, of the i-th spiking population. index: of the spike, or of the end of the period.
constexpr int END_OF_PERIOD = -1000000;
struct LogEntry {
    double s;
    int32_t kind, source;
    int64_t index;
};

// A list in memory that stays; push returns the new last element.
template <typename T>
struct List {
    Buffer<T> all;
    int64_t count = 0;
    T& push() {
        if (count == all.size) all.reserve(count + 64);
        return all.data[count++];
    }
    T& operator[](int64_t i) { return all.data[i]; }
    const T& operator[](int64_t i) const { return all.data[i]; }
    T* begin() { return all.data; }
    T* end() { return all.data + count; }
    // The last element takes the place of element i.
    void drop(int64_t i) { all.data[i] = all.data[--count]; }
};

struct Log {
    Buffer<LogEntry> entries;
    std::vector<int64_t> steps;  // where each step begins
    int64_t count = 0;
    void clear(int64_t n_steps) {
        count = 0;
        steps.assign(size_t(n_steps) + 1, 0);
    }
    void push(double s, int32_t kind, int32_t source, int64_t index) {
        if (count == entries.size) entries.reserve(count + 1024);
        entries.data[count++] = {s, kind, source, index};
    }
};

inline vec larger(vec a, vec b) { return a > b ? a : b; }
// One bit for every lane that is not below zero.
inline unsigned not_negative(vec a) {
#if defined(__AVX512F__)
    if constexpr (sizeof(scalar) == 4)
        return _mm512_cmp_ps_mask(__m512(a), _mm512_setzero_ps(), _CMP_GE_OQ);
    else
        return _mm512_cmp_pd_mask(__m512d(a), _mm512_setzero_pd(), _CMP_GE_OQ);
#else
    unsigned mask = 0;
    for (int i = 0; i < LANES; ++i) mask |= unsigned(a[i] >= scalar(0)) << i;
    return mask;
#endif
}

template <class O>
struct NoSource;

// What moves a state between events in one mode; see codegen/exact_values.py.
template <class M, typename table>
struct Flow {
    const scalar *step, *dstep[M::dynamic + 1];
    const table *spike, *dspike[M::dynamic + 1], *arrive[M::receptors + 1], *back[M::receptors + 1];
    const double* A;
};

template <class M, int N, bool Varies>
struct Neurons {
    typedef M model;
    static constexpr int n = M::n, NP = (N + 15) / 16 * 16, S = Varies ? NP : 1;
    static constexpr int FRONT = 2 * n + 1, BACK = (2 + M::dynamic) * n, RESET = n * (n + 1) + n * n;
    static constexpr bool varies = Varies;
    typedef typename std::conditional<Varies, scalar, double>::type table;
    typedef Arrival<n> Incoming;

    // Tables, see codegen/exact_values.py.
    Flow<M, table> flow[M::modes];
    const scalar *dg, *slope, *curve, *kappa[M::receptors + 1];
    const table* rho;
    int degree = 0;
    double delta = 0;

    Buffer<scalar> x[n], y[n], mu[n], held_mu[n], reach, grad[M::learned + 1], trace, feedback, jump, factor[FRONT > BACK ? FRONT : BACK];
    Buffer<double> spike_time, offsets;
    Buffer<scalar> columns, back_columns;
    Buffer<double> reset_columns;
    int64_t room = 0, resets = 0, reset_room = 0;
    Spikes<n + 1> spikes;
    List<Incoming> pending;  // arrivals of this step in order of time; those before the cursor have happened
    int64_t cursor = 0;
    int64_t spikes_in_step = 0;
    scalar row_at_end[n + 1], row_at_due[n + 1];

    // Neurons in a refractory period. from: of the pending arrivals, the first that y does not contain. until: ms.
    struct Held {
        int neuron;
        int64_t from, index;  // of the spike
        double until, y[n];
    };
    struct End {
        int64_t index;
        double x[n];
    };
    List<Held> held;
    List<End> ends;
    int64_t first_due = -1;
    double due = 0, begun = 0;  // when the next period ends within the step, and t_k

    // Lanes: neurons that may cross in this step. last_g: g of a lane when it was `checked` last, UNKNOWN after a reset.
    struct Hit {
        double s, error;  // a lane crosses at s +- error
        int lane;
        bool exact;
    };
    static constexpr scalar UNKNOWN = scalar(-1e30);
    Buffer<int32_t> lane_neuron, found;
    Buffer<scalar> lane[n], last_g, prior_g, bends;
    List<Hit> hits;  // crossings before `until`, if `known`
    std::vector<char> unarmed;  // g was not below zero since the reset: it cannot cross until it has been
    int lanes = 0, n_unarmed = 0;
    double now = 0, until = 0, checked = 0;
    bool known = false;

    void prepare() {
        for (int i = 0; i < n; ++i) x[i].zero(NP), y[i].zero(NP), mu[i].zero(NP), held_mu[i].zero(NP), lane[i].zero(NP + 16);
        for (auto& b : grad) b.zero(NP);
        if (M::pushed >= 0) jump.zero(NP);
        for (auto& b : factor) b.zero(Varies ? NP : 1);
        reach.zero(NP), lane_neuron.zero(NP + 16), found.zero(NP + 16), last_g.zero(NP + 16), prior_g.zero(NP + 16), bends.zero(NP + 16);
        unarmed.assign(N, 0);
    }
    // x holds the initial state.
    void begin(int64_t steps, bool keep) {
        spikes_in_step = spikes.count = held.count = ends.count = 0;
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
    scalar propagated(int i, const scalar* a, int r, int mode = 0) const {
        const scalar* step = flow[mode].step;
        scalar by = M::coupled[i][n] ? step[(i * (n + 1) + n) * S + r] : scalar(0);
        for (int j = 0; j < n; ++j)
            if (M::coupled[i][j]) by += step[(i * (n + 1) + j) * S + r] * a[j];
        return a[i] + by;  // the table holds P - 1: rounding of P itself would add up over the steps
    }
    double threshold(int neuron, const double* state) const {
        double g = double(dg[n * S + own(neuron)]);
        for (int i = 0; i < n; ++i) g += double(dg[i * S + own(neuron)]) * state[i];
        return g;
    }
    double slope_at(int neuron, const double* state) const {
        double v = 0;
        for (int i = 0; i < n; ++i) v += double(dg[i * S + own(neuron)]) * rate(0, i, neuron, state);
        return v;
    }
    // dx_i/dt in a mode.
    double rate(int mode, int i, int neuron, const double* state) const {
        const double* a = flow[mode].A + (own(neuron) * n + i) * (n + 1);
        double f = a[n];
        for (int j = 0; j < n; ++j) f += a[j] * state[j];
        return f;
    }
    // From y to x at s, and back, with a row of the table `spike` at s.
    static void to_state(const double* m, const double* at, double* state) {
        for (int i = 0; i < n; ++i) {
            state[i] = m[i * (n + 1) + n];
            for (int j = 0; j < n; ++j) state[i] += m[i * (n + 1) + j] * at[j];
        }
    }
    static void from_state(const double* m, const double* state, double* at) {
        for (int i = 0; i < n; ++i) {
            at[i] = 0;
            for (int j = 0; j < n; ++j) at[i] += m[n * (n + 1) + i * n + j] * (state[j] - m[j * (n + 1) + n]);
        }
    }

    // Start of a step: y = x, and a bound on g as if nothing arrived.
    __attribute__((noinline)) void start(double t_k) {
        pending.count = 0, begun = t_k;
        cursor = 0, lanes = 0, spikes_in_step = 0, now = checked = 0, known = false;
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
                const scalar higher = g0 > g1 ? g0 : g1, chord = higher + scalar(0.25) * bend;
                scalar inside = up < down ? up : down;
                inside = inside < chord ? inside : chord;
                bound[k] = inside > higher ? inside : higher;
            }
        }
        if constexpr (M::modes > 1) {
            for (auto& h : held) {
                h.from = 0, reach.data[h.neuron] = UNKNOWN;
                for (int i = 0; i < n; ++i) h.y[i] = double(x[i].data[h.neuron]);
            }
            look_for_due();
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
        if constexpr (M::modes > 1)
            for (auto& h : held) {
                scalar a[n];
                collect(1, h.neuron, h.from, pending.count, h.y);
                for (int i = 0; i < n; ++i) a[i] = scalar(h.y[i]);
                for (int i = 0; i < n; ++i) x[i].data[h.neuron] = propagated(i, a, own(h.neuron), 1);
            }
    }

    // Refractory periods

    // What the pending arrivals [from, to) bring to y of a neuron in a mode.
    void collect(int mode, int neuron, int64_t from, int64_t to, double* at) const {
        for (int64_t e = from; e < to; ++e) {
            const Incoming& a = pending[e];
            if constexpr (Varies) {
                double q[FRONT];
                horner<FRONT, S>(flow[mode].arrive[a.receptor], degree, a.s, neuron, q);
                for (int i = 0; i < n; ++i) at[i] += q[i] * double(a.row[neuron]);
            } else {
                const scalar* q = mode ? a.held : a.q;
                for (int i = 0; i < n; ++i) at[i] += double(q[i] * a.row[neuron]);
            }
        }
    }
    void look_for_due() {
        first_due = -1, due = delta;
        for (int64_t i = 0; i < held.count; ++i) {
            const double at = held[i].until - begun, s = at > now ? at : now;
            if (s < due || (s == due && first_due >= 0 && held[i].neuron < held[first_due].neuron)) due = s, first_due = i;
        }
        if constexpr (!Varies) {
            double row[n + 1];
            horner<n + 1, S>(rho, degree, due, 0, row);
            for (int i = 0; i <= n; ++i) row_at_due[i] = scalar(row[i]);
        }
    }
    bool period_ends_first() const { return M::modes > 1 && first_due >= 0 && !(pending_at() < due); }
    // A neuron spiked with `after` as its state: its period begins.
    void hold(const Args& args, int neuron, int64_t index, const double* after) {
        double m[RESET];
        horner<RESET, S>(flow[M::modes - 1].spike, degree, now, own(neuron), m);
        Held& h = held.push();
        h.neuron = neuron, h.from = cursor, h.index = index, h.until = begun + now + M::lasts(args, neuron);
        from_state(m, after, h.y);
        look_for_due();
    }
    // The end of a period: the neuron becomes a lane. Returns it.
    int release() {
        const int64_t which = first_due;
        Held h = held[which];
        now_is(due, row_at_due);
        double m[RESET], at[n];
        collect(1, h.neuron, h.from, cursor, h.y);
        End& end = ends.push();
        end.index = h.index;
        horner<RESET, S>(flow[M::modes - 1].spike, degree, now, own(h.neuron), m);
        to_state(m, h.y, end.x);
        horner<RESET, S>(flow[0].spike, degree, now, own(h.neuron), m);
        from_state(m, end.x, at);
        const int l = lanes++;
        lane_neuron[l] = h.neuron, last_g[l] = UNKNOWN;
        for (int i = 0; i < n; ++i) lane[i][l] = scalar(at[i]);
        collect(0, h.neuron, cursor, pending.count, at);
        for (int i = 0; i < n; ++i) y[i].data[h.neuron] = scalar(at[i]);
        held.drop(which);
        look_for_due();
        known = false;
        return h.neuron;
    }

    // Arrivals

    void set_factors(Incoming& a) const {
        if constexpr (!Varies) {
            double out[FRONT];
            for (int mode = 0; mode < M::modes; ++mode) {
                horner<FRONT, 1>(flow[mode].arrive[a.receptor], degree, a.s, 0, out);
                for (int c = 0; c < FRONT; ++c) (mode ? a.held : a.q)[c] = scalar(out[c]);
            }
        }
    }
    void set_factors_of_pending() {
        if constexpr (!Varies) {
            const int64_t count = pending.count, room = (count + 7) / 8 * 8;
            offsets.reserve(room), columns.reserve(room * FRONT);
            for (int64_t e = 0; e < count; ++e) offsets[e] = pending[e].s;
            for (int64_t e = count; e < room; ++e) offsets[e] = 0;
            for (int mode = 0; mode < M::modes; ++mode)
                for (int r = 0; r < M::receptors; ++r) {
                    horner_many<FRONT>(flow[mode].arrive[r], degree, offsets.data, count, columns.data, room);
                    for (int64_t e = 0; e < count; ++e)
                        if (M::receptors == 1 || pending[e].receptor == r)
                            for (int c = 0; c < FRONT; ++c) (mode ? pending[e].held : pending[e].q)[c] = columns[c * room + e];
                }
        }
    }
    // The arrivals known at the start of the step: y, the bound, and lanes for neurons that may cross.
    void absorb() {
        const auto earlier = [](const Incoming& a, const Incoming& b) { return a.s < b.s; };
        if (!std::is_sorted(pending.begin(), pending.end(), earlier)) std::stable_sort(pending.begin(), pending.end(), earlier);
        set_factors_of_pending();
        for (int64_t from = 0, to; from < pending.count; from = to) {
            for (to = from + 1; to < pending.count && pending[to].receptor == pending[from].receptor;) ++to;
            add(pending.begin() + from, to - from);
        }
        if constexpr (M::spiking) make_lanes();
    }
    // An arrival, now or later in this step, that was not known at its start. What crosses up to then stays known.
    void insert(Incoming a) {
        set_factors(a);
        pending.push();
        int64_t at = pending.count - 1;
        for (; at > cursor && pending[at - 1].s > a.s; --at) pending[at] = pending[at - 1];
        pending[at] = a;
        if (known && a.s <= now) {  // what crosses at this very moment comes first, the rest is looked for anew
            until = now;
            for (int64_t i = hits.count; i-- > 0;)
                if (!hits[i].exact || hits[i].s > now) hits.drop(i);
        } else if (known && a.s < until) {
            known = false;
            forget();
        }
        if (add(&a, 1)) make_lanes();
    }
    // y += P(-s) e w and the bound += the most that arrivals lift g; all at one receptor. Returns whether some bound is
    // not below zero.
    bool add(const Incoming* a, int64_t count) {
        if constexpr (Varies) {
            for (int64_t r = 0; r < count; ++r) add_varying(a[r]);
            return true;
        } else {
            constexpr int V = NP / LANES, U = V < UNROLL / 2 ? V : UNROLL / 2;
            const bool both = M::watched && kappa[a->receptor][1] > 0;
            int v = 0;
            bool any = false;
            for (; v + U <= V; v += U) any |= both ? add_block<2, U>(a, count, v) : add_block<M::watched, U>(a, count, v);
            for (; v < V; ++v) any |= both ? add_block<2, 1>(a, count, v) : add_block<M::watched, 1>(a, count, v);
            return any;
        }
    }
    // Sums stay in registers over all rows. Bound: 0 none, 1 by positive weights, 2 by all.
    template <int Bound, int U>
    bool add_block(const Incoming* a, int64_t count, int v) {
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
        vec most_of_all = lift[0];
#pragma GCC unroll 16
        for (int u = 1; u < U; ++u) most_of_all = larger(most_of_all, lift[u]);
        return Bound && not_negative(most_of_all);
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
        factors<FRONT>(flow[0].arrive[a.receptor], n, a.s);
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
        double state[n];
        for (int i = 0; i < n; ++i) state[i] = double(x[i].data[neuron]);
        last_g[l] = checked > 0 || unarmed[size_t(neuron)] ? UNKNOWN : scalar(threshold(neuron, state));
        lane_neuron[l] = neuron;
        collect(0, neuron, 0, cursor, state);
        for (int i = 0; i < n; ++i) lane[i][l] = scalar(state[i]);
        reach.data[neuron] = UNKNOWN;
    }
    // The last lane takes its place.
    void close_lane(int l) {
        const int last = --lanes;
        lane_neuron[l] = lane_neuron[last], last_g[l] = last_g[last], prior_g[l] = prior_g[last], bends[l] = bends[last];
        for (int i = 0; i < n; ++i) lane[i][l] = lane[i][last];
        for (auto& h : hits)
            if (h.lane == last) h.lane = l;
    }
    void reach_lanes(const Incoming& a) {
        if constexpr (Varies) {
            double q[FRONT];
            for (int l = 0; l < lanes; ++l) {
                horner<FRONT, S>(flow[0].arrive[a.receptor], degree, a.s, lane_neuron[l], q);
                for (int i = 0; i < n; ++i) lane[i][l] += scalar(q[i] * double(a.row[lane_neuron[l]]));
            }
        } else {
            for (int from = 0; from < lanes; from += LANES) {  // whole vectors: lanes beyond the last hold old neurons
                const int32_t* __restrict neuron = lane_neuron.data + from;
                scalar w[LANES];
                for (int l = 0; l < LANES; ++l) w[l] = a.row[neuron[l]];
                for (int i = 0; i < n; ++i) {
                    if (!M::reached[i]) continue;
                    scalar* __restrict state = lane[i].data + from;
                    for (int l = 0; l < LANES; ++l) state[l] += a.q[i] * w[l];
                }
            }
        }
    }
    double pending_at() const { return cursor < pending.count ? pending[cursor].s : std::numeric_limits<double>::infinity(); }
    // The next event that is known already: the end of a period or an arrival; infinity if there is none.
    double known_at() const { return period_ends_first() ? due : pending_at(); }
    // The next known arrival reaches the lanes (all other neurons have it already).
    void take_arrival() {
        const Incoming& a = pending[cursor];
        now_is(a.s, a.q + n);
        reach_lanes(a);
        ++cursor;
        known = false;
    }
    // row: dg P(s) and its constant.
    void now_is(double s, const scalar* row) {
        now = s;
        if (checked == now) return;
        if constexpr (Varies)
            forget();
        else
            for (int from = 0; from < lanes; from += LANES) store(last_g.data + from, g_of(from, row));
        checked = now;
    }
    void forget() {
        for (int l = 0; l < lanes; ++l) last_g.data[l] = UNKNOWN;
    }
    // g of a vector of lanes; row: dg P(s) and its constant.
    vec g_of(int from, const scalar* row) const {
        vec g = vec{} + row[n];
        for (int i = 0; i < n; ++i) g += row[i] * load(lane[i].data + from);
        return g;
    }
    // Finds what crosses between now and the next arrival. With |g''| <= bend, g exceeds its end by at most bend h^2 / 2
    // inside, and the larger of two ends that it is known at by at most bend h^2 / 8.
    void look_ahead() {
        if (known) return;
        known = true;
        const bool last = std::isinf(known_at());
        until = last ? delta : known_at();
        hits.count = 0;
        const scalar half = scalar(0.5 * (until - now) * (until - now));
        if constexpr (Varies) {
            double row[n + 1];
            for (int l = 0; l < lanes; ++l) {
                const int k = lane_neuron[l];
                horner<n + 1, S>(rho, degree, until, k, row);
                scalar g = scalar(row[n]), bend = curve[n * S + own(k)];
                for (int i = 0; i < n; ++i) {
                    const scalar v = lane[i].data[l];
                    g += scalar(row[i]) * v, bend += curve[i * S + own(k)] * (v < 0 ? -v : v);
                }
                prior_g[l] = last_g[l], last_g[l] = g, bends[l] = bend;
                if (g + bend * half >= 0 || prior_g[l] >= 0 || unarmed[size_t(k)]) may_cross(l);
            }
        } else {
            const scalar* row = last ? row_at_end : period_ends_first() ? row_at_due : pending[cursor].q + n;
            for (int from = 0; from < lanes; from += LANES) {
                vec bend = vec{} + curve[n];
                for (int i = 0; i < n; ++i) {
                    const vec v = load(lane[i].data + from);
                    bend += curve[i] * larger(v, -v);
                }
                const vec g = g_of(from, row), before = load(last_g.data + from), one = g + bend * half;
                const vec both = larger(g, before) + scalar(0.25) * half * bend;
                const vec most = larger((before > UNKNOWN) & (both < one) ? both : one, before);
                unsigned mask = not_negative(most) & (lanes - from < LANES ? (1u << (lanes - from)) - 1u : ~0u);
                if (n_unarmed)
                    for (int l = 0; l < LANES && from + l < lanes; ++l) mask |= unsigned(unarmed[size_t(lane_neuron.data[from + l])]) << l;
                store(last_g.data + from, g);
                if (!mask) continue;
                store(prior_g.data + from, before), store(bends.data + from, bend);
                for (; mask; mask &= mask - 1) may_cross(from + __builtin_ctz(mask));
            }
        }
        checked = until;
    }
    // Where g rises steeply all along, a chord tells about when it crosses; it is solved if it turns out to be the first.
    void may_cross(int l) {
        const double g0 = double(prior_g.data[l]), g1 = double(last_g.data[l]), bend = double(bends.data[l]), h = until - now;
        const double rise = g1 - g0;
        if (g1 >= 0 && g0 < 0 && g0 > -1e20 && rise > bend * h * h && !unarmed[size_t(lane_neuron.data[l])]) {
            const double least = 0.5 * rise / h, noise = std::numeric_limits<scalar>::epsilon() * 8;
            hits.push() = {until - h * g1 / rise, (0.125 * bend * h * h + noise) / least, l, false};
        } else {
            solve(l, -1);
        }
    }
    // The crossing of a lane between now and the next arrival, added to hits; about: a guess, or -1.
    void solve(int l, double about) {
        const int neuron = lane_neuron[l];
        double c[DEGREE + 1], v[n], bend = double(curve[n * S + own(neuron)]), from = now, s = -1;
        for (int i = 0; i < n; ++i) v[i] = double(lane[i][l]), bend += double(curve[i * S + own(neuron)]) * std::fabs(v[i]);
        for (int q = 0; q <= degree; ++q) {
            const table* t = rho + int64_t(q) * (n + 1) * S + own(neuron);
            c[q] = double(t[n * S]);
            for (int i = 0; i < n; ++i) c[q] += double(t[i * S]) * v[i];
        }
        if (unarmed[size_t(neuron)] && !fell_below(neuron, c, bend, from)) return;
        if (about >= 0) s = quickly(c, degree, from, until, about, bend);
        if (s < 0) s = first_crossing(c, degree, from, until, bend);
        if (s >= 0) hits.push() = {s, 0, l, true};
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
    // Place in hits of the first crossing before the next arrival (the lowest neuron among equals), -1 if there is none.
    int64_t first_hit() {
        for (;;) {
            int64_t best = -1;
            double least = 0;
            for (int64_t i = 0; i < hits.count; ++i) {
                const Hit& h = hits[i];
                const double s = h.s - h.error;
                bool first = best < 0 || s < least;
                if (!first && s == least)
                    first = hits[best].exact && (!h.exact || lane_neuron.data[h.lane] < lane_neuron.data[hits[best].lane]);
                if (first) best = i, least = s;
            }
            if (best < 0 || hits[best].exact) return best;
            const Hit h = hits[best];
            hits.drop(best);
            solve(h.lane, h.s);
        }
    }
    // An own spike; returns the neuron. before, after: its state.
    int emit(const Args& args, int64_t which, double t_k, int64_t& guarded, double* before, double* after) {
        const int l = hits[which].lane, neuron = lane_neuron[l];
        const double s = now = hits[which].s;
        hits.drop(which);
        double m[RESET], v[n];
        horner<RESET, S>(flow[0].spike, degree, s, own(neuron), m);
        for (int i = 0; i < n; ++i) v[i] = double(lane[i][l]);
        to_state(m, v, before);
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
        const double g = threshold(neuron, after), rest = until - now;
        if (g >= 0) unarmed[size_t(neuron)] = 1, ++n_unarmed;
        if (M::modes > 1) {
            close_lane(l);
            hold(args, neuron, index, after);
            if (due < until) known = false, forget();
            return neuron;
        }
        for (int i = 0; i < n; ++i) {
            double jump = 0;
            for (int j = 0; j < n; ++j) jump += m[n * (n + 1) + i * n + j] * (after[j] - before[j]);
            lane[i][l] += scalar(jump), y[i].data[neuron] += scalar(jump);
        }
        last_g[l] = UNKNOWN;
        if (rest > 0) {
            double bend = double(curve[n * S + own(neuron)]);
            for (int i = 0; i < n; ++i) bend += double(curve[i * S + own(neuron)]) * std::fabs(double(lane[i][l]));
            if (g + rest * (std::fmax(slope_at(neuron, after), 0.0) + 0.5 * bend * rest) >= 0) solve(l, -1);
        }
        return neuron;
    }

    // Backwards: mu = P(s)^T lambda(t_k + s) is constant between events.

    // From the end of a step: mu from lambda, in place; what the step as a whole adds to learned parameters.
    void retreat(int64_t at) {
        retreat(at, flow[0], mu);
        if (M::modes > 1) retreat(at, flow[M::modes - 1], held_mu);
    }
    __attribute__((noinline)) void retreat(int64_t at, const Flow<M, table>& f, Buffer<scalar>* mu) {
        const scalar *end = M::dynamic ? trace + (at + 1) * n * NP : nullptr, *step = f.step;
        for (int r = 0; r < M::dynamic; ++r) {
            scalar* __restrict g = grad[M::place[r]];
            for (int i = 0; i < n; ++i)
                for (int j = 0; j <= n; ++j) {
                    const scalar* d = f.dstep[r] + (i * (n + 1) + j) * S;
                    INDEPENDENT
                    for (int k = 0; k < NP; ++k) g[k] += mu[i].data[k] * d[own(k)] * (j < n ? end[j * NP + k] : scalar(1));
                }
        }
        INDEPENDENT
        for (int k = 0; k < NP; ++k) {
            scalar a[n];
            for (int i = 0; i < n; ++i) a[i] = mu[i].data[k];
            for (int j = 0; j < n; ++j) {
                scalar by = 0;
                for (int i = 0; i < n; ++i)
                    if (M::coupled[i][j]) by += step[(i * (n + 1) + j) * S + own(k)] * a[i];
                mu[j].data[k] = a[j] + by;
            }
        }
    }
    // Factors of all events of a step: column c of event e at [c * room + e]; a block for every mode and receptor.
    void open_step(const LogEntry* events, int64_t count) {
        if constexpr (!Varies) {
            room = (count + 7) / 8 * 8;
            offsets.reserve(room), back_columns.reserve(room * BACK * M::receptors * M::modes);
            for (int64_t e = 0; e < room; ++e) offsets[e] = e < count ? events[e].s : 0.0;
            for (int mode = 0; mode < M::modes; ++mode)
                for (int r = 0; r < M::receptors; ++r)
                    horner_many<BACK>(
                        flow[mode].back[r], degree, offsets.data, count, back_columns.data + (mode * M::receptors + r) * BACK * room, room
                    );
            if (!M::spiking) return;
            resets = 0;
            for (int64_t e = 0; e < count; ++e)
                if (events[e].kind == M::own_spike) offsets[resets++] = events[e].s;
            reset_room = (resets + 7) / 8 * 8;
            for (int64_t e = resets; e < reset_room; ++e) offsets[e] = 0.0;
            reset_columns.reserve(reset_room * RESET);
            horner_many<RESET>(flow[0].spike, degree, offsets.data, resets, reset_columns.data, reset_room);
        }
    }
    // An arrival: weight gradient into `slice_row` (if Grad), gradients of learned parameters; returns D (if Feed).
    // The reader's part is dr times factors of its own.
    template <bool Grad, bool Feed, class Reader>
    scalar arrived(scalar* slice_row, const scalar* row, int receptor, double s, int64_t e, const Reader& reader, const scalar* dr) {
        scalar total = arrived_in<Grad, Feed>(0, mu, slice_row, row, receptor, s, e, reader, dr);
        if (M::modes > 1) total += arrived_in<Grad, Feed>(M::modes - 1, held_mu, slice_row, row, receptor, s, e, NoSource<Neurons>(), dr);
        return total;
    }
    template <bool Grad, bool Feed, class Reader>
    scalar arrived_in(int mode, const Buffer<scalar>* mu, scalar* slice_row, const scalar* row, int receptor, double s, int64_t e, const Reader& reader, const scalar* dr) {
        scalar total = 0;
        if constexpr (Varies) {
            factors<BACK>(flow[mode].back[receptor], BACK, s);
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
            (void)s;
            const scalar* f = back_columns.data + (mode * M::receptors + receptor) * BACK * room + e;
            scalar q[n + 1], z[n + 1];
            for (int i = 0; i < n; ++i) q[i] = f[i * room], z[i] = f[(n + i) * room];
            q[n] = Reader::adds ? reader.direction(0) : scalar(0), z[n] = Reader::adds ? reader.feedback(0) : scalar(0);
            vec sum = {};
            for (int v = 0; v < NP; v += LANES) {
                vec a = {}, b = {};
                for (int r = 0; r < M::dynamic; ++r) {
                    vec d = {};
                    for (int i = 0; i < n; ++i) d += f[((2 + r) * n + i) * room] * load(mu[i].data + v);
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
        double m[RESET], behind[RESET], before[n], after[n];  // `behind`: of the mode after the spike
        scalar kept[n], lambda[n];
        if constexpr (Varies)
            horner<RESET, S>(flow[0].spike, degree, s, neuron, m);
        else  // the last one that was not taken yet
            for (int64_t c = 0, e = --resets; c < RESET; ++c) m[c] = reset_columns.data[c * reset_room + e];
        if (M::modes > 1) horner<RESET, S>(flow[M::modes - 1].spike, degree, s, own(neuron), behind);
        const double* next = M::modes > 1 ? behind : m;
        Buffer<scalar>* next_mu = M::modes > 1 ? held_mu : mu;
        for (int i = 0; i < n; ++i) kept[i] = spikes.record[i + 1][index], before[i] = double(kept[i]);
        double right[n], left[n];
        to_lambda(next, neuron, next_mu, right);
        for (int i = 0; i < n; ++i) lambda[i] = scalar(right[i] + extra[i]);
        M::jump(args, neuron, kept, dl_dt, spikes.record[0][index], lambda, grad);
        if (M::pushed >= 0) lambda[M::pushed < 0 ? 0 : M::pushed] += jump[neuron];
        for (int i = 0; i < n; ++i) left[i] = double(lambda[i]) - extra[i];
        from_lambda(m, neuron, left, mu);
        if (!M::dynamic) return;
        M::reset(args, neuron, before, after);
        between(0, neuron, s, m, before, left, 1), between(M::modes - 1, neuron, s, next, after, right, -1);
    }
    // The end of a refractory period, see Derived.durations: lambda goes on, and D to the spike that began it.
    void ended(int neuron, int64_t index, double s) {
        double held[RESET], m[RESET], lambda[n], D = 0;
        const End& end = ends[index];
        horner<RESET, S>(flow[0].spike, degree, s, own(neuron), m);
        horner<RESET, S>(flow[M::modes - 1].spike, degree, s, own(neuron), held);
        to_lambda(m, neuron, mu, lambda);
        for (int i = 0; i < n; ++i) D += lambda[i] * (rate(M::modes - 1, i, neuron, end.x) - rate(0, i, neuron, end.x));
        feedback[end.index] += scalar(D);
        if (M::duration >= 0) grad[M::duration < 0 ? 0 : M::duration].data[neuron] += scalar(D);
        from_lambda(held, neuron, lambda, held_mu);
        if (M::dynamic) between(M::modes - 1, neuron, s, held, end.x, lambda, 1), between(0, neuron, s, m, end.x, lambda, -1);
    }
    // lambda = P(-s)^T mu, which goes to zero, and mu = P(s)^T lambda.
    static void to_lambda(const double* m, int neuron, Buffer<scalar>* mu, double* lambda) {
        for (int i = 0; i < n; ++i) {
            lambda[i] = 0;
            for (int j = 0; j < n; ++j) lambda[i] += m[n * (n + 1) + j * n + i] * double(mu[j].data[neuron]);
        }
        for (int i = 0; i < n; ++i) mu[i].data[neuron] = 0;
    }
    static void from_lambda(const double* m, int neuron, const double* lambda, Buffer<scalar>* mu) {
        for (int j = 0; j < n; ++j) {
            double v = 0;
            for (int i = 0; i < n; ++i) v += m[i * (n + 1) + j] * lambda[i];
            mu[j].data[neuron] = scalar(v);
        }
    }
    // What the part of a step before (sign 1) or after (-1) a jump at s adds to learned parameters of the dynamics.
    void between(int mode, int neuron, double s, const double* m, const double* state, const double* lambda, double sign) {
        double d[n * (n + 1)], at[n];
        from_state(m, state, at);
        for (int r = 0; r < M::dynamic; ++r) {
            horner<n * (n + 1), S>(flow[mode].dspike[r], degree, s, own(neuron), d);
            double v = 0;
            for (int i = 0; i < n; ++i) {
                double change = d[i * (n + 1) + n];
                for (int j = 0; j < n; ++j) change += d[i * (n + 1) + j] * at[j];
                v += lambda[i] * change;
            }
            grad[M::place[r]].data[neuron] += scalar(sign * v);
        }
    }
};

}  // namespace
