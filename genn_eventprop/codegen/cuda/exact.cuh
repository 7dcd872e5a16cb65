// Exact spike times: numbers of a step from tables of powers of the offset s inside it, see plan/series.py.

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

// `C`, here and in `feed`, is what exact.py prints of a connection:
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

// Calls f(neuron, number) for the neurons of a thread, of N; unrolled, since arrays of a thread are registers only where every index is
// known to the compiler.
template <int N, class F> __device__ inline void each_neuron(F f) {
#pragma unroll
    for (int i = 0; i < (N + THREADS - 1) / THREADS; ++i)
        if (const int32_t neuron = threadIdx.x + i * THREADS; neuron < N) f(neuron, i);
}

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

// A neuron on its way through a trial. P: its population, see neuron.h; of a spiking one also the lists of events: number `k` of a neuron
// is element P::at(k, neuron), with the state before it.
template <class P> struct Way {
    double y[P::n], now, g, until;  // now: offset in the step; g: at `now`, if known; until: ms, of the refractory period
    int known, unarmed, count, mode;  // count: of its spikes so far
    __device__ inline void enter(const Neuron<P> &cell) { now = 0, known = !unarmed, g = cell.threshold(y); }
    // To the end of a step, whose numbers are P and c of every mode; behind them the row of g.
    template <class End> __device__ inline void advance(End end) {
        constexpr int n = P::n;
        const int first = P::modes > 1 ? mode * n * (n + 1) : 0;
        double from[n];
        for (int k = 0; k < n; ++k) from[k] = y[k];
        for (int k = 0; k < n; ++k) {
            y[k] = end(first + k * (n + 1) + n);
            for (int j = 0; j < n; ++j) y[k] += end(first + k * (n + 1) + j) * from[j];
        }
    }
};

