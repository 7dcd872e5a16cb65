// A population through the trial; `readings` look at it on its way, see readings.cuh.
template <class P, class Readings> struct Forwards {
    static constexpr int n = P::n, N = P::N, W = P::WIDTH, HELD = 2 * n + 2;  // HELD: where numbers for neurons in a refractory period begin
    const P &p;
    Readings readings;
    int64_t arrived = p.sample * p.most_arrivals, last = 0, total = 0;  // last: arrivals, total: spikes so far
    Way<P> way[P::SLOTS];
    int before[P::SLOTS] = {0}, ran_away = 0;

    template <class F> __device__ void each(F f) {
        each_neuron<N>([&](int32_t neuron, int i) { f(Neuron<P>{p, neuron}, way[i], i); });
    }
    __device__ void begin() {
        each([&](const auto &cell, auto &w, int i) {
            p.begin(cell.number, w.y);
            w.now = 0, w.mode = 0, w.count = 0;
            if constexpr (P::spiking) {
                w.unarmed = cell.threshold(w.y) >= 0, w.enter(cell);
                p.guarded[p.neuron(cell.number)] = 0, p.counts[p.neuron(cell.number)] = 0;
            }
            readings.each([&](auto &r) { r.begin(w, i); });
        });
        set_ends(p);
    }
    // A step: its arrivals in order, the neurons through them, and their spikes in order. order(list, place): writes the arrivals, and returns their
    // number. Returns whether the trial goes on.
    template <class Order> __device__ bool go(const Step &step, const Chunk &chunk, Order order) {
        const int64_t begin = last, count = order(p.arrivals(), arrived + begin);
        last = begin + count;
        if constexpr (Readings::SOME) __syncthreads();  // else a step without arrivals has no barrier before the next one
        if (threadIdx.x == 0) {
            const int64_t at = p.sample * p.t->exact_points + step.number;
            p.a_start[at] = (int32_t)begin;
            if (step.number + 1 == p.t->exact_steps) p.a_start[at + 1] = (int32_t)last;
            readings.each([&](auto &r) { r.enter(step); });
        }
        __syncthreads();
        if constexpr (Readings::SOME)
            each([&](const auto &, auto &w, int i) { readings.each([&](auto &r) { r.start(w, i); }); });
        if constexpr (P::MORE)
            for (int64_t first = 0; first < count; first += CHUNK) {
                const int m = count - first < CHUNK ? (int)(count - first) : CHUNK;
                take(p, chunk, arrived + begin + first, m, [&](int receptor, double s, double *f) {
                    const Neuron<P> cell{p, 0};
                    cell.front(receptor, s, f);
                    readings.each([&](auto &r) { r.share(step, receptor, s, f); });
                    if constexpr (P::modes > 1) cell.arrive(1, receptor, s, f + HELD);
                });
                each([&](const auto &cell, auto &w, int i) {
                    for (int e = 0; e < m; ++e) arrive(cell, w, i, step, chunk, e, (int)first + e);
                });
                __syncthreads();
            }
        each([&](const auto &cell, auto &w, int i) {
            double row[n + 1];
            if constexpr (P::spiking)
                for (int c = 0; c <= n; ++c) row[c] = p.end(P::modes * n * (n + 1) + c, cell.number);
            reach(cell, w, i, step, p.t->delta, [&](int c) { return row[c]; }, (int)count, true);
            w.advance(cell);
            if constexpr (P::dynamic > 0)
                for (int k = 0; k < n; ++k) p.trace[p.of_trace(step.number, k, cell.number)] = w.y[k];
            if constexpr (P::spiking) w.enter(cell);
            else w.now = 0;
        });
        if constexpr (P::spiking) {
            const int sent = list_spikes<N>(p, way, before, p.fresh, p.t->needed + P::NUMBER, ran_away, total);
            if (sent < 0) return false;
            total += sent;
        }
        readings.each([&](auto &r) { r.over(way, step, (int)count, arrived + begin); });
        return true;
    }
    // A neuron through arrival `e` of a chunk, `number` of the step.
    __device__ void arrive(const Neuron<P> &cell, Way<P> &w, int i, const Step &step, const Chunk &chunk, int e, int number) {
        const int connection = chunk.connection[e];
        if (P::SKIPS && connection < 0) return;
        const double s = chunk.offset[e];
        double f[P::S > 1 ? 2 * n + 1 : 1];
        if constexpr (P::S > 1) cell.front(p.receptor(connection), s, f);
        const auto at = [&](int c) -> double {
            if constexpr (P::S > 1) return f[c];
            else return chunk.factors[e * W + c];
        };
        // asked for before the neuron's way to the arrival, which takes a part of the time of the load
        const double weight = p.weight(connection, chunk.source[e], cell.number);
        reach(cell, w, i, step, s, [&](int c) { return at(n + c); }, number, false);
        if constexpr (P::S > 1 && P::modes > 1)
            if (w.mode) cell.arrive(1, p.receptor(connection), s, f);
        readings.each([&](auto &r) { r.arriving(cell, w, i, s); });
        const int first = P::S > 1 ? 0 : w.mode_now() * HELD;
        for (int k = 0; k < n; ++k) w.y[k] += at(first + k) * weight;
        readings.each([&](auto &r) { r.arrived(cell, w, i, step, s, number, weight, at); });
    }
    // A neuron to `next`, and through all that happens to it before. row(c): g at `next`; handled: arrivals of the step that have come; last:
    // nothing comes at `next`.
    template <class Row> __device__ void reach(const Neuron<P> &cell, Way<P> &way, int i, const Step &step, double next, Row row, int handled, bool last) {
        const auto read = [&](double until) { readings.each([&](auto &r) { r.read(cell, way, i, step, until, handled); }); };
        if constexpr (!P::spiking) {
            read(next);
            way.now = next;
        } else if (follow(cell, way, i, step, next, row, handled, last, read)) {
            atomicMin(p.t->trouble, (uint64_t)(p.sample * P::POPULATIONS + P::NUMBER));
            ran_away = 1;
        }
    }
    // The same of one that spikes. Returns whether it ran away.
    template <class Row, class Read> __device__ bool follow(const Neuron<P> &cell, Way<P> &way, int i, const Step &at, double next, Row row, int handled, bool last, Read read) {
        const double slack = 20 * p.t->delta * p.together;
        for (int spikes = 0;; ++spikes) {
            // what ends the stretch in which y is constant; the text that reads it stands here once, which keeps it in registers
            enum { NEXT, SPIKE, END_OF_PERIOD } ends = NEXT;
            double s = next;
            [[maybe_unused]] double observed_at;
            const bool held = P::modes > 1 && way.mode;
            if (held) {
                const double due = fmax(way.until - at.start, way.now);
                if (due < p.t->delta && !(next < due - p.together)) s = due, ends = END_OF_PERIOD;
            }
            if constexpr (P::observed) {  // the next spike that is given comes as a crossing, or behind what may cause it
                observed_at = way.count < p.most ? (double)p.observed_times[p.neuron(cell.number) * p.most + way.count] : INFINITE;
                const double due = fmax(observed_at - at.start, way.now), end = at.number + 1 < p.t->exact_steps ? p.t->duration * (at.number + 1.0) / (double)p.t->exact_steps : INFINITE;
                const bool over = last && ends == NEXT;
                if (over ? observed_at < end : due <= s + (P::late ? -p.together : p.together)) s = over ? due : fmin(s, due), ends = SPIKE;
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
                        p.end_s[event] = s, p.end_step[event] = (int)at.number, p.end_handled[event] = handled;
                        for (int k = 0; k < n; ++k) p.end_x[event * n + k] = x[k];
                    }
                    way.mode = 0;
                    continue;
                }
            const int mode = P::observed && held;
            const auto m = cell.at(mode, s);
            double before[n], after[n];
            m.to_state(way.y, before);
            p.reset(cell.number, before, after);
            double gdot = mode ? 0.0 : cell.slope(before);  // g rests in a refractory period
            const double least = P::observed ? p.t->slope_floor : 0.0;  // the slope at a crossing is known
            if (!(gdot > 0) || gdot < least) {
                gdot = least;
                p.guarded[p.neuron(cell.number)] += 1;
            }
            const double at_ms = P::observed ? observed_at : at.start + s, time = at_ms < p.t->duration ? at_ms : p.t->duration;
            if (way.count < p.room) {
                const int64_t event = p.at(way.count, cell.number);
                p.s[event] = s, p.time[event] = time, p.rate[event] = gdot > 0 ? 1 / gdot : 0.0, p.step[event] = (int)at.number, p.handled[event] = handled;
                for (int k = 0; k < n; ++k) p.x[event * n + k] = before[k];
                if constexpr (P::modes > 1) p.end_step[event] = -1;
            }
            p.counts[p.neuron(cell.number)] = way.count + 1;
            p.spiked(cell.number, before, time);
            readings.each([&](auto &r) { r.jumped(i, at, s, before, after); });
            if constexpr (P::modes > 1) {
                way.until = at.start + s + p.lasts(cell.number), way.mode = 1;
                cell.at(1, s).from_state(after, way.y);
            } else {
                for (int k = 0; k < n; ++k) way.y[k] += m.jump(k, before, after);
            }
            way.unarmed = cell.threshold(after) >= 0;
            ++way.count;
        }
    }
    __device__ void end() {
        each([&](const auto &cell, auto &w, int i) {
            p.finish(cell.number, w.y);
            readings.each([&](auto &r) { r.end(cell, i); });
        });
        if constexpr (P::spiking)
            if (threadIdx.x == 0) p.sent[p.sample] = (int32_t)total;
    }
};

