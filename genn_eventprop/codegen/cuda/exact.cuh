// Exact spike times: numbers of a step from tables of powers of the offset s inside it, see plan/series.py.

// Calls put(a, rank) for each of the things [0, count), with its place in order of time: each counts those before it, and those of one
// instant keep their order.
template <class Time, class Put> __device__ inline void sort_by_time(int count, Time time, Put put) {
    for (int a = threadIdx.x; a < count; a += THREADS) {
        const double s = time(a);
        int rank = 0;
        for (int b = 0; b < count; ++b) {
            const double other = time(b);
            rank += other < s || (other == s && b < a);
        }
        put(a, rank);
    }
}

// The arrivals of a sample at a population, in order of time step by step: offset in the step, the connection (-1: no synapse takes it), the
// source or route that it comes from, and the number of the spike that causes it.
template <class Double, class Int> struct Arrivals {
    Double s;
    Int connection, source, index;
    template <class C> __device__ inline void put(int64_t place, const C &c, int64_t e, double at, int32_t route) const {
        s[place] = at, connection[place] = route < 0 ? -1 : C::NUMBER, source[place] = route < 0 ? 0 : route, index[place] = c.index(e);
    }
    __device__ inline void copy(int64_t place, const Arrivals &from, int64_t at) const {
        s[place] = from.s[at], connection[place] = from.connection[at], source[place] = from.source[at], index[place] = from.index[at];
    }
};
template <class Double, class Int> __device__ inline Arrivals<Double, Int> arrivals_in(Double s, Int connection, Int source, Int index) {
    return {s, connection, source, index};
}

// `C`, here and in `feed`, is what exact_population.py prints of a connection:
//
//     NUMBER, LATE             its number; whether synapses have delays of their own
//     next, due, limit         spikes [next, due) arrive in the step, of the [next, limit) that have been sent
//     sent(e), index(e), sender(e)
//                              of spike e: when it was sent, its number, its source in the connection, -1 if there is none
//     delay(), route(e)        with one delay: ms, and the source or route of the arrival, -1 if no synapse takes it
//     delay(route), routes(sender), longest()
//                              with delays of their own: ms, where the routes of a source begin, and a bound of delays
//     feed(index, D), learn(route, D)
//                              adds D to dL/dt of the spike, and to the gradient of the delay

// Offset of an arrival in the step that begins at t_k; one that rounding has put before it comes first.
__device__ inline double offset_of(double sent, double delay, double t_k) {
    const double after = sent + delay - t_k;
    return after > 0 ? after : 0.0;
}

// With one delay: looks up the spikes that arrive before t_end, a warp 32 at a time.
template <class C> __device__ inline void find_due(C &c, double t_end) {
    c.due = c.next;
    for (uint32_t due = EVERY; due == EVERY; c.due += __popc(due)) {
        const int64_t e = c.due + threadIdx.x % 32;
        due = __ballot_sync(EVERY, e < c.limit && c.sent(e) + c.delay() < t_end);
    }
}

// Calls put(e, s) for each of these spikes, with its offset, a thread each.
template <class C, class Put> __device__ inline void each_due(const C &c, double t_k, Put put) {
    for (int64_t e = c.next + threadIdx.x; e < c.due; e += THREADS) put(e, offset_of(c.sent(e), c.delay(), t_k));
}

// How many arrivals through `other` come before one through another connection at s: of one instant, those of the connection with the lower number.
template <class C, class D> __device__ inline int64_t earlier(const C &, const D &other, double t_k, double s) {
    if constexpr (C::NUMBER == D::NUMBER) return 0;
    int64_t a = other.next, b = other.due;
    while (a < b) {
        const int64_t middle = a + (b - a) / 2;
        const double at = offset_of(other.sent(middle), other.delay(), t_k);
        if (at < s || (D::NUMBER < C::NUMBER && at == s)) a = middle + 1;
        else b = middle;
    }
    return a - other.next;
}

// Writes the arrivals of a step from `place` on; returns how many there are. Each finds its place by itself.
template <class List, class... C>
__device__ inline int64_t put_in_order(const List &list, int64_t place, double t_k, double t_end, C &...into) {
    (find_due(into, t_end), ...);
    const auto put = [&](const auto &c) {
        each_due(c, t_k, [&](int64_t e, double s) {
            list.put(place + (e - c.next) + (int64_t(0) + ... + earlier(c, into, t_k, s)), c, e, s, c.route(e));
        });
    };
    (put(into), ...);
    const int64_t count = (int64_t(0) + ... + (into.due - into.next));
    ((into.next = into.due), ...);
    return count;
}

