// What losses read of V between events in exact time, by a thread a neuron; walk.cuh calls it.
//
// R is what exact_readings.py prints of a reading: v, the state that is read; set(neuron, r) and dr(neuron); and what each of them lists. cell, way
// and i are a neuron, how far it is, and its number among those of the thread; of an arrival, at(c) is number c of what it has for all neurons.

template <class P, class R> struct Reading {
    static constexpr int n = P::n, v = R::v;
    static constexpr bool by_nodes = false;  // whether it reads stretches of time
    R of;
    __device__ explicit Reading(const R &of) : of(of) {}

    // The pass forwards: its start, and its end.
    __device__ void begin(const Way<P> &, int) {}
    __device__ void end(const Neuron<P> &, int) {}
    // A step: once a block; every neuron ahead of its arrivals; the block, when its spikes are known.
    __device__ void enter(const Step &) {}
    __device__ void start(const Way<P> &, int) {}
    template <class Ways> __device__ void over(const Ways &, const Step &, int, int64_t) {}
    // y is constant from the present time of the neuron to `until`, behind `handled` arrivals of the step.
    __device__ void read(const Neuron<P> &, const Way<P> &, int, const Step &, double, int) {}
    // Sets what follows in f of an arrival at s, for all neurons, forwards and backwards.
    __device__ void share(const Step &, int, double, double *) const {}
    __device__ void share_back(const Step &, int, double, double *) const {}
    // Right before arrival `number` changes y, and behind it; an own spike at s.
    __device__ void arriving(const Neuron<P> &, const Way<P> &, int, double) {}
    template <class At> __device__ void arrived(const Neuron<P> &, const Way<P> &, int, const Step &, double, int, double, At) {}
    __device__ void jumped(int, const Step &, double, const double *, const double *) {}

    // The pass backwards: its start, with the sums of learned parameters.
    __device__ void begin_back(const Neuron<P> &, int, double *) {}
    // A step: its end, once mu is that of the step, and its start.
    __device__ void retreat(const Neuron<P> &, WayBack<P> &, const Step &) {}
    __device__ void leave(const Neuron<P> &, WayBack<P> &, const Step &) {}
    // The stretch of time from `since` to the present time of the neuron.
    template <class Learn> __device__ void read_back(const Neuron<P> &, WayBack<P> &, int, const Step &, double, int, Learn) {}
    // Adds to lambda . e of an arrival of unit weight, to its D divided by its weight, and to D itself.
    template <class At> __device__ void of_weight(const Neuron<P> &, At, double &) {}
    template <class At> __device__ void of_time(const Neuron<P> &, const Step &, double, int, At, double &) {}
    __device__ void kink(const Neuron<P> &, const Step &, int, int64_t, double &) {}
    // Adds to dL/dt of an own spike, and to what lambda has beside P^T mu there.
    __device__ void time_gradient(const Neuron<P> &, const Step &, double, int64_t, const double *, const double *, double &, double *) {}
    // Behind an arrival undone, and an event of the neuron, a spike or the end of a refractory period.
    __device__ void undone(const Neuron<P> &, WayBack<P> &, int64_t) {}
    __device__ void undone(const Neuron<P> &, WayBack<P> &, int64_t, bool) {}
};

// Of an integral of V: out = (u(s), w(s) / T) in a step, where u(s) = int_s^delta w P_V / T dt. A step has two pieces, before
// its window opens and inside of it, each a series in the time to its end.
template <int C, class Table, class Edges>
__device__ inline void integrated(const Table &table, const Edges &edges, int64_t step, double s, double *out) {
    const double open = edges[2 * step], close = edges[2 * step + 1];
    const int inside = s >= open;
    if (s > close)
        for (int c = 0; c < C; ++c) out[c] = 0;
    else
        horner<C>(table, (2 * step + inside) * (DEGREE + 1) * C, DEGREE, (inside ? close : open) - s, out);
}