// The same backwards: mu = P(s)^T lambda is constant between events.
template <class P, class Readings> struct Backwards {
    static constexpr int n = P::n, N = P::N, W = P::WIDTH, BACK = (2 + P::dynamic) * n + 2;  // BACK: numbers of an arrival in one mode
    const P &p;
    Readings readings;
    WayBack<P> way[P::SLOTS];
    double sum[P::SLOTS][P::TRAINABLE + 1];  // gradients of learned parameters

    template <class F> __device__ void each(F f) {
        each_neuron<N>([&](int32_t neuron, int i) {
            f(Neuron<P>{p, neuron}, way[i], i, [&](int r, double by) {
                if constexpr (P::dynamic > 0) sum[i][P::place(r)] += by;
            });
        });
    }
    // lambda at T, and jumps at own spikes by the counts of the trial.
    __device__ void begin() {
        int32_t all = 0;
        if constexpr (P::WHOLE_LAYER)
            for (int k = 0; k < N; ++k) all += p.counts[p.neuron(k)];
        p.clear();
        each([&](const auto &cell, auto &w, int i, auto) {
            for (int k = 0; k < n; ++k) w.mu[k] = 0;
            p.begin_back(cell.number, w.mu, all);
            for (int q = 0; q < P::TRAINABLE; ++q) sum[i][q] = 0;
            readings.each([&](auto &r) { r.begin_back(cell, i, sum[i]); });
            w.mode = 0, w.at = 0;
            if constexpr (P::spiking) {
                w.left = p.counts[p.neuron(cell.number)];
                if constexpr (P::modes > 1) w.mode = w.left > 0 && p.end_step[p.at(w.left - 1, cell.number)] < 0;
                w.newest(cell);
                for (int k = 0; k < w.left; ++k) p.by[p.at(k, cell.number)] = 0;
            }
        });
    }
    template <class... C> __device__ void go(const Step &step, const Chunk &chunk, const C &...feeds) {
        each([&](const auto &cell, auto &w, int, auto learn) {
            w.retreat(cell, step.number, learn);
            readings.each([&](auto &r) { r.retreat(cell, w, step); });
        });
        if constexpr (P::MORE) {
            const int64_t at = p.sample * p.t->exact_points + step.number, begin = p.a_start[at];
            for (int64_t high = p.a_start[at + 1]; high > begin;) {
                const int m = high - begin < CHUNK ? (int)(high - begin) : CHUNK;
                high -= m;
                const int64_t place = p.sample * p.most_arrivals + high;
                take(p, chunk, place, m, [&](int receptor, double s, double *f) {
                    for (int mode = 0; mode < P::modes; ++mode) Neuron<P>{p, 0}.back(mode, receptor, s, f + mode * BACK);
                    readings.each([&](auto &r) { r.share_back(step, receptor, s, f); });
                });
                each([&](const auto &cell, auto &w, int i, auto learn) {
                    for (int e = m - 1; e >= 0; --e) undo_arrival(cell, w, i, step, chunk, e, (int)(high - begin) + e, place + e, learn);
                });
                __syncthreads();
                // a connection after the other: a spike may have arrivals through several
                if constexpr (P::FEEDS) (feed<N>(feeds, p.z, p.sample, m, chunk.connection, chunk.source, chunk.index, chunk.total_of), ...);
            }
        }
        each([&](const auto &cell, auto &w, int i, auto learn) {
            undo_events(cell, w, i, step, -1, learn);
            back_to(cell, w, i, step, 0.0, -1, learn);
            readings.each([&](auto &r) { r.leave(cell, w, step); });
        });
    }
    // Events of the step behind more than `number` arrivals.
    template <class Learn> __device__ void undo_events(const Neuron<P> &cell, WayBack<P> &w, int i, const Step &step, int number, Learn learn) {
        if constexpr (P::spiking)
            while (w.step == step.number && w.handled > number) undo(cell, w, i, step, learn);
    }
    template <class Learn> __device__ void back_to(const Neuron<P> &cell, WayBack<P> &w, int i, const Step &step, double since, int handled, Learn learn) {
        readings.each([&](auto &r) { r.read_back(cell, w, i, step, since, handled, learn); });
        w.at = fmin(since, w.at);
    }
    // Arrival `e` of a chunk, `number` of the step and `place` of all.
    template <class Learn> __device__ void undo_arrival(const Neuron<P> &cell, WayBack<P> &w, int i, const Step &step, const Chunk &chunk, int e, int number, int64_t place, Learn learn) {
        const int32_t connection = chunk.connection[e], source = chunk.source[e];
        if (P::SKIPS && connection < 0) return;
        const int receptor = p.receptor(connection);
        const double s = chunk.offset[e];
        undo_events(cell, w, i, step, number, learn), back_to(cell, w, i, step, s, number, learn);
        double f[P::S > 1 ? (2 + P::dynamic) * n : 1];
        if constexpr (P::S > 1) cell.back(w.mode_now(), receptor, s, f);
        const auto at = [&](int c) -> double {
            if constexpr (P::S > 1) return f[c];
            else return chunk.factors[e * W + w.mode_now() * BACK + c];
        };
        const auto part = [&](int first) {
            double v = at(first) * w.mu[0];
            for (int k = 1; k < n; ++k) v += at(first + k) * w.mu[k];
            return v;
        };
        double weight = 0;
        if constexpr (P::FEEDS || P::dynamic > 0) weight = p.weight(connection, source, cell.number);
        if constexpr (P::WEIGHTS) {
            double q = part(0);
            readings.each([&](auto &r) { r.of_weight(cell, at, q); });
            p.of_weight(connection, source, cell.number, (real)q);
        }
        for (int r = 0; r < P::dynamic; ++r) learn(r, weight * part((2 + r) * n));
        if constexpr (P::FEEDS) {
            double D = part(n);
            readings.each([&](auto &r) { r.of_time(cell, step, s, receptor, at, D); });
            D *= weight;
            readings.each([&](auto &r) { r.kink(cell, step, number, place, D); });
            p.z[(p.sample * CHUNK + e) * N + cell.number] = (real)D;
        }
        if constexpr (P::dynamic > 0 && Readings::BY_NODES)
            for (int k = 0; k < n; ++k) w.y[k] -= at(k) * weight;
        readings.each([&](auto &r) { r.undone(cell, w, place); });
    }
    // Undoes the newest event of a neuron.
    template <class Learn> __device__ void undo(const Neuron<P> &cell, WayBack<P> &w, int i, const Step &step, Learn learn) {
        const int64_t event = p.at(w.left - 1, cell.number);
        const bool ended = P::modes > 1 && !w.mode;
        double s = p.s[event];
        int handled = p.handled[event];
        if constexpr (P::modes > 1)
            if (ended) s = p.end_s[event], handled = p.end_handled[event];
        back_to(cell, w, i, step, s, handled, learn);
        if constexpr (P::modes > 1)
            if (ended) {
                double x[n];
                for (int k = 0; k < n; ++k) x[k] = p.end_x[event * n + k];
                const double D = cell.undo_end(s, x, w.mu, learn);
                p.by[event] += (real)D;
                p.lasting(D, sum[i]);
                cell.at(1, s).from_state(x, w.y);
                readings.each([&](auto &r) { r.undone(cell, w, event, false); });
                w.mode = 1, w.newest(cell);
                return;
            }
        int mode = 0;  // a period that did not end by itself lasted until this spike
        if constexpr (P::observed && P::modes > 1) mode = w.left > 1 && p.end_step[p.at(w.left - 2, cell.number)] < 0;
        const auto m = cell.at(mode, s);
        double before[n], after[n], extra[n + 2] = {0};
        for (int k = 0; k < n; ++k) before[k] = p.x[event * n + k];
        p.reset(cell.number, before, after);
        double dl_dt = p.dl_dt(cell.number, event, before);
        readings.each([&](auto &r) { r.time_gradient(cell, step, s, event, before, after, dl_dt, extra); });
        cell.undo_spike(mode, s, m, before, after, extra, w.mu, [&](double *lambda) { p.jump(cell.number, event, before, dl_dt, lambda, mode, sum[i]); }, learn);
        m.from_state(before, w.y);
        readings.each([&](auto &r) { r.undone(cell, w, event, true); });
        w.mode = mode, --w.left, w.newest(cell);
    }
    __device__ void end() {
        each([&](const auto &cell, auto &w, int i, auto) { p.learned(cell.number, w.mu, sum[i]); });
    }
};