// Takes a neuron from `now` to `next`, and through all that happens to it before. row(c): g at `next`; handled: arrivals of the step
// that have come; last: nothing comes at `next`. read(until): y is constant up to there; reset(before, after); lasts(): ms of a
// refractory period; spiked(s, time, before, after). Returns whether the neuron ran away.
template <class P, class Row, class Read, class Reset, class Lasts, class Spiked>
__device__ inline bool follow(const Neuron<P> &cell, Way<P> &way, double t_k, int step, double next, Row row, int handled, bool last, Read read, Reset reset, Lasts lasts, Spiked spiked) {
    constexpr int n = P::n;
    const P &p = cell.p;
    const double slack = 20 * p.t->delta * p.together;
    for (int spikes = 0;; ++spikes) {
        // what ends the stretch in which y is constant; the text that reads it stands here once, which keeps it in registers
        enum { NEXT, SPIKE, END_OF_PERIOD } ends = NEXT;
        double s = next;
        [[maybe_unused]] double observed_at;
        const bool held = P::modes > 1 && way.mode;
        if (held) {
            const double due = fmax(way.until - t_k, way.now);
            if (due < p.t->delta && !(next < due - p.together)) s = due, ends = END_OF_PERIOD;
        }
        if constexpr (P::observed) {  // the next spike that is given comes as a crossing, or behind what may cause it
            observed_at = way.count < p.most ? (double)p.observed_times[p.neuron(cell.number) * p.most + way.count] : INFINITE;
            const double at = fmax(observed_at - t_k, way.now), end = step + 1 < p.t->exact_steps ? p.t->duration * (step + 1.0) / (double)p.t->exact_steps : INFINITE;
            const bool over = last && ends == NEXT;
            if (over ? observed_at < end : at <= s + (P::late ? -p.together : p.together)) s = over ? at : fmin(s, at), ends = SPIKE;
        } else if (!held) {
            // with |g''| <= bend, g between two times is at most `one`, and at most `both`
            double g = row(n), crossed = -1;
            for (int j = 0; j < n; ++j) g += row(j) * way.y[j];
            const double bend = cell.bend(way.y), h = fmax(next - way.now, 0.0), half = 0.5 * h * h + slack;
            const double one = g + bend * half, both = fmax(g, way.g) + 0.25 * half * bend;
            const bool below = fmax(way.known && both < one ? both : one, way.known ? way.g : one) < 0;
            if (!below || way.unarmed) {
                double c[DEGREE + 1], from = way.now;
                cell.powers(way.y, c);
                if (way.unarmed) {
                    from = armed_from(c, p.degree, from, next + p.together, bend, 1e-15 * p.t->delta);
                    way.unarmed = from < 0;
                }
                if (from >= 0) crossed = first_crossing(c, p.degree, from, next + p.together, bend);
            }
            if (crossed < 0) way.g = g, way.known = !way.unarmed;
            else s = !last && crossed > next ? fmax(next, way.now) : crossed, ends = SPIKE;
        }
        const bool ran_away = ends == SPIKE && spikes > RUNAWAY;
        read(s);
        if (ends == NEXT || ran_away) {
            way.now = fmax(next, way.now);
            return ran_away;
        }
        way.now = s, way.known = 0;
        if constexpr (P::modes > 1)
            if (ends == END_OF_PERIOD) {
                double x[n];
                cell.at(1, s).to_state(way.y, x);
                cell.at(0, s).from_state(x, way.y);
                if (way.count <= p.room) {
                    const int64_t event = p.at(way.count - 1, cell.number);
                    p.end_s[event] = s, p.end_step[event] = step, p.end_handled[event] = handled;
                    for (int k = 0; k < n; ++k) p.end_x[event * n + k] = x[k];
                }
                way.mode = 0;
                continue;
            }
        const int mode = P::observed && held;
        const auto m = cell.at(mode, s);
        double before[n], after[n];
        m.to_state(way.y, before);
        reset(before, after);
        double gdot = mode ? 0.0 : cell.slope(before);  // g rests in a refractory period
        const double least = P::observed ? p.t->slope_floor : 0.0;  // the slope at a crossing is known
        if (!(gdot > 0) || gdot < least) {
            gdot = least;
            p.guarded[p.neuron(cell.number)] += 1;
        }
        const double at_ms = P::observed ? observed_at : t_k + s, time = at_ms < p.t->duration ? at_ms : p.t->duration;
        if (way.count < p.room) {
            const int64_t event = p.at(way.count, cell.number);
            p.s[event] = s, p.time[event] = time, p.rate[event] = gdot > 0 ? 1 / gdot : 0.0, p.step[event] = step, p.handled[event] = handled;
            for (int k = 0; k < n; ++k) p.x[event * n + k] = before[k];
            if constexpr (P::modes > 1) p.end_step[event] = -1;
        }
        spiked(s, time, before, after);
        if constexpr (P::modes > 1) {
            way.until = t_k + s + lasts(), way.mode = 1;
            cell.at(1, s).from_state(after, way.y);
        } else {
            for (int k = 0; k < n; ++k) way.y[k] += m.jump(k, before, after);
        }
        way.unarmed = cell.threshold(after) >= 0;
        ++way.count;
    }
}

