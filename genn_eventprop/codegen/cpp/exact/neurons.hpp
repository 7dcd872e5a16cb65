// The neurons of one population within a step of exact time.
//
// States are x(t_k + s) = P(s) y + c(s). y is constant between events, so an arrival adds P(-s) e times a row of weights to
// y of all neurons, and nothing is propagated within a step. y is stored as x(t_k) + low + moved: `moved` is the sum of the
// events of this step, and `low` the rounding error of x, so that float32 does not lose small contributions. A bound on g over
// the step tells which neurons may cross; lanes.hpp takes those through the step event by event.
//
// M: the generated model. n states, R receptors; S = NP if neurons have parameters of their own (Varies), else 1.

namespace {

// The flow between events in one mode, as tables; see plan/series.py.
template <class M, typename table>
struct Flow {
    const scalar *step, *step_rest, *dstep[M::dynamic + 1];
    const table *spike, *dspike[M::dynamic + 1], *arrive[M::receptors + 1], *back[M::receptors + 1];
    const double* A;
};

template <int n>
struct Arrival {
    double s;
    const scalar* row;
    int32_t connection, receptor, source;
    int64_t index;        // number of the spike in its list
    scalar q[2 * n + 1];  // P(-s) e and the row dg P(s) of the threshold; unused if neurons have parameters of their own
    scalar held[2 * n + 1];  // the same for neurons in a refractory period
    int32_t first, end;      // the row is 0 for neurons outside, a range of whole vectors
};

// Sorts arrivals by time; those of one instant keep their order. Merges of runs that double in length, since
// std::stable_sort takes an eighth of the time in which a network compiles.
template <typename T>
void sort_by_time(T* arrivals, int64_t count, Buffer<T>& other) {
    bool sorted = true;
    for (int64_t i = 1; sorted && i < count; ++i) sorted = !(arrivals[i].s < arrivals[i - 1].s);
    if (sorted) return;
    other.reserve(count);
    for (int64_t run = 1; run < count; run *= 2) {
        for (int64_t from = 0; from < count; from += 2 * run) {
            const int64_t middle = from + run < count ? from + run : count, to = from + 2 * run < count ? from + 2 * run : count;
            int64_t a = from, b = middle;
            for (int64_t k = from; k < to; ++k) {
                const bool first = a < middle && (b == to || !(arrivals[b].s < arrivals[a].s));
                other[k] = arrivals[first ? a++ : b++];
            }
        }
        std::memcpy(arrivals, other.data, size_t(count) * sizeof(T));
    }
}

// The larger of two numbers in every lane. By name where g++ would make a comparison and a mask of the one with zeros.
template <typename V>
inline V larger(V a, V b) {
#if defined(__AVX__) && !defined(__AVX512F__)
    if constexpr (sizeof(V) == 32 && LANES == 8) return V(__builtin_ia32_maxps256(a, b));
    if constexpr (sizeof(V) == 32 && LANES == 4) return V(__builtin_ia32_maxpd256(a, b));
#endif
    return a > b ? a : b;
}

template <class M, int N, bool Varies>
struct Neurons {
    typedef M model;
    static constexpr int n = M::n, NP = (N + 15) / 16 * 16, S = Varies ? NP : 1;
    static constexpr int FRONT = 2 * n + 1, BACK = (2 + M::dynamic) * n, RESET = n * (n + 1) + n * n;
    static constexpr int ALL = LANES > 1 ? NP : N;  // what vectors go over of a row of weights, which a device does not pad
    static constexpr bool varies = Varies;
    typedef typename std::conditional<Varies, scalar, double>::type table;
    typedef Arrival<n> Incoming;

    // Tables, see plan/series.py.
    Flow<M, table> flow[M::modes];
    const scalar *dg, *curve, *kappa[M::receptors + 1];
    const table* rho;
    int degree = 0;
    double delta = 0, together = 0;  // times less than `together` ms apart are simultaneous, see lanes.hpp
    scalar slack = 0;                // times a bound on |g''|: the most that g rises within an instant