// r = 1/T int w V dt where V is linear between events, in one mode, and neurons have the same fixed parameters: r is u(0) . x at the start of a
// step, and u . jump of every event, so that neurons do nothing between events. R: u and edges, which engines/cuda/exact.py makes; u0, shared: u(0).
template <class P, class R> struct SeriesIntegral : Reading<P, R> {
    using Reading<P, R>::Reading, Reading<P, R>::of, Reading<P, R>::n, Reading<P, R>::v;
    static constexpr int FRONT = 2 * n + 1, BACK = 2 * n;  // where its numbers of an arrival are
    double total[P::SLOTS];
    __device__ void u(const Step &step, double s, double *out) const { integrated<n + 2>(of.u, of.edges, step.number, s, out); }
    __device__ void begin(const Way<P> &, int i) { total[i] = 0; }
    __device__ void enter(const Step &step) {
        double f[n + 2];
        u(step, 0.0, f);
        for (int c = 0; c < n + 2; ++c) of.u0[c] = f[c];
    }
    __device__ void start(const Way<P> &way, int i) {
        double whole = of.u0[n];
        for (int j = 0; j < n; ++j) whole += of.u0[j] * way.y[j];
        total[i] += whole;
    }
    // u . e.
    __device__ void share(const Step &step, int receptor, double s, double *f) const {
        double u_s[n + 2];
        u(step, s, u_s);
        add(of.p.arrive(0, receptor), 0, u_s, f[FRONT]);
    }
    // The same, and u . (-A e), less what an arrival that moves V itself takes from the loss.
    __device__ void share_back(const Step &step, int receptor, double s, double *f) const {
        double u_s[n + 2];
        u(step, s, u_s);
        const auto e = of.p.arrive(0, receptor);
        f[BACK + 1] = -e[v] * u_s[n + 1];
        add(e, 0, u_s, f[BACK]), add(of.p.back(0, receptor), n, u_s, f[BACK + 1]);
    }
    template <class Table> __device__ static void add(const Table &table, int first, const double *by, double &sum) {
        for (int j = 0; j < n; ++j) sum += table[first + j] * by[j];
    }
    template <class At> __device__ void arrived(const Neuron<P> &, const Way<P> &, int i, const Step &, double, int, double w, At at) { total[i] += at(FRONT) * w; }
    __device__ void jumped(int i, const Step &step, double s, const double *before, const double *after) {
        double f[n + 2], by = 0;
        u(step, s, f);
        for (int j = 0; j < n; ++j) by += f[j] * (after[j] - before[j]);
        total[i] += by;
    }
    __device__ void end(const Neuron<P> &cell, int i) { of.set(cell.number, total[i]); }

    template <class At> __device__ void of_weight(const Neuron<P> &cell, At at, double &q) { q += at(BACK) * of.dr(cell.number); }
    template <class At> __device__ void of_time(const Neuron<P> &cell, const Step &, double, int, At at, double &D) { D += at(BACK + 1) * of.dr(cell.number); }
    __device__ void time_gradient(const Neuron<P> &cell, const Step &step, double s, int64_t, const double *before, const double *after, double &dl_dt, double *extra) {
        u(step, s, extra);
        for (int k = 0; k < n + 2; ++k) extra[k] *= of.dr(cell.number);
        dl_dt += extra[n + 1] * (before[v] - after[v]);
    }
    __device__ void leave(const Neuron<P> &cell, WayBack<P> &way, const Step &step) {
        double f[n + 2];
        u(step, 0.0, f);
        for (int k = 0; k < n; ++k) way.mu[k] += of.dr(cell.number) * f[k];
    }
};