// A neuron once more through a step that is over. pull, learned: what nodes since its last event add to mu, and all to learned parameters.
template <class P> struct Replay {
    static constexpr int n = P::n;
    double y[n], pull[n], learned[P::dynamic + 1];
    int mode, spikes;
    __device__ inline void begin() {
        for (int k = 0; k < n; ++k) pull[k] = 0;
        for (int r = 0; r < P::dynamic; ++r) learned[r] = 0;
        mode = spikes = 0;
    }
    template <class Pulls> __device__ inline void flush(const Pulls &pulls, int64_t place) {
        for (int k = 0; k < n; ++k) pulls[place * n + k] = pull[k], pull[k] = 0;
    }
    // Whether its next own event is the end of its refractory period: a spike that is given may come before.
    __device__ inline bool ends(const Neuron<P> &cell) const {
        if constexpr (P::observed && P::modes > 1)
            if (mode) return cell.p.end_step[cell.p.at(spikes - 1, cell.number)] >= 0;
        return P::modes > 1 && mode;
    }
    // When its next own event comes, of `count` spikes, ahead of an arrival.
    __device__ inline double next(const Neuron<P> &cell, int count, int step, int arrival) const {
        const P &p = cell.p;
        const int64_t event = p.at(spikes - ends(cell), cell.number);
        if constexpr (P::modes > 1)
            if (ends(cell)) return p.end_step[event] == step && p.end_handled[event] <= arrival ? (double)p.end_s[event] : INFINITE;
        return spikes < count && p.handled[event] <= arrival ? (double)p.s[event] : INFINITE;
    }
    // The states before and behind it, which are the same at the end of a refractory period.
    template <class Reset> __device__ inline void around(const Neuron<P> &cell, Reset reset, double *before, double *after) const {
        const int64_t event = cell.p.at(spikes - ends(cell), cell.number);
        if constexpr (P::modes > 1)
            if (ends(cell)) {
                for (int k = 0; k < n; ++k) before[k] = after[k] = cell.p.end_x[event * n + k];
                return;
            }
        for (int k = 0; k < n; ++k) before[k] = cell.p.x[event * n + k];
        reset(before, after);
    }
    // What it takes from the loss, and what came before it to mu.
    __device__ inline void store(const Neuron<P> &cell, double change) {
        const P &p = cell.p;
        const int64_t event = p.at(spikes - ends(cell), cell.number);
        if constexpr (P::modes > 1)
            if (ends(cell)) return flush(p.e_end_pull, event);
        p.e_loss[event] = change;
        flush(p.e_pull, event);
    }
    __device__ inline void pass(const Neuron<P> &cell, double s, const double *after) {
        const bool spike = !ends(cell);
        spikes += spike, mode = P::modes > 1 && spike;
        cell.at(mode, s).from_state(after, y);
    }
};