// Appends the arrivals of a step through a connection, as they are found. Where synapses have delays of their own, spikes that may be due are
// searched route by route, each thread some of them one after the other. due_of: in shared memory, a number a thread.
template <class List, class Due, class C>
__device__ inline void append_due(const List &list, int64_t place, int64_t &count, const Due &due_of, double t_k, double t_end, C &c) {
    if constexpr (!C::LATE) {
        find_due(c, t_end);
        each_due(c, t_k, [&](int64_t e, double s) { list.put(place + count + (e - c.next), c, e, s, c.route(e)); });
        count += c.due - c.next, c.next = c.due;
    } else {
        while (c.next < c.limit && c.sent(c.next) + c.longest() < t_k) ++c.next;
        const int64_t each = (c.limit - c.next + THREADS - 1) / THREADS, first = c.next + threadIdx.x * each;
        const int64_t last = first + each < c.limit ? first + each : c.limit;
        const auto each_route = [&](auto due) {
            for (int64_t e = first; e < last; ++e) {
                const int32_t sender = c.sender(e);
                if (sender < 0) continue;
                for (int32_t route = c.routes(sender); route < c.routes(sender + 1); ++route) {
                    const double delay = c.delay(route), at = c.sent(e) + delay;
                    if (at < t_k || !(at < t_end)) continue;
                    due(e, delay, route);
                }
            }
        };
        int mine = 0;
        each_route([&](int64_t, double, int32_t) { ++mine; });
        due_of[threadIdx.x] = mine;
        __syncthreads();
        int64_t next = place + count;
        for (int k = 0; k < THREADS; ++k) next += k < (int)threadIdx.x ? (int)due_of[k] : 0, count += due_of[k];
        each_route([&](int64_t e, double delay, int32_t route) { list.put(next++, c, e, offset_of(c.sent(e), delay, t_k), route); });
        __syncthreads();
    }
}

// `put_in_order` where some synapses have delays of their own: by way of another list, which begins at `first`.
template <class List, class Due, class... C>
__device__ inline int64_t put_in_order_late(const List &list, int64_t place, const List &found, int64_t first, const Due &due_of, double t_k, double t_end, C &...into) {
    int64_t count = 0;
    (append_due(found, first, count, due_of, t_k, t_end, into), ...);
    __syncthreads();
    sort_by_time((int)count, [&](int a) { return (double)found.s[first + a]; }, [&](int a, int rank) { list.copy(place + rank, found, first + a); });
    return count;
}

// The synapse of a route at a neuron, whose targets are in order; -1 if there is none.
template <class First, class Target>
__device__ inline int32_t synapse_at(const First &first, const Target &target, int32_t route, int32_t neuron) {
    int32_t from = first[route], to = first[route + 1];
    while (from < to) {
        const int32_t middle = from + (to - from) / 2;
        if (target[middle] < neuron) from = middle + 1;
        else to = middle;
    }
    return from < first[route + 1] && target[from] == neuron ? from : -1;
}
template <class Place, class Weight> __device__ inline real weight_at(int32_t synapse, const Place &place, const Weight &weight) {
    return synapse < 0 ? (real)0 : weight[place[synapse]];
}

// A step of the trial, ms from and to.
struct Step {
    int64_t number;
    double start, end;
};
template <class T> __device__ inline Step step_of(const T *t, int64_t number) {
    const double start = t->duration * (double)number / (double)t->exact_steps;
    return {number, start, number + 1 < t->exact_steps ? t->duration * (double)(number + 1) / (double)t->exact_steps : t->duration};
}

// `P` is what exact_population.py prints of a population, besides what neuron.h asks for:
//
//     NUMBER, POPULATIONS      its number, of how many
//     N, SLOTS, WIDTH          its neurons, those of a thread, and numbers of an arrival that all neurons share
//     spiking, observed, late  whether it spikes, at times that are given, and these come behind what may cause them
//     MORE, SKIPS              whether anything arrives, and whether some of it is for other inputs
//     TRAINABLE, WEIGHTS, FEEDS
//                              learned parameters; whether weights are learned, and whether arrivals give back to what sent them
//     WHOLE_LAYER              whether a regulariser counts the spikes of all neurons
//     t, sample, together      the trial, and the length of an instant: what happens within it counts as simultaneous
//     arrivals(), a_start, most_arrivals
//                              their list, where each step begins in it, and its length in a sample
//     receptor(connection), weight(connection, source, neuron)
//     end(c, neuron), set_end(c, neuron, value)
//                              P and c of every mode at the end of a step, and the row of g
//     begin(neuron, y), finish(neuron, y), spiked(neuron, before, time)
//                              the statements of `program`: the state at 0, readouts of spikes and of the end
//     reset(neuron, before, after), lasts(neuron)
//                              the state behind a spike, and the length of the refractory period, ms
//     begin_back(neuron, mu, all), clear()
//                              dL/dx(T), with the spikes of all neurons; gradients of weights and delays set to 0
//     dl_dt(neuron, event, before), jump(neuron, event, before, dl_dt, lambda, mode, sum)
//                              of a spike: dL/dt of its readouts and of what it has sent; the jump of lambda
//     lasting(D, sum), learned(neuron, mu, sum)
//                              adds D of the end of a refractory period to its length; gradients of learned parameters
//     of_weight(connection, source, neuron, by)
//                              adds to the gradient of a weight
// and arrays by their names; fresh is shared, of_trace(step, k, neuron) the place of state k at the end of a step in `trace`. Number `k` of the events of a neuron is element at(k, neuron) of their lists, with the state before it.