// Calls f(s, part) for the Gauss nodes between two offsets in a step; part: of the integral, with the time weight. rate: see nodes_of.
template <class T, class W, class F> __device__ inline void each_node(const T *t, const W &weight, double t_k, double a, double until, double rate, F f) {
    const auto count_of = [&](double h) { return nodes_of(h, rate, weight.w.terms, sizeof(real) == 4 ? 7 : 15); };
    while (a < until) {
        double b = weight.smooth(t_k, a, until);
        if (weight.open(t_k + a)) {
            int count = count_of(b - a);
            for (; count > NODES; count = count_of(b - a)) b = a + 0.5 * (b - a);
            for (int q = 0; q < count; ++q) {
                const double s = a + (b - a) * t->gauss[count * (count - 1) + q];
                f(s, (b - a) * t->gauss[count * count + q] * weight.at(t_k + s, t_k + a));
            }
        }
        a = b;
    }
}

// What a time weight is part of, by Gauss nodes. R: weight(), see weights.h, and from, the first input spike of the sample.
template <class P, class R> struct Weighted : Reading<P, R> {
    using Reading<P, R>::Reading, Reading<P, R>::of;
    decltype(((R *)0)->weight()) weight = of.weight();
    double total[P::SLOTS];
    int64_t hears = of.from;
    __device__ void begin(const Way<P> &, int i) { total[i] = 0; }
    // Up to the time of a node, too, which may be rounded.
    __device__ void enter(const Step &step) {
        if constexpr (R::Weight::driven) hears = weight.hear(hears, fmax(step.end, step.start + of.t->delta));
    }
    __device__ void end(const Neuron<P> &cell, int i) { of.set(cell.number, total[i]); }
};

// r = 1/T int w V dt of any output with exact spike times, by Gauss nodes in every stretch of time between events. Their number makes it exact to
// rounding, since V is a polynomial piece and w smooth between input spikes. R: MOVES, whether arrivals move V itself.
template <class P, class R> struct NodeIntegral : Weighted<P, R> {
    using Weighted<P, R>::Weighted, Weighted<P, R>::of, Weighted<P, R>::weight, Weighted<P, R>::total, Weighted<P, R>::n, Weighted<P, R>::v;
    static constexpr bool by_nodes = true;
    template <class F> __device__ void nodes(const Step &step, double since, double until, F f) { each_node(of.t, weight, step.start, since, until, 1 / of.t->delta, f); }
    __device__ void read(const Neuron<P> &cell, const Way<P> &way, int i, const Step &step, double until, int) {
        nodes(step, way.now, until, [&](double s, double part) { total[i] += part * cell.value(v, way.mode_now(), s, way.y); });
    }
    template <class Learn> __device__ void read_back(const Neuron<P> &cell, WayBack<P> &way, int, const Step &step, double since, int, Learn learn) {
        nodes(step, since, way.at, [&](double s, double part) { cell.pull(v, way.mode_now(), s, part * of.dr(cell.number), way.y, way.mu, learn); });
    }
    __device__ double at(const Step &step, double s) const { return weight.at(step.start + s, step.start + s); }
    template <class At> __device__ void of_time(const Neuron<P> &cell, const Step &step, double s, int receptor, At, double &D) {
        if constexpr (R::MOVES) D += -at(step, s) * of.dr(cell.number) * cell.p.arrive(0, receptor)[v * P::S + cell.column()];
    }
    __device__ void time_gradient(const Neuron<P> &cell, const Step &step, double s, int64_t, const double *before, const double *after, double &dl_dt, double *) {
        dl_dt += of.dr(cell.number) * at(step, s) * (before[v] - after[v]);
    }
};