// A step that is over once more, for a loss l of V of all N outputs at one time: the block goes through its events in step, thread 0 makes l
// and dl/dV, and adds to `running`. read: of every neuron the integral of w V. What the nodes between two events of a neuron add to mu does not
// depend on mu: it is made at once, and stored with the event behind them. v: state that is read; MOVES: whether arrivals move it.
//
// time, V, change: in shared memory. slopes(s): l, and dl/dV / B in the place of V; loss(s): l. steep(V): a bound on the slope of a score.
// weigh(connection, source, neuron) and receptor(connection): of arrival `place` + k, of `count`. scored: whether the sample has a target.
template <int N, int v, bool MOVES, class P, class Ways, class Thens, class W, class Shared, class Slopes, class Loss, class Reset, class Steep, class Weigh, class Receptor>
__device__ inline void replay(const P &p, const Ways &ways, Thens &thens, double *read, double &running, const W &weight, const Shared &time, const Shared &V, const Shared &change, Slopes slopes, Loss loss, Reset reset, Steep steep, Weigh weigh, Receptor receptor, double t_k, int step, int count, int64_t place, bool scored, bool training) {
    constexpr int n = P::n;
    const auto mode = [](const Replay<P> &then) { return P::modes > 1 ? then.mode : 0; };
    const auto each = [&](auto f) { each_neuron<N>([&](int32_t k, int i) { f(Neuron<P>{p, k}, thens[i], i); }); };
    const auto take_V = [&](const auto &cell, const auto &then, double s) {
        double row[n + 1];
        cell.row(v, mode(then), s, row);
        V[cell.number] = linear<n>(row, then.y);
    };
    // w (l(V) - l(V behind an event)) / B; behind() sets V to that.
    const auto set_change = [&](double s, auto behind) {
        __syncthreads();
        if (threadIdx.x == 0) {
            double by = 0;
            if (scored) by = loss(s), behind(), by = (by - loss(s)) * weight.at(t_k + s, t_k + s) * p.t->sample_weight[p.sample];
            change[0] = by;
        }
        __syncthreads();
    };
    double reached = 0;
    for (int arrival = 0;;) {
        int first = -1;  // whose own event is the next one, ahead of the next arrival
        double when = arrival < count ? (double)p.a_s[place + arrival] : (double)p.t->delta;
        if constexpr (P::spiking) {
            each([&](const auto &cell, auto &then, int i) { time[cell.number] = then.next(cell, ways[i].count, step, arrival); });
            __syncthreads();
            for (int k = 0; k < N; ++k)
                if (time[k] < (first < 0 ? INFINITE : (double)time[first])) first = k;
            if (first >= 0) when = time[first];
            __syncthreads();
        }
        if (when > reached) {
            each([&](const auto &cell, auto &then, int) { time[cell.number] = cell.speed(mode(then), v, then.y) * steep(then.y[v]); });
            __syncthreads();
            double rate = 1 / p.t->delta, most = 0;
            for (int k = 0; k < N; ++k) most = fmax(most, time[k]);
            __syncthreads();
            each_node(p.t, weight, t_k, reached, when, most + rate, [&](double s, double part) {
                each([&](const auto &cell, auto &then, int i) { take_V(cell, then, s), read[i] += part * V[cell.number]; });
                __syncthreads();
                if (threadIdx.x == 0 && scored) running += part * slopes(s);
                __syncthreads();
                if (scored && training)
                    each([&](const auto &cell, auto &then, int) {
                        cell.pull(v, mode(then), s, part * V[cell.number], then.y, then.pull, [&](int r, double by) { then.learned[r] += by; });
                    });
            });
        }
        reached = fmax(reached, when);
        if constexpr (P::spiking)
            if (first >= 0) {
                double before[n], after[n];
                const auto around = [&](const auto &cell, const auto &then) {
                    then.around(cell, [&](const double *x, double *to) { reset(cell.number, x, to); }, before, after);
                };
                each([&](const auto &cell, auto &then, int) {
                    take_V(cell, then, when);
                    if (cell.number == first) around(cell, then), V[first] = before[v], time[first] = after[v];
                });
                set_change(when, [&] { V[first] = time[first]; });
                each([&](const auto &cell, auto &then, int) {
                    if (cell.number != first) return;
                    around(cell, then), then.store(cell, change[0]), then.pass(cell, when, after);
                });
                __syncthreads();
                continue;
            }
        if (arrival == count) break;
        const int64_t now = place + arrival++;
        const int32_t by = p.a_connection[now], source = p.a_source[now];
        if (by < 0) continue;  // that of another input
        if constexpr (MOVES) {
            each([&](const auto &cell, auto &then, int) {
                take_V(cell, then, when);
                time[cell.number] = V[cell.number] + p.arrive(0, receptor(by))[v * P::S + cell.column()] * weigh(by, source, cell.number);
            });
            set_change(when, [&] {
                for (int k = 0; k < N; ++k) V[k] = time[k];
            });
            if (threadIdx.x == 0) p.a_loss[now] = change[0];
            __syncthreads();
        }
        each([&](const auto &cell, auto &then, int) {
            double f[n];
            const double w = weigh(by, source, cell.number);
            then.flush(p.a_pull, now * N + cell.number);
            cell.arrive(mode(then), receptor(by), when, f);
            for (int k = 0; k < n; ++k) then.y[k] += f[k] * w;
        });
    }
    each([&](const auto &cell, auto &then, int) { then.flush(p.pull, (p.sample * p.t->exact_points + step) * N + cell.number); });
}

// A neuron on its way back. y: if anything needs it; at: offset in the step; left: events not undone yet, the newest one of `step` behind
// `handled` arrivals of it.
template <class P> struct WayBack {
    double mu[P::n], y[P::n], at;
    int mode, left, step, handled;
    __device__ inline void newest(const Neuron<P> &cell) {
        const int64_t event = cell.p.at(left - 1, cell.number);
        step = left > 0 ? (int)cell.p.step[event] : -1, handled = left > 0 ? (int)cell.p.handled[event] : 0;
        if constexpr (P::modes > 1)
            if (left > 0 && !mode) step = cell.p.end_step[event], handled = cell.p.end_handled[event];
    }
};