// A neuron on its way through a trial.
template <class P> struct Way {
    double y[P::n], now, g, until;  // now: offset in the step; g: at `now`, if known; until: ms, of the refractory period
    int known, unarmed, count, mode;  // count: of its spikes so far
    __device__ int mode_now() const { return P::modes > 1 ? mode : 0; }
    __device__ void enter(const Neuron<P> &cell) { now = 0, known = !unarmed, g = cell.threshold(y); }
    // To the end of a step.
    __device__ void advance(const Neuron<P> &cell) {
        constexpr int n = P::n;
        const int first = mode_now() * n * (n + 1);
        double from[n];
        for (int k = 0; k < n; ++k) from[k] = y[k];
        for (int k = 0; k < n; ++k) {
            y[k] = cell.p.end(first + k * (n + 1) + n, cell.number);
            for (int j = 0; j < n; ++j) y[k] += cell.p.end(first + k * (n + 1) + j, cell.number) * from[j];
        }
    }
};

// A neuron on its way back. y: if anything needs it; at: offset in the step; left: events not undone yet, the newest one of `step` behind
// `handled` arrivals of it.
template <class P> struct WayBack {
    double mu[P::n], y[P::n], at;
    int mode, left, step, handled;
    __device__ int mode_now() const { return P::modes > 1 ? mode : 0; }
    __device__ void newest(const Neuron<P> &cell) {
        const int64_t event = cell.p.at(left - 1, cell.number);
        step = left > 0 ? (int)cell.p.step[event] : -1, handled = left > 0 ? (int)cell.p.handled[event] : 0;
        if constexpr (P::modes > 1)
            if (left > 0 && !mode) step = cell.p.end_step[event], handled = cell.p.end_handled[event];
    }
    // From lambda at the end of a step to mu.
    template <class Learn> __device__ void retreat(const Neuron<P> &cell, int64_t number, Learn learn) {
        constexpr int n = P::n;
        const int first = mode_now() * n * (n + 1);
        double lambda[n];
        for (int k = 0; k < n; ++k) lambda[k] = mu[k];
        if constexpr (P::dynamic > 0) {
            double x[n];
            for (int k = 0; k < n; ++k) x[k] = cell.p.trace[cell.p.of_trace(number, k, cell.number)];
            for (int r = 0; r < P::dynamic; ++r) {
                const auto d = cell.p.dstep(mode_now(), r);
                double by = 0;
                for (int k = 0; k < n; ++k) {
                    double change = d[(k * (n + 1) + n) * P::S + cell.column()];
                    for (int j = 0; j < n; ++j) change += d[(k * (n + 1) + j) * P::S + cell.column()] * x[j];
                    by += lambda[k] * change;
                }
                learn(r, by);
            }
            cell.at(mode_now(), cell.p.t->delta).from_state(x, y);
        }
        for (int k = 0; k < n; ++k) {
            mu[k] = 0;
            for (int j = 0; j < n; ++j) mu[k] += cell.p.end(first + j * (n + 1) + k, cell.number) * lambda[j];
        }
        at = cell.p.t->delta;
    }
};

// Numbers of the end of a step that depend on parameters alone; those that all neurons share, by one thread.
template <class P> __device__ inline void set_ends(const P &p) {
    constexpr int n = P::n, C = n * (n + 1);
    const auto set = [&](int32_t neuron, int) {
        const Neuron<P> cell{p, neuron};
        for (int mode = 0; mode < P::modes; ++mode) {
            const auto m = cell.at(mode, p.t->delta);
            for (int c = 0; c < C; ++c) p.set_end(mode * C + c, neuron, m.m[c]);
        }
        double row[n + 1];
        horner<n + 1, P::S>(p.rho, cell.column(), p.degree, p.t->delta, row);
        for (int c = 0; c <= n; ++c) p.set_end(P::modes * C + c, neuron, row[c]);
    };
    if constexpr (P::S > 1) each_neuron<P::N>(set);
    else if (threadIdx.x == 0) set(0, 0);
}