    Buffer<scalar> x[n], low[n], moved[n], reach, trace, factor[FRONT > BACK ? FRONT : BACK];
    Buffer<double> offsets;
    Buffer<scalar> columns;
    List<Incoming> pending;   // arrivals of this step in order of time
    Buffer<Incoming> merged;  // while they are sorted
    typename std::conditional<M::spread, Rows<NP>, char>::type rows;  // their weights, where they are no rows of a matrix
    Buffer<scalar> row;       // the weights of another one
    void prepare() {
        for (int i = 0; i < n; ++i) x[i].zero(NP), low[i].zero(NP), moved[i].zero(NP);
        for (auto& b : factor) b.zero(Varies ? NP : 1);
        reach.zero(NP);
    }
    void keep_state(int64_t at) {
        for (int i = 0; i < n; ++i) std::memcpy(trace + (at * n + i) * NP, x[i], NP * sizeof(scalar));
    }
    static constexpr int column_of(int neuron) { return Varies ? neuron : 0; }
    // Whether an arrival reaches so few neurons (a window over an image, some synapses) that the others are passed over.
    static bool narrow(const Incoming& a) { return M::spread && a.end - a.first < NP / 2; }
    static bool reaches(const Incoming& a, int neuron) { return neuron >= a.first && neuron < a.end; }
    // What a step adds to state i. The table has P - 1, since rounding errors of P itself would accumulate over the steps, and
    // `rest` is the rounding error of the table.
    template <typename real>
    real growth(int i, const real* a, int r, int mode = 0) const {
        real by = 0;
        const scalar* const tables[] = {flow[mode].step_rest, flow[mode].step};
        for (const scalar* table : tables)
            for (int j = 0; j <= n; ++j)
                if (M::coupled[i][j]) by += real(table[(i * (n + 1) + j) * S + r]) * (j < n ? a[j] : real(1));
        return by;
    }
    static double add_up(scalar a, scalar b) { return double(a) + double(b); }
    // Splits a double into two scalars.
    static void split(double v, scalar& high, scalar& rest) { high = scalar(v), rest = scalar(v - double(high)); }
    // What `Neuron` reads.
    static constexpr int modes = M::modes, dynamic = M::dynamic;
    const table* spike(int mode) const { return flow[mode].spike; }
    const table* dspike(int mode, int r) const { return flow[mode].dspike[r]; }
    const table* arrive(int mode, int receptor) const { return flow[mode].arrive[receptor]; }
    const double* rates(int mode) const { return flow[mode].A; }
    typedef Neurons Population;
    Neuron<Population> of(int neuron) const { return {*this, neuron}; }

    // Start of a step: clears `moved` and bounds g without arrivals.
    __attribute__((noinline)) void start() {
        pending.count = 0;
        if constexpr (M::spread) rows.used = 0;
        const scalar eighth = scalar(0.125 * delta * delta);
        scalar* __restrict bound = reach;
        each_lane(NP, [=](int k) {
            scalar a[n];
            for (int i = 0; i < n; ++i) a[i] = x[i].data[k], moved[i].data[k] = 0;
            if constexpr (M::watched) {
                const int r = column_of(k);
                scalar g0 = dg[n * S + r], g1 = g0, bend = curve[n * S + r];  // g1: at the end
                for (int i = 0; i < n; ++i) {
                    const scalar b = a[i] + growth(i, a, r);
                    g0 += dg[i * S + r] * a[i], g1 += dg[i * S + r] * b;
                    bend += curve[i * S + r] * (a[i] < 0 ? -a[i] : a[i]);
                }
                const scalar beyond = g1 + slack * bend;  // in between g is at most bend delta^2 / 8 above the larger end
                bound[k] = (g0 > beyond ? g0 : beyond) + eighth * bend;
            }
        });
    }
    // End of a step: computes the states there.
    __attribute__((noinline)) void finish() {
        each_lane(NP, [=](int k) {
            scalar a[n];
            for (int i = 0; i < n; ++i) a[i] = x[i].data[k] + moved[i].data[k];
            for (int i = 0; i < n; ++i) {
                const scalar from = x[i].data[k], by = moved[i].data[k] + (low[i].data[k] + growth(i, a, column_of(k)));
                const scalar to = from + by, added = to - from;
                x[i].data[k] = to, low[i].data[k] = (from - (to - added)) + (by - added);  // exact: no rounding
            }
        });
    }