template <class P, class Set> __device__ inline void set_ends(const Neuron<P> &cell, Set set) {
    constexpr int n = P::n, C = n * (n + 1);
    for (int mode = 0; mode < P::modes; ++mode) {
        const auto m = cell.at(mode, cell.p.t->delta);
        for (int c = 0; c < C; ++c) set(mode * C + c, m.m[c]);
    }
    double row[n + 1];
    horner<n + 1, P::S>(cell.p.rho, cell.column(), cell.p.degree, cell.p.t->delta, row);
    for (int c = 0; c <= n; ++c) set(P::modes * C + c, row[c]);
}

// From lambda at the end of a step to mu. last(k): state k there.
template <class P, class End, class Learn, class Last>
__device__ inline void retreat(const Neuron<P> &cell, WayBack<P> &way, End end, Learn learn, Last last) {
    constexpr int n = P::n;
    const int mode = P::modes > 1 ? way.mode : 0, first = mode * n * (n + 1);
    double lambda[n];
    for (int k = 0; k < n; ++k) lambda[k] = way.mu[k];
    if constexpr (P::dynamic > 0) {
        double x[n];
        for (int k = 0; k < n; ++k) x[k] = last(k);
        for (int r = 0; r < P::dynamic; ++r) {
            const auto d = cell.p.dstep(mode, r);
            double by = 0;
            for (int k = 0; k < n; ++k) {
                double change = d[(k * (n + 1) + n) * P::S + cell.column()];
                for (int j = 0; j < n; ++j) change += d[(k * (n + 1) + j) * P::S + cell.column()] * x[j];
                by += lambda[k] * change;
            }
            learn(r, by);
        }
        cell.at(mode, cell.p.t->delta).from_state(x, way.y);
    }
    for (int k = 0; k < n; ++k) {
        way.mu[k] = 0;
        for (int j = 0; j < n; ++j) way.mu[k] += end(first + j * (n + 1) + k) * lambda[j];
    }
    way.at = cell.p.t->delta;
}

// Undoes the newest event. read(since, entry): y was constant from there; spiked(event, s, before, extra) returns dL/dt and sets what lambda
// has beside P^T mu; jump(event, before, dl_dt, lambda, mode); lasting(D): of the length of the refractory period; undone(event, spike).
template <class P, class Read, class Reset, class Spiked, class Jump, class Learn, class Lasting, class Undone>
__device__ inline void undo(const Neuron<P> &cell, WayBack<P> &way, Read read, Reset reset, Spiked spiked, Jump jump, Learn learn, Lasting lasting, Undone undone) {
    constexpr int n = P::n;
    const P &p = cell.p;
    const int64_t event = p.at(way.left - 1, cell.number), of_sample = event - p.events;
    const bool ended = P::modes > 1 && !way.mode;
    double s = p.s[event];
    int entry = p.handled[event];
    if constexpr (P::modes > 1)
        if (ended) s = p.end_s[event], entry = p.end_handled[event];
    read(s, entry);
    if constexpr (P::modes > 1)
        if (ended) {
            double x[n];
            for (int k = 0; k < n; ++k) x[k] = p.end_x[event * n + k];
            const double D = cell.undo_end(s, x, way.mu, learn);
            p.by[event] += (real)D;
            lasting(D);
            cell.at(1, s).from_state(x, way.y);
            undone(of_sample, false);
            way.mode = 1, way.newest(cell);
            return;
        }
    int mode = 0;  // a period that did not end by itself lasted until this spike
    if constexpr (P::observed && P::modes > 1) mode = way.left > 1 && p.end_step[p.at(way.left - 2, cell.number)] < 0;
    const auto m = cell.at(mode, s);
    double before[n], after[n], extra[n + 2] = {0};
    for (int k = 0; k < n; ++k) before[k] = p.x[event * n + k];
    reset(before, after);
    const double dl_dt = spiked(of_sample, s, before, after, extra);
    cell.undo_spike(mode, s, m, before, after, extra, way.mu, [&](double *lambda) { jump(of_sample, before, dl_dt, lambda, mode); }, learn);
    m.from_state(before, way.y);
    undone(of_sample, true);
    way.mode = mode, --way.left, way.newest(cell);
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