// V at the start of every step of the plan's grid, before the events of that time. R: set(at, neuron, V), dr(at, neuron).
template <class P, class R> struct Samples : Reading<P, R> {
    using Reading<P, R>::Reading, Reading<P, R>::of, Reading<P, R>::v;
    static constexpr bool by_nodes = true;
    int64_t next[P::SLOTS];  // backwards, too
    __device__ double offset(const Step &step, int64_t at) const {
        const auto *t = of.t;
        return t->duration * (double)(at * t->exact_steps - step.number * t->n_steps) / ((double)t->n_steps * (double)t->exact_steps);
    }
    __device__ int64_t first(int64_t step) const { return (step * of.t->n_steps + of.t->exact_steps - 1) / of.t->exact_steps; }
    __device__ void begin(const Way<P> &, int i) { next[i] = 0; }
    __device__ void read(const Neuron<P> &cell, const Way<P> &way, int i, const Step &step, double until, int) {
        const int64_t last = step.number + 1 < of.t->exact_steps ? first(step.number + 1) : of.t->n_steps + 1;
        for (; next[i] < last; ++next[i]) {
            const double s = offset(step, next[i]);
            if (s > until + cell.p.together) break;  // what is simultaneous comes behind
            of.set(next[i], cell.number, cell.value(v, way.mode_now(), s, way.y));
        }
    }
    __device__ void begin_back(const Neuron<P> &, int i, double *) { next[i] = of.t->n_steps; }
    template <class Learn> __device__ void read_back(const Neuron<P> &cell, WayBack<P> &way, int i, const Step &step, double since, int handled, Learn learn) {
        for (const int64_t last = first(step.number); next[i] >= last; --next[i]) {
            const double s = offset(step, next[i]);
            if (handled >= 0 && s <= since + cell.p.together) break;
            cell.pull(v, way.mode_now(), s, of.dr(next[i], cell.number), way.y, way.mu, learn);
        }
    }
};

// r = max V: `Maximum` of codegen/maximum.h; arrivals are counted within their steps. R: JUMPS, whether they move V itself, and what the pass backwards
// needs of every neuron, offset, turn, step, entry, kink_step, kink_entry and y.
template <class P, class R> struct MaximumInTime : Reading<P, R> {
    using Reading<P, R>::Reading, Reading<P, R>::of, Reading<P, R>::n, Reading<P, R>::v;
    static constexpr bool by_nodes = true;
    Maximum<P, R::JUMPS, int> most[P::SLOTS];
    bool pushed[P::SLOTS];
    __device__ void begin(const Way<P> &way, int i) { most[i].begin(way.y, way.y[v]); }
    __device__ void read(const Neuron<P> &cell, const Way<P> &way, int i, const Step &step, double until, int handled) {
        const bool last = step.number + 1 == of.t->exact_steps && until >= of.t->delta;
        most[i].read(cell, way.y, way.now, until, (int)step.number, handled, last);
    }
    __device__ void arriving(const Neuron<P> &cell, const Way<P> &way, int i, double s) { most[i].arriving(cell, way.y, s); }
    template <class At> __device__ void arrived(const Neuron<P> &cell, const Way<P> &way, int i, const Step &step, double s, int number, double w, At) {
        if (w != 0) most[i].reached(cell, way.y, s, (int)step.number, number);
    }
    __device__ void end(const Neuron<P> &cell, int i) {
        const auto &m = most[i];
        const int64_t at = cell.p.neuron(cell.number);
        of.set(cell.number, m.best);
        of.offset[at] = m.offset, of.turn[at] = m.turn, of.step[at] = m.step, of.entry[at] = m.entry, of.kink_step[at] = m.kink_step, of.kink_entry[at] = m.kink_entry;
        for (int k = 0; k < n; ++k) of.y[at * n + k] = m.y[k];
    }
    __device__ void begin_back(const Neuron<P> &, int i, double *) { pushed[i] = false; }
    template <class Learn> __device__ void read_back(const Neuron<P> &cell, WayBack<P> &way, int i, const Step &step, double, int handled, Learn learn) {
        const int64_t at = cell.p.neuron(cell.number);
        if (pushed[i] || of.step[at] != step.number || of.entry[at] <= handled) return;
        pushed[i] = true;
        double y[n];
        for (int k = 0; k < n; ++k) y[k] = P::dynamic > 0 ? (double)of.y[at * n + k] : 0.0;
        cell.pull(v, way.mode_now(), of.offset[at], of.dr(cell.number), y, way.mu, learn);
    }
    __device__ void kink(const Neuron<P> &cell, const Step &step, int number, int64_t, double &D) {
        const int64_t at = cell.p.neuron(cell.number);
        D += of.kink_step[at] == step.number && of.kink_entry[at] == number ? of.dr(cell.number) * of.turn[at] : 0.0;
    }
};