    // Adds the pending arrivals [from, to) to y of one neuron in a mode.
    void collect(int mode, int neuron, int64_t from, int64_t to, double* at) const {
        for (int64_t e = from; e < to; ++e) {
            const Incoming& a = pending[e];
            if (narrow(a) && !reaches(a, neuron)) continue;
            if constexpr (Varies) {
                double q[n];
                of(neuron).arrive(mode, a.receptor, a.s, q);
                for (int i = 0; i < n; ++i) at[i] += q[i] * double(a.row[neuron]);
            } else {
                const scalar* q = mode ? a.held : a.q;
                for (int i = 0; i < n; ++i) at[i] += double(q[i] * a.row[neuron]);
            }
        }
    }
    // Arrivals

    // Sets all of an arrival but its factors.
    template <class C, class Synapses>
    void fill(Incoming& a, C c, const Synapses& synapses, double s, int32_t route, int64_t index) {
        a.s = s, a.connection = c.number, a.receptor = c.receptor, a.source = route, a.index = index;
        if constexpr (Synapses::dense) {
            a.row = synapses.row(route), a.first = 0, a.end = std::numeric_limits<int32_t>::max();
        } else {
            const Range reached = synapses.reached(route);
            a.row = synapses.add_to(rows.take(reached), route), a.first = reached.from, a.end = reached.to;
        }
    }
    // One that is known at the start of the step.
    template <class C, class Synapses>
    void pend(C c, const Synapses& synapses, double s, int32_t route, int64_t index) {
        fill(pending.push(), c, synapses, s, route, index);
    }
    // The weights of a route, valid until the next row is asked for.
    template <class Synapses>
    const scalar* whole_row(const Synapses& synapses, int32_t route) {
        if constexpr (Synapses::dense) return synapses.row(route);
        else return row.zero(NP), synapses.add_to(row, route);
    }
    void set_factors(Incoming& a) const {
        if constexpr (!Varies) {
            double out[FRONT];
            for (int mode = 0; mode < M::modes; ++mode) {
                horner<FRONT>(flow[mode].arrive[a.receptor], 0, degree, a.s, out);
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
    // Adds the arrivals known at the start of the step to `moved` and to the bound on g.
    void absorb() {
        sort_by_time(pending.begin(), pending.count, merged);
        set_factors_of_pending();
        for (int64_t from = 0, to; from < pending.count; from = to) {
            for (to = from + 1; to < pending.count && pending[to].receptor == pending[from].receptor;) ++to;
            add(pending.begin() + from, to - from);
        }
    }
    // moved += P(-s) e w, and the bound += the most that the arrivals can raise g; all at one receptor. Returns whether any
    // bound is not below zero.
    bool add(const Incoming* a, int64_t count) {
        if constexpr (Varies) {
            for (int64_t r = 0; r < count; ++r) add_varying(a[r]);
            return true;
        } else if constexpr (M::spread) {
            bool any = false;
            for (int64_t from = 0, to; from < count; from = to) {
                for (to = from + 1; to < count && !narrow(a[from]) && !narrow(a[to]);) ++to;
                any |= add_whole(a + from, to - from);
            }
            return any;
        } else {
            return add_whole(a, count);
        }
    }
    bool add_whole(const Incoming* a, int64_t count) {
        constexpr int V = ALL / LANES, U = V < UNROLL / 2 ? V : UNROLL / 2;
        const bool both = M::watched && kappa[a->receptor][1] > 0;
#if defined(ONE_LANE)
        const int from = count == 1 && M::spread ? a->first : 0, to = count == 1 && M::spread && a->end < ALL ? a->end : ALL;
        return any_lane(to - from, [=](int k) { return both ? add_block<2, 1>(a, count, from + k) : add_block<M::watched, 1>(a, count, from + k); });
#endif
        if (count == 1) return both ? add_one<2>(*a) : add_one<M::watched>(*a);
        int v = 0;
        bool any = false;
        for (; v + U <= V; v += U) any |= both ? add_block<2, U>(a, count, v) : add_block<M::watched, U>(a, count, v);
        for (; V % U && v < V; ++v) any |= both ? add_block<2, 1>(a, count, v) : add_block<M::watched, 1>(a, count, v);
        return any;
    }
    // Sums stay in registers over all rows. Bound: 0 none, 1 by positive weights only, 2 by all weights.
    template <int Bound, int U>
    bool add_block(const Incoming* a, int64_t count, int v) {
        const scalar* most = kappa[a->receptor];
        vec sum[n][U], lift[U];
#pragma GCC unroll 16
        for (int u = 0; u < U; ++u) {
            for (int i = 0; i < n; ++i) sum[i][u] = load(moved[i].data + (v + u) * LANES);
            lift[u] = Bound ? load(reach.data + (v + u) * LANES) : vec{};
        }
        for (int64_t r = 0; r < count; ++r) {
            const scalar* row = a[r].row + v * LANES;
            const scalar rest = scalar(delta + together - a[r].s), up = Bound ? most[0] * rest : 0, down = Bound > 1 ? most[1] * rest : 0;
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
                if (M::reached[i]) store(moved[i].data + (v + u) * LANES, sum[i][u]);
            if (Bound) store(reach.data + (v + u) * LANES, lift[u]);
        }
        vec most_of_all = lift[0];
#pragma GCC unroll 16
        for (int u = 1; u < U; ++u) most_of_all = larger(most_of_all, lift[u]);
        return Bound && not_negative(most_of_all);
    }
    // The same for a single row, where it is not 0. Its sums need not stay in registers, of which AVX2 has too few for a block.
    template <int Bound>
    bool add_one(const Incoming& a) {
        const scalar* most = kappa[a.receptor];
        const scalar rest = scalar(delta + together - a.s), up = Bound ? most[0] * rest : 0, down = Bound > 1 ? most[1] * rest : 0;
        vec highest = vec{} + scalar(-1);
        const int from = M::spread ? a.first : 0, to = M::spread && a.end < ALL ? a.end : ALL;
        for (int v = from; v < to; v += LANES) {
            const vec w = load(a.row + v);
            for (int i = 0; i < n; ++i)
                if (M::reached[i]) store(moved[i].data + v, load(moved[i].data + v) + a.q[i] * w);
            if (!Bound) continue;
            vec lift = load(reach.data + v) + up * larger(w, vec{});
            if (Bound > 1) lift += down * larger(-w, vec{});
            store(reach.data + v, lift);
            highest = larger(highest, lift);
        }
        return Bound && not_negative(highest);
    }
    // factor[c] = column c of a table of C columns at s, for each neuron.
    template <int C>
    void factors(const table* t, int count, double s) {
#if defined(ONE_LANE)
        each_lane(NP, [=](int k) {
            for (int c = 0; c < count; ++c) {
                scalar v = scalar(t[(int64_t(degree) * C + c) * S + column_of(k)]);
                for (int q = degree - 1; q >= 0; --q) v = v * scalar(s) + scalar(t[(int64_t(q) * C + c) * S + column_of(k)]);
                factor[c].data[k] = v;
            }
        });
#else
        for (int c = 0; c < count; ++c) {
            scalar* __restrict out = factor[c];
            const table* column = t + (int64_t(degree) * C + c) * S;
            for (int k = 0; k < NP; ++k) out[k] = scalar(column[column_of(k)]);
            for (int q = degree - 1; q >= 0; --q) {
                column -= C * S;
                INDEPENDENT
                for (int k = 0; k < NP; ++k) out[k] = out[k] * scalar(s) + scalar(column[column_of(k)]);
            }
        }
#endif
    }
    __attribute__((noinline)) void add_varying(const Incoming& a) {
        factors<FRONT>(flow[0].arrive[a.receptor], n, a.s);
        const scalar* most = kappa[a.receptor];
        const scalar rest = scalar(delta + together - a.s);
        const scalar* const row = a.row;
        each_lane(ALL, [=](int k) {
            const scalar w = row[k], up = w > 0 ? w : scalar(0);
            for (int i = 0; i < n; ++i)
                if (M::reached[i]) moved[i].data[k] += factor[i].data[k] * w;
            if (M::watched) reach.data[k] += rest * (most[column_of(k)] * up + most[S + column_of(k)] * (up - w));
        });
    }
};

}  // namespace