// Arrivals in shared memory, with their numbers that all neurons share: see `take`.
struct Chunk {
    SHARED(double) factors;
    SHARED(double) offset;
    SHARED(double) total_of;
    SHARED(int32_t) connection;
    SHARED(int32_t) source;
    SHARED(int32_t) index;
};

// Loads m arrivals into shared memory, a thread each. share(receptor, s, f): their numbers, where neurons do not differ.
template <class P, class Share> __device__ inline void take(const P &p, const Chunk &chunk, int64_t place, int m, Share share) {
    if (const int e = threadIdx.x; e < m) {
        const auto list = p.arrivals();
        const double s = list.s[place + e];
        const int32_t connection = list.connection[place + e];
        if constexpr (P::S == 1) {
            double f[P::WIDTH] = {0};
            share(p.receptor(connection), s, f);
            for (int c = 0; c < P::WIDTH; ++c) chunk.factors[e * P::WIDTH + c] = f[c];
        }
        chunk.offset[e] = s, chunk.connection[e] = connection, chunk.source[e] = list.source[place + e], chunk.index[e] = list.index[place + e];
    }
    __syncthreads();
}

// From how many spikes every neuron has sent to where they begin in the list; the total is behind them.
template <int N, class New> __device__ inline void add_up(const New &sent) {
    const int lane = threadIdx.x % 32;
    int total = 0;
    for (int base = 0; base < N; base += 32) {
        const int mine = base + lane < N ? (int)sent[base + lane] : 0, last = warp_scan(mine);
        if (base + lane < N) sent[base + lane] = total + last - mine;
        total += __shfl_sync(EVERY, last, 31);
    }
    if (lane == 0) sent[N] = total;
}

// Adds the spikes of a step to the list of a population, in order of time, those of one instant by neuron: they are listed by neuron, then each
// counts those before it. before: how many each neuron of the thread had; fresh: N + 1 numbers in shared memory; full: whether the thread gives up.
// Returns how many there are, or -1: the trial ends.
template <int N, class P, class Ways, class Before, class Fresh, class Needed>
__device__ inline int list_spikes(const P &p, const Ways &ways, Before &before, const Fresh &fresh, Needed needed, int full, int64_t total) {
    each_neuron<N>([&](int32_t neuron, int i) {
        if (ways[i].count > p.room) atomicMax(needed, ways[i].count), full = 1;
        fresh[neuron] = ways[i].count - before[i];
    });
    if (__syncthreads_or(full)) return -1;
    if (threadIdx.x < 32) add_up<N>(fresh);
    __syncthreads();
    const int sent = fresh[N];
    const int64_t list = p.events + total;
    each_neuron<N>([&](int32_t neuron, int i) {
        for (int k = before[i], place = fresh[neuron]; k < ways[i].count; ++k, ++place) p.unsorted[list + place] = (int32_t)(k * N + neuron);
        before[i] = ways[i].count;
    });
    __syncthreads();
    const auto event = [&](int a) { return (int32_t)p.unsorted[list + a]; };
    sort_by_time(sent, [&](int a) { return (double)p.s[p.events + event(a)]; }, [&](int a, int rank) {
        p.sent_index[list + rank] = event(a), p.sent_time[list + rank] = p.time[p.events + event(a)];
    });
    __syncthreads();
    return sent;
}

// What the m arrivals of a chunk that come through a connection take from the loss if they come later: D of all neurons, z, is summed by a warp an
// arrival, and goes to the spike that caused it, and to its delay. Where synapses have delays of their own, a spike and a delay may have several
// arrivals in a chunk, which are added one after the other.
template <int N, class C, class Z, class Int, class Total>
__device__ inline void feed(const C &c, const Z &z, int64_t sample, int m, const Int &from_connection, const Int &source_of, const Int &index_of, const Total &total_of) {
    const int lane = threadIdx.x % 32;
    for (int e = threadIdx.x / 32; e < m; e += THREADS / 32) {
        if (from_connection[e] != C::NUMBER) continue;
        real total = 0;
        for (int n = lane; n < N; n += 32) total += z[(sample * CHUNK + e) * N + n];
        total = warp_sum(total);
        if (lane > 0) continue;
        if constexpr (C::LATE) total_of[e] = total;
        else c.feed(index_of[e], total);
    }
    __syncthreads();
    if constexpr (C::LATE) {
        if (threadIdx.x == 0)
            for (int e = 0; e < m; ++e)
                if (from_connection[e] == C::NUMBER) c.feed(index_of[e], (real)total_of[e]), c.learn(source_of[e], (real)total_of[e]);
        __syncthreads();
    }
}