// A neuron once more through a step that is over. pull, learned: what nodes since its last event add to mu, and all to learned parameters.
template <class P> struct Replay {
    static constexpr int n = P::n;
    double y[n], pull[n], learned[P::dynamic + 1];
    int mode, spikes;
    __device__ int mode_now() const { return P::modes > 1 ? mode : 0; }
    __device__ void begin() {
        for (int k = 0; k < n; ++k) pull[k] = 0;
        for (int r = 0; r < P::dynamic; ++r) learned[r] = 0;
        mode = spikes = 0;
    }
    template <class Pulls> __device__ void flush(const Pulls &pulls, int64_t place) {
        for (int k = 0; k < n; ++k) pulls[place * n + k] = pull[k], pull[k] = 0;
    }
    // Whether its next own event is the end of its refractory period: a spike that is given may come before.
    __device__ bool ends(const Neuron<P> &cell) const {
        if constexpr (P::observed && P::modes > 1)
            if (mode) return cell.p.end_step[cell.p.at(spikes - 1, cell.number)] >= 0;
        return P::modes > 1 && mode;
    }
    // When its next own event comes, of `count` spikes, ahead of an arrival.
    __device__ double next(const Neuron<P> &cell, int count, int step, int arrival) const {
        const P &p = cell.p;
        const int64_t event = p.at(spikes - ends(cell), cell.number);
        if constexpr (P::modes > 1)
            if (ends(cell)) return p.end_step[event] == step && p.end_handled[event] <= arrival ? (double)p.end_s[event] : INFINITE;
        return spikes < count && p.handled[event] <= arrival ? (double)p.s[event] : INFINITE;
    }
    // The states before and behind it, which are the same at the end of a refractory period.
    __device__ void around(const Neuron<P> &cell, double *before, double *after) const {
        const int64_t event = cell.p.at(spikes - ends(cell), cell.number);
        if constexpr (P::modes > 1)
            if (ends(cell)) {
                for (int k = 0; k < n; ++k) before[k] = after[k] = cell.p.end_x[event * n + k];
                return;
            }
        for (int k = 0; k < n; ++k) before[k] = cell.p.x[event * n + k];
        cell.p.reset(cell.number, before, after);
    }
    // What it takes from the loss, and what came before it to mu.
    template <class R> __device__ void store(const R &of, const Neuron<P> &cell, double change) {
        const int64_t event = cell.p.at(spikes - ends(cell), cell.number);
        if constexpr (P::modes > 1)
            if (ends(cell)) return flush(of.e_end_pull, event);
        of.e_loss[event] = change;
        flush(of.e_pull, event);
    }
    __device__ void pass(const Neuron<P> &cell, double s, const double *after) {
        const bool spike = !ends(cell);
        spikes += spike, mode = P::modes > 1 && spike;
        cell.at(mode, s).from_state(after, y);
    }
};


