// Readouts in exact time. O: the output's Neurons, V: index of the state that is read, N: classes.
//
// Forwards a reader sees the start of every step, its arrivals and own spikes; backwards `enter` opens a step, `at` sets
// what the reader adds to lambda at an arrival (as factors of dr), `leave` closes the step.

namespace {

template <class O>
struct NoSource {
    static constexpr bool adds = false;
    static scalar direction(int) { return 0; }
    static scalar feedback(int) { return 0; }
    static scalar change(int, int) { return 0; }
};

// All that a reader may do, and does not.
template <class O>
struct NoReader : NoSource<O> {
    void begin(O&, const Args&, int64_t) {}
    void enter(O&, const Args&, int64_t, bool) {}
    void start(O&) {}
    void absorb(O&, const typename O::Incoming*, int64_t, int64_t) {}
    void jump(O&, int, double, const double*, const double*) {}
    void begin_back(O&, const scalar*) {}
    void before(O&, const scalar*, int64_t, int64_t) {}
    void open_step(O&, const LogEntry*, int64_t) {}
    void at(O&, const Args&, int, double, int64_t) {}
    scalar kink(const scalar*, int64_t) { return 0; }
    scalar own_spike(O&, const Args&, const scalar*, int64_t, int, double, double*) { return 0; }
    void leave(O&, const scalar*, int64_t) {}
};

template <class O, int V, int N>
struct ReadFirstSpike : NoReader<O> {
    int64_t first[N];
    void finish(O& out, const Args& args, double* readout, int32_t* valid) {
        for (int k = 0; k < N; ++k) first[k] = -1, readout[k] = args.duration, valid[k] = -1;
        for (int64_t i = out.spikes.count - 1; i >= 0; --i) first[out.spikes.neuron[i]] = i;
        for (int k = 0; k < N; ++k)
            if (first[k] >= 0) readout[k] = out.spike_time[first[k]], valid[k] = 0;
    }
    scalar own_spike(O&, const Args&, const scalar* dr, int64_t i, int neuron, double, double*) {
        return first[neuron] == i ? dr[neuron] : scalar(0);
    }
};

// Every spike with a target of its own; `slope` is what the outer loss leaves of each.
template <class O, int V, int N>
struct ReadSpikeTimes : ReadFirstSpike<O, V, N> {
    Buffer<scalar> slope;
    void finish(O& out, const Args& args, double* readout, int32_t* valid) {
        ReadFirstSpike<O, V, N>::finish(out, args, readout, valid);
        slope.reserve(out.spikes.count);
    }
    scalar own_spike(O&, const Args&, const scalar*, int64_t i, int, double, double*) { return slope[i]; }
};

// r = number of spikes; lambda jumps by dr at own spikes, see `backward.py`.
template <class O, int V, int N>
struct ReadCount : NoReader<O> {
    void finish(O& out, const Args&, double* readout, int32_t* valid) {
        for (int k = 0; k < N; ++k) readout[k] = 0, valid[k] = 0;
        for (int64_t i = 0; i < out.spikes.count; ++i) ++readout[out.spikes.neuron[i]];
    }
};

// r = V(T).
template <class O, int V, int N>
struct ReadEnd : NoReader<O> {
    void finish(O& out, const Args&, double* readout, int32_t* valid) {
        for (int k = 0; k < N; ++k) readout[k] = double(out.x[V].data[k]), valid[k] = 0;
    }
};

// The maximum over continuous time: at ends of segments and at stationary points inside. At a kink (the slope turns at an
// arrival) the arrival's D gets dL/dr Vdot(t*-). The output does not spike; its g is V.
template <class O, int V, int N>
struct ReadMaximum : NoReader<O> {
    static constexpr int n = O::n;
    double best[N], offset[N], y[N][n], turn[N];
    int64_t step[N], position[N], kink_entry[N], now = 0;
    bool at_end[N];
    int order[N], top = -1;
    void begin(O& out, const Args&, int64_t) {
        for (int k = 0; k < N; ++k) {
            best[k] = double(out.x[V].data[k]), at_end[k] = true, kink_entry[k] = -1, offset[k] = 0, step[k] = position[k] = 0;
            for (int i = 0; i < n; ++i) y[k][i] = double(out.x[i].data[k]);
        }
    }
    void enter(O&, const Args&, int64_t k, bool) { now = k; }
    // Follows the outputs that may exceed their maximum; `entry` is the log's number of the first arrival.
    void absorb(O& out, const typename O::Incoming* a, int64_t count, int64_t entry) {
        for (int k = 0; k < N; ++k)
            if (at_end[k] || double(out.reach.data[k]) >= best[k]) follow(out, k, a, count, entry);
    }
    void follow(O& out, int k, const typename O::Incoming* a, int64_t count, int64_t entry) {
        double v[n], c[DEGREE + 1], q[O::FRONT], from = 0;
        for (int i = 0; i < n; ++i) v[i] = double(out.x[i].data[k]);
        series(out, k, v, c);
        for (int64_t j = 0; j <= count; ++j) {
            const double to = j < count ? a[j].s : out.delta;
            if (to > from) segment(out, k, v, c, from, to, entry + j);
            if (j == count) break;
            const double before = at_end[k] ? slope_of(c, out.degree, to) : 0;
            horner<O::FRONT, O::S>(out.flow[0].arrive[a[j].receptor], out.degree, to, O::own(k), q);
            for (int i = 0; i < n; ++i) v[i] += q[i] * double(a[j].row[k]);
            series(out, k, v, c);
            if (before > 0 && slope_of(c, out.degree, to) <= 0) turn[k] = before, kink_entry[k] = entry + j;
            from = to;
        }
    }
    void series(O& out, int k, const double* v, double* c) {
        for (int q = 0; q <= out.degree; ++q) {
            const auto* t = out.rho + int64_t(q) * (n + 1) * O::S + O::own(k);
            c[q] = double(t[n * O::S]);
            for (int i = 0; i < n; ++i) c[q] += double(t[i * O::S]) * v[i];
        }
    }
    void segment(O& out, int k, const double* v, const double* c, double from, double to, int64_t before_entry) {
        const int m = out.degree;
        at_end[k] = false;
        const double end = value_of(c, m, to), s0 = slope_of(c, m, from), s1 = slope_of(c, m, to);
        if (s0 > 0 && s1 < 0 && value_of(c, m, from) + s0 * (to - from) > best[k]) {
            double falling[DEGREE + 1];
            for (int q = 0; q < m; ++q) falling[q] = -(q + 1) * c[q + 1];
            const double s = first_crossing(falling, m - 1, from, to, bend_of(falling, m - 1, to));
            if (s > from && value_of(c, m, s) > best[k]) keep(k, v, value_of(c, m, s), s, before_entry);
        }
        if (end > best[k]) keep(k, v, end, to, before_entry), at_end[k] = true;
    }
    void keep(int k, const double* v, double value, double s, int64_t before_entry) {
        best[k] = value, offset[k] = s, step[k] = now, position[k] = before_entry, kink_entry[k] = -1;
        for (int i = 0; i < n; ++i) y[k][i] = v[i];
    }
    void finish(O&, const Args&, double* readout, int32_t* valid) {
        for (int k = 0; k < N; ++k) readout[k] = best[k], valid[k] = 0;
    }
    void begin_back(O&, const scalar*) {
        for (int k = 0; k < N; ++k) order[k] = k;
        std::sort(order, order + N, [&](int a, int b) {
            return step[a] != step[b] ? step[a] < step[b] : position[a] != position[b] ? position[a] < position[b] : a < b;
        });
        top = N - 1;
    }
    // The maxima of step k behind log entry `entry`: lambda_V jumps by dr there.
    void before(O& out, const scalar* dr, int64_t k, int64_t entry) {
        for (; top >= 0 && step[order[top]] == k && position[order[top]] > entry; --top) {
            const int o = order[top];
            double m[O::RESET], d[n * (n + 1)];
            horner<O::RESET, O::S>(out.flow[0].spike, out.degree, offset[o], O::own(o), m);
            for (int j = 0; j < n; ++j) out.mu[j].data[o] += dr[o] * scalar(m[V * (n + 1) + j]);
            for (int r = 0; r < O::model::dynamic; ++r) {
                horner<n * (n + 1), O::S>(out.flow[0].dspike[r], out.degree, offset[o], O::own(o), d);
                double v = d[V * (n + 1) + n];
                for (int j = 0; j < n; ++j) v += d[V * (n + 1) + j] * y[o][j];
                out.grad[O::model::place[r]].data[o] += dr[o] * scalar(v);
            }
        }
    }
    scalar kink(const scalar* dr, int64_t entry) {
        scalar total = 0;
        for (int k = 0; k < N; ++k)
            if (kink_entry[k] == entry) total += dr[k] * scalar(turn[k]);
        return total;
    }
};

// r = 1/T int w V dt. In an interval w is a series, and so is u(s) = int_s^delta w(t) P_V(t - s) dt / T in the time to the end
// of the interval: r = u(0) . x_start + sum of u . jumps over all events of the step.
template <class O, int V, int N>
struct ReadIntegral : NoReader<O> {
    static constexpr bool adds = true;
    static constexpr int n = O::n, S = O::S, L = O::model::dynamic, WIDTH = (DEGREE + 1) * (n + 1) * S;
    double total[O::NP];
    int degree = 0;
    Intervals smooth;
    Buffer<double> u, du[L + 1], along, against, rest, offsets;  // u: WIDTH numbers an interval
    Buffer<scalar> direct, feed, changed[L + 1];
    void begin(O&, const Args& args, int64_t sample) {
        smooth.begin(args, sample);
        direct.zero(S), feed.zero(S);
        for (int r = 0; r < L; ++r) changed[r].zero(S);
        for (double& v : total) v = 0;
    }
    void enter(O& out, const Args& args, int64_t step, bool training) {
        smooth.enter(args, step);
        const int parts = int(smooth.all.size()), sum = out.degree + int(args.series_size);
        degree = sum < DEGREE ? sum : DEGREE;
        u.reserve(parts * WIDTH);
        for (int r = 0; r < L; ++r) du[r].reserve(parts * WIDTH);
        for (int p = parts - 1; p >= 0; --p) {
            double w[DEGREE + 1];
            smooth.series(args, step, p, w);
            for (int k = 0; k < (S == 1 ? 1 : N); ++k) go_back(out, p, w, k, training);
        }
    }
    // du/dv = A^T u + w e_V from u = 0 at the end of the step, and its derivatives by learned parameters.
    void go_back(O& out, int p, const double* w, int k, bool training) {
        const double *a = out.flow[0].A + k * n * (n + 1), nothing[n + 1] = {};
        const bool last = p + 1 == int(smooth.all.size());
        double next[n + 1], *now = u + int64_t(p) * WIDTH;
        if (!last) look(u, p + 1, smooth.all[size_t(p)].to, k, next);
        for (int j = 0; j <= n; ++j) now[j * S + k] = last ? nothing[j] : next[j];
        for (int q = 0; q < degree; ++q)
            for (int j = 0; j <= n; ++j) {
                double v = j == V ? w[q] : 0.0;
                for (int i = 0; i < n; ++i) v += a[i * (n + 1) + j] * now[(q * (n + 1) + i) * S + k];
                now[((q + 1) * (n + 1) + j) * S + k] = v * INVERSE[q + 1];
            }
        for (int r = 0; training && r < L; ++r) {
            double* change = du[r] + int64_t(p) * WIDTH;
            if (!last) look(du[r], p + 1, smooth.all[size_t(p)].to, k, next);
            for (int j = 0; j <= n; ++j) change[j * S + k] = last ? nothing[j] : next[j];
            for (int q = 0; q < degree; ++q)
                for (int j = 0; j <= n; ++j) {
                    double v = 0;
                    for (int i = 0; i < n; ++i) {
                        const double da = double(out.flow[0].dspike[r][(n * (n + 1) + i * (n + 1) + j) * S + k]);
                        v += a[i * (n + 1) + j] * change[(q * (n + 1) + i) * S + k] + da * now[(q * (n + 1) + i) * S + k];
                    }
                    change[((q + 1) * (n + 1) + j) * S + k] = v * INVERSE[q + 1];
                }
        }
    }
    // f = u or du (n + 1) of a neuron at s, in interval p.
    void look(const Buffer<double>& table, int p, double s, int k, double* f) const {
        horner<n + 1, S>(table.data + int64_t(p) * WIDTH, degree, smooth.all[size_t(p)].to - s, O::own(k), f);
    }
    void look(const Buffer<double>& table, double s, int k, double* f) const { look(table, smooth.find(s), s, k, f); }
    void start(O& out) {
        double f[n + 1];
        for (int k = 0; k < N; ++k) {
            if (k == 0 || S > 1) look(u, 0, 0.0, k, f);
            double v = f[n];
            for (int j = 0; j < n; ++j) v += f[j] * double(out.x[j].data[k]);
            total[k] += v;
        }
    }
    // sum_i t[first + i] u_i at s, t the column of a table at s = 0: e, -A e or de.
    double part(const Buffer<double>& table, const typename O::table* t, double s, int k) const {
        double f[n + 1], v = 0;
        look(table, s, k, f);
        for (int i = 0; i < n; ++i) v += double(t[i * S + O::own(k)]) * f[i];
        return v;
    }
    // along[e] (and against[e], if asked for) = u . e (u . -A e) at `count` ascending offsets, for neurons that share their
    // numbers.
    void at_offsets(O& out, int receptor, const double* s, int64_t count, bool both) {
        const int64_t room = count + 8;
        rest.reserve(room), along.reserve(room), against.reserve(room);
        for (int64_t first = 0, next; first < count; first = next) {
            const int p = smooth.find(s[first]);
            const double to = smooth.all[size_t(p)].to, *now = u + int64_t(p) * WIDTH;
            const bool last = p + 1 == int(smooth.all.size());
            for (next = first + 1; next < count && (last || s[next] <= to);) ++next;
            for (int64_t e = first; e < next + 8; ++e) rest[e] = e < next ? to - s[e] : 0.0;
            double c[DEGREE + 1], z[DEGREE + 1];
            for (int q = 0; q <= degree; ++q) {
                c[q] = z[q] = 0;
                for (int i = 0; i < n; ++i) {
                    c[q] += double(out.flow[0].arrive[receptor][i]) * now[q * (n + 1) + i];
                    z[q] += double(out.flow[0].back[receptor][n + i]) * now[q * (n + 1) + i];
                }
            }
            horner_many<1>(c, degree, rest + first, next - first, along + first, room);
            if (both) horner_many<1>(z, degree, rest + first, next - first, against + first, room);
        }
    }
    void absorb(O& out, const typename O::Incoming* a, int64_t count, int64_t) {
        if constexpr (S == 1) {
            offsets.reserve(count + 8);
            for (int r = 0; r < O::model::receptors; ++r) {
                for (int64_t j = 0; j < count; ++j) offsets[j] = a[j].s;
                at_offsets(out, r, offsets.data, count, false);
                for (int64_t j = 0; j < count; ++j) {
                    if (a[j].receptor != r) continue;
                    const double f = along[j];
                    const scalar* row = a[j].row;
                    INDEPENDENT
                    for (int k = 0; k < O::NP; ++k) total[k] += f * double(row[k]);
                }
            }
        } else {
            for (int64_t j = 0; j < count; ++j)
                for (int k = 0; k < N; ++k) total[k] += part(u, out.flow[0].arrive[a[j].receptor], a[j].s, k) * double(a[j].row[k]);
        }
    }
    void jump(O&, int neuron, double s, const double* before, const double* after) {
        double f[n + 1];
        look(u, s, neuron, f);
        for (int i = 0; i < n; ++i) total[neuron] += f[i] * (after[i] - before[i]);
    }
    void finish(O&, const Args&, double* readout, int32_t* valid) {
        for (int k = 0; k < N; ++k) readout[k] = total[k], valid[k] = 0;
    }
    void open_step(O& out, const LogEntry* events, int64_t count) {
        if constexpr (S == 1 && O::model::receptors == 1) {
            offsets.reserve(count + 8);
            for (int64_t e = 0; e < count; ++e) offsets[e] = events[e].s;
            at_offsets(out, 0, offsets.data, count, true);
        } else {
            (void)out, (void)events, (void)count;
        }
    }
    void at(O& out, const Args& args, int receptor, double s, int64_t e) {
        const auto *direction = out.flow[0].arrive[receptor], *drive = out.flow[0].back[receptor] + n * S;
        for (int k = 0; k < (S == 1 ? 1 : N); ++k) {
            const bool known = S == 1 && O::model::receptors == 1;
            const double moves = double(direction[V * S + k]);  // V itself: l(x-) - l(x+)
            direct[k] = scalar(known ? along[e] : part(u, direction, s, k));
            feed[k] = scalar(known ? against[e] : part(u, drive, s, k));
            if (moves != 0) feed[k] -= scalar(moves * smooth.at(args, s));
            for (int r = 0; r < L; ++r) changed[r][k] = scalar(part(du[r], direction, s, k));
        }
    }
    scalar direction(int k) const { return direct.data[O::own(k)]; }
    scalar feedback(int k) const { return feed.data[O::own(k)]; }
    scalar change(int r, int k) const { return changed[r].data[O::own(k)]; }
    // l(x-) - l(x+); extra: the reader's part of lambda.
    scalar own_spike(O& out, const Args& args, const scalar* dr, int64_t i, int neuron, double s, double* extra) {
        double f[n + 1], before[n], after[n];
        look(u, s, neuron, f);
        for (int j = 0; j < n; ++j) extra[j] = double(dr[neuron]) * f[j], before[j] = double(out.spikes.record[j + 1][i]);
        if constexpr (O::model::spiking) O::model::reset(args, neuron, before, after);
        for (int r = 0; r < L; ++r) {
            look(du[r], s, neuron, f);
            for (int j = 0; j < n; ++j)
                out.grad[O::model::place[r]].data[neuron] += dr[neuron] * scalar(f[j] * (after[j] - before[j]));
        }
        return dr[neuron] * scalar(smooth.at(args, s) * (before[V] - after[V]));
    }
    void leave(O& out, const scalar* dr, int64_t at) {
        double f[n + 1];
        const scalar* x = L ? out.trace + at * n * O::NP : nullptr;
        for (int k = 0; k < N; ++k) {
            if (k == 0 || S > 1) look(u, 0, 0.0, k, f);
            for (int j = 0; j < n; ++j) out.mu[j].data[k] += dr[k] * scalar(f[j]);
        }
        for (int r = 0; r < L; ++r)
            for (int k = 0; k < N; ++k) {
                if (k == 0 || S > 1) look(du[r], 0, 0.0, k, f);
                double v = f[n];
                for (int j = 0; j < n; ++j) v += f[j] * double(x[j * O::NP + k]);
                out.grad[O::model::place[r]].data[k] += dr[k] * scalar(v);
            }
    }
};

}  // namespace