// L = 1/T int w l(V) dt, l the outer loss of all outputs at one time. When the spikes of a step are known, the block goes through its events once more,
// in step: thread 0 makes l and dl/dV, and adds to `running`. What the nodes between two events of a neuron add to mu does not depend on mu: it
// is made at once, and stored with the event behind them. R, besides that of `Weighted`: MOVES; steep(V), a bound on the slope of a score; scored(),
// whether the sample has a target, and learns(); time, V and change, shared; slopes(start, s), l and dl/dV / B in the place of V, and loss(start, s), l;
// pull, a_pull, a_loss, e_pull, e_end_pull, e_loss and learned of steps, arrivals, events and neurons.
template <class P, class R> struct VoltageLoss : Weighted<P, R> {
    using Weighted<P, R>::Weighted, Weighted<P, R>::of, Weighted<P, R>::weight, Weighted<P, R>::total, Weighted<P, R>::n, Weighted<P, R>::v;
    static constexpr int N = P::N;
    Replay<P> thens[P::SLOTS];  // neurons at the time that the block goes through
    double running = 0;
    __device__ void begin(const Way<P> &, int i) { total[i] = 0, thens[i].begin(); }
    __device__ void start(const Way<P> &way, int i) {
        for (int k = 0; k < n; ++k) thens[i].y[k] = way.y[k];
    }
    template <class F> __device__ void each(F f) {
        each_neuron<N>([&](int32_t k, int i) { f(Neuron<P>{of.p, k}, thens[i], i); });
    }
    __device__ double weight_at(const Step &step, double s) const { return weight.at(step.start + s, step.start + s); }
    // w (l(V) - l(V behind an event)) / B; behind() sets V to that.
    template <class F> __device__ void set_change(const Step &step, double s, F behind) {
        __syncthreads();
        if (threadIdx.x == 0) {
            double by = 0;
            if (of.scored()) by = of.loss(step.start, s), behind(), by = (by - of.loss(step.start, s)) * weight_at(step, s) * of.t->sample_weight[of.sample];
            of.change[0] = by;
        }
        __syncthreads();
    }
    // V of all outputs between two times without events.
    __device__ void between(const Step &step, double from, double to) {
        each([&](const auto &cell, auto &then, int) { of.time[cell.number] = cell.speed(then.mode_now(), v, then.y) * of.steep(then.y[v]); });
        __syncthreads();
        double rate = 1 / of.t->delta, most = 0;
        for (int k = 0; k < N; ++k) most = fmax(most, of.time[k]);
        __syncthreads();
        each_node(of.t, weight, step.start, from, to, most + rate, [&](double s, double part) {
            each([&](const auto &cell, auto &then, int i) { of.V[cell.number] = cell.value(v, then.mode_now(), s, then.y), total[i] += part * of.V[cell.number]; });
            __syncthreads();
            if (threadIdx.x == 0 && of.scored()) running += part * of.slopes(step.start, s);
            __syncthreads();
            if (of.scored() && of.learns())
                each([&](const auto &cell, auto &then, int) {
                    cell.pull(v, then.mode_now(), s, part * of.V[cell.number], then.y, then.pull, [&](int r, double by) { then.learned[r] += by; });
                });
        });
    }
    // The own event of neuron `first` at s.
    __device__ void event(const Step &step, int first, double s) {
        double before[n], after[n];
        each([&](const auto &cell, auto &then, int) {
            of.V[cell.number] = cell.value(v, then.mode_now(), s, then.y);
            if (cell.number == first) then.around(cell, before, after), of.V[first] = before[v], of.time[first] = after[v];
        });
        set_change(step, s, [&] { of.V[first] = of.time[first]; });
        each([&](const auto &cell, auto &then, int) {
            if (cell.number != first) return;
            then.around(cell, before, after), then.store(of, cell, of.change[0]), then.pass(cell, s, after);
        });
        __syncthreads();
    }
    __device__ void arrival(const Step &step, int64_t now, double s) {
        const P &p = of.p;
        const auto list = p.arrivals();
        const int32_t by = list.connection[now], source = list.source[now], receptor = p.receptor(by);
        if (by < 0) return;  // that of another input
        if constexpr (R::MOVES) {
            each([&](const auto &cell, auto &then, int) {
                of.V[cell.number] = cell.value(v, then.mode_now(), s, then.y);
                of.time[cell.number] = of.V[cell.number] + p.arrive(0, receptor)[v * P::S + cell.column()] * p.weight(by, source, cell.number);
            });
            set_change(step, s, [&] {
                for (int k = 0; k < N; ++k) of.V[k] = of.time[k];
            });
            if (threadIdx.x == 0) of.a_loss[now] = of.change[0];
            __syncthreads();
        }
        each([&](const auto &cell, auto &then, int) {
            double f[n];
            const double w = p.weight(by, source, cell.number);
            then.flush(of.a_pull, now * N + cell.number);
            cell.arrive(then.mode_now(), receptor, s, f);
            for (int k = 0; k < n; ++k) then.y[k] += f[k] * w;
        });
    }
    template <class Ways> __device__ void over(const Ways &ways, const Step &step, int count, int64_t place) {
        double reached = 0;
        for (int next = 0;;) {
            int first = -1;  // whose own event is the next one, ahead of the next arrival
            double when = next < count ? (double)of.p.arrivals().s[place + next] : (double)of.t->delta;
            if constexpr (P::spiking) {
                each([&](const auto &cell, auto &then, int i) { of.time[cell.number] = then.next(cell, ways[i].count, (int)step.number, next); });
                __syncthreads();
                for (int k = 0; k < N; ++k)
                    if (of.time[k] < (first < 0 ? INFINITE : (double)of.time[first])) first = k;
                if (first >= 0) when = of.time[first];
                __syncthreads();
            }
            if (when > reached) between(step, reached, when);
            reached = fmax(reached, when);
            if (first >= 0) {
                if constexpr (P::spiking) event(step, first, when);
            } else if (next < count) arrival(step, place + next++, when);
            else break;
        }
        each([&](const auto &cell, auto &then, int) { then.flush(of.pull, of_step(step, cell)); });
    }
    __device__ int64_t of_step(const Step &step, const Neuron<P> &cell) const { return (of.sample * of.t->exact_points + step.number) * N + cell.number; }
    __device__ void end(const Neuron<P> &cell, int i) {
        Weighted<P, R>::end(cell, i);
        if constexpr (P::dynamic > 0)
            for (int r = 0; r < P::dynamic; ++r) of.learned[of.p.neuron(cell.number) * P::dynamic + r] = thens[i].learned[r];
        if (cell.number == 0) of.t->loss[of.sample] = of.scored() ? running : NOT_A_NUMBER;
    }

    __device__ void begin_back(const Neuron<P> &cell, int, double *sum) {
        if constexpr (P::dynamic > 0)
            for (int r = 0; r < P::dynamic; ++r) sum[P::place(r)] = of.learned[of.p.neuron(cell.number) * P::dynamic + r];
    }
    template <class Pulls> __device__ void add(const Pulls &pulls, int64_t place, WayBack<P> &way) {
        for (int k = 0; k < n; ++k) way.mu[k] += pulls[place * n + k];
    }
    __device__ void retreat(const Neuron<P> &cell, WayBack<P> &way, const Step &step) { add(of.pull, of_step(step, cell), way); }
    __device__ void undone(const Neuron<P> &cell, WayBack<P> &way, int64_t arrival) { add(of.a_pull, arrival * N + cell.number, way); }
    __device__ void undone(const Neuron<P> &, WayBack<P> &way, int64_t event, bool spike) {
        if constexpr (P::modes > 1)
            if (!spike) return add(of.e_end_pull, event, way);
        add(of.e_pull, event, way);
    }
    __device__ void kink(const Neuron<P> &cell, const Step &, int, int64_t arrival, double &D) {
        if constexpr (R::MOVES) D += cell.number == 0 ? (double)of.a_loss[arrival] : 0.0;
    }
    __device__ void time_gradient(const Neuron<P> &, const Step &, double, int64_t event, const double *, const double *, double &dl_dt, double *) {
        dl_dt += of.e_loss[event];
    }
};
