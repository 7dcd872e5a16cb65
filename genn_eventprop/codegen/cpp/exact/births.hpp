// Spikes that are about to be born, in exact time; docs/spike_birth.md has the mathematics.
//
// Forwards, a step that is over is searched for maxima of g, neuron by neuron; each neuron keeps the largest of its interval
// between own spikes. N: neurons of the population, O: its costates.

namespace {

template <class O, int N>
struct Births : Trajectory<O> {
    typedef Trajectory<O> Base;
    using Base::n, Base::S, Base::M, Base::y, Base::mode_of;
    struct Candidate : ::Candidate {
        double g, y[n];
    };
    List<Candidate> all;
    List<LogEntry> mine;  // own spikes and ends of refractory periods in the step
    Candidate open[N];    // of the present interval; step: -1 for none, and then g is the least that counts
    double width[N];
    Buffer<scalar> best, rising, rows;  // best: g of `open`; rising: the slope of g just before the present time, if it rises
    scalar terms[n + 1];                // of y and 1 in `rounding`
    bool has_own[N];                    // whether any of `mine` is the neuron's
    int64_t now = 0;

    void begin(const Args& args) {
        all.count = carried = 0;
        this->rest();
        best.zero(O::NP), rising.zero(O::NP);
        for (int k = N; k < O::NP; ++k) best[k] = scalar(1e30);
        for (int k = 0; k < N; ++k) has_own[k] = false, O::model::birth_width(args, k, width + k), another(k);
    }
    void another(int k) { open[k].neuron = k, open[k].step = -1, open[k].g = -FARTHEST * width[k], best[k] = scalar(open[k].g), rising[k] = -1; }
    // Ends an interval; the rise that ended it is no maximum.
    void close(int k) {
        Candidate& b = open[k];
        if (b.step >= 0) {
            b.hazard = hazard_of(b.g, width[k]), b.change = 0;
            all.push() = b;
        }
        another(k);
    }
    void finish() {
        for (int k = 0; k < N; ++k) close(k);
    }

    // Of a piece of a recording: the first `carried` candidates are those of earlier pieces whose spikes would still be on their
    // way, `leaving` the numbers of those that the next piece begins with; and which one was open at the start, -1 if it is not the
    // candidate of its interval.
    int64_t carried = 0, was_open[N];
    List<int64_t> leaving;
    template <class Archive, class OnTheWay>
    void cross(Archive& a, O& out, const OnTheWay& on_the_way) {
        if (!a.reads) {
            leaving.count = 0;
            for (int64_t i = 0; i < all.count; ++i)
                if (on_the_way(all[i])) leaving.push() = i;
        }
        a.values(leaving.count);
        if (a.reads)
            for (carried = 0; carried < leaving.count; ++carried) a.values(all.push());
        else
            for (int64_t i : leaving) a.values(all[i]);
        a.some(open, N), a.some(best.data, O::NP), a.some(rising.data, O::NP);
        if (a.reads)
            for (const auto& h : out.held) mode_of[h.neuron] = char(M - 1);
    }
    // Takes the one that is open at the end of the piece, which is the candidate of its interval. Returns its number.
    int64_t take_open(int k) {
        Candidate& b = all.push();
        b = open[k], b.hazard = hazard_of(b.g, width[k]), b.change = 0;
        return all.count - 1;
    }
    // Which candidates were open before step `first`.
    void find_open(int64_t first) {
        for (int k = 0; k < N; ++k) was_open[k] = -1;
        for (int64_t i = carried; i < all.count; ++i)
            if (all[i].step < first) was_open[all[i].neuron] = i;
    }
    // Searches the step of a number, which is over, in row `row` of the log; `ended`: the kind of ends of refractory periods.
    void scan(O& out, const Args& args, const Log& log, int64_t number, int64_t row, int32_t ended) {
        now = number, mine.count = 0;
        for (int64_t e = log.steps[size_t(row)]; e < log.count; ++e) {
            const int32_t kind = log.entries.data[e].kind;
            if (kind == O::model::own_spike || (M > 1 && kind == ended)) mine.push() = log.entries.data[e], has_own[log.entries.data[e].source] = true;
        }
        if constexpr (S == 1)
            sift(out, args);
        else
            for (int k = 0; k < N; ++k)
                if (in_reach(out, k)) follow(out, args, k);
        for (const auto& e : mine) {
            if (has_own[e.source] && S == 1) follow(out, args, e.source);
            has_own[e.source] = false;
        }
    }
    // Whether g may exceed the best of the interval. The bound is not known of those that may have crossed, or are held.
    bool in_reach(O& out, int k) {
        const scalar most = out.reach.data[k];
        if (most > scalar(-1e29) && most <= best.data[k]) rising.data[k] = -1;
        return !(most > scalar(-1e29) && most <= best.data[k]);
    }
    static constexpr int W = 3 * n + 4;  // of `rows`, at the start of the step, its arrivals and its end: g and its slope as
                                         // rows of y, P(-s) e, s, and how much the arrival changes the slope
    void make_rows(O& out) {
        const int64_t count = out.pending.count + 2;
        const auto* rho = out.rho + out.degree * (n + 1);
        rows.reserve(count * W);
        for (int64_t first = 0; first < count; first += DOUBLES) {
            doubles s = {}, g[n + 1], slope[n + 1];
            for (int l = 0; l < DOUBLES; ++l) s[l] = first + l == 0 ? 0.0 : first + l <= out.pending.count ? out.pending[first + l - 1].s : out.delta;
            for (int i = 0; i <= n; ++i) g[i] = doubles{} + double(rho[i]), slope[i] = doubles{};
            const auto* t = rho;
            for (int p = out.degree - 1; p >= 0; --p) {
                t -= n + 1;
                for (int i = 0; i <= n; ++i) slope[i] = slope[i] * s + g[i], g[i] = g[i] * s + double(t[i]);
            }
            for (int l = 0; l < DOUBLES && first + l < count; ++l) {
                scalar* r = rows + (first + l) * W;
                double change = 0;
                for (int i = 0; i <= n; ++i) {
                    r[i] = scalar(g[i][l]), r[n + 1 + i] = scalar(slope[i][l]);
                    if (i < n && first + l > 0 && first + l < count - 1)
                        change += double(r[n + 1 + i]) * double(r[2 * n + 2 + i] = out.pending[first + l - 1].q[i]);
                }
                r[3 * n + 2] = scalar(s[l]), r[3 * n + 3] = scalar(change);
            }
        }
        for (int i = 0; i <= n; ++i) terms[i] = scalar(rounding_of(out, 0, i));
    }
    // The slope of g that a unit of y_i, or 1 for i = n, may have by rounding; see adjoint/birth.py. The first powers of s stand
    // for all.
    static double rounding_of(const O& out, int column, int i) {
        const auto *g = out.rho + i * S + column, *slope = g + (n + 1) * S;
        return ROUNDING * std::numeric_limits<scalar>::epsilon() * (std::fabs(double(*g)) / out.delta + std::fabs(double(*slope)));
    }
    // Below which the slope of g is 0.
    static double rounding(const O& out, int k, const double* v) {
        double most = rounding_of(out, O::column_of(k), n);
        for (int i = 0; i < n; ++i) most += rounding_of(out, O::column_of(k), i) * std::fabs(v[i]);
        return most;
    }
    // Where in [a, b] the slope of g crosses zero from above, by Newton's method within brackets; of those neurons of a vector at
    // which `asked` is not negative. slope_a > 0 and slope_b < 0: at the ends. Sets g there.
    static vec summit(const O& out, const vec* x, vec a, vec b, vec slope_a, vec slope_b, vec asked, vec& g) {
        const vec close = (b - a) * (sizeof(scalar) == 4 ? scalar(1e-4) : scalar(1e-9));  // Newton's error is quadratic in its step
        const int m = out.degree;
        vec c[DEGREE + 1], s = a + (b - a) * (slope_a / (slope_a - slope_b));
        for (int p = 0; p <= m; ++p) {
            const auto* t = out.rho + p * (n + 1);
            c[p] = vec{} + scalar(t[n]);
            for (int i = 0; i < n; ++i) c[p] += scalar(t[i]) * x[i];
        }
        for (int turn = 0; turn < 60; ++turn) {
            vec f = scalar(m) * c[m], d = {};
            for (int p = m - 1; p >= 1; --p) d = d * s + f, f = f * s + scalar(p) * c[p];
            a = f > 0 ? s : a, b = f > 0 ? b : s;
            vec next = s - f / d;
            next = ((next >= a) & (next <= b)) ? next : scalar(0.5) * (a + b);
            const vec moved = next - s;
            s = next;
            if (!not_negative(larger(moved, -moved) > close ? asked : vec{} - 1)) break;
        }
        g = c[m];
        for (int p = m - 1; p >= 0; --p) g = g * s + c[p];
        return s;
    }
    // Follows those without own events whose slope changes its sign where g may exceed the best so far; of all neurons of a
    // vector at once, since they share their arrivals.
    void sift(O& out, const Args& args) {
        const int64_t count = out.pending.count;
        const auto near = [&](int from) {
            const vec reach = load(out.reach.data + from);
            return not_negative(((reach > scalar(-1e29)) & (reach <= load(best.data + from))) ? vec{} - 1 : vec{});
        };
        bool some = mine.count > 0;
        for (int from = 0; !some && from < N; from += LANES) some = near(from);
        if (!some) {
            for (int from = 0; from < N; from += LANES) store(rising.data + from, vec{} - 1);
            return;
        }
        make_rows(out);
        const auto of = [](const scalar* row, const vec* x) {
            vec v = vec{} + row[n];
            for (int i = 0; i < n; ++i) v += row[i] * x[i];
            return v;
        };
        for (int from = 0; from < N; from += LANES) {
            if (!near(from)) {
                store(rising.data + from, vec{} - 1);
                continue;
            }
            vec top = load(best.data + from);
            vec x[n], needs = vec{} - 1, bend = vec{} + out.curve[n];
            for (int i = 0; i < n; ++i) x[i] = load(y[i].data + from);
            vec g = of(rows, x), slope = of(rows + n + 1, x);
            const vec before = load(rising.data + from);
            vec least = vec{} + terms[n];
            for (int i = 0; i < n; ++i) least += terms[i] * larger(x[i], -x[i]);
            const auto kink = (before > 0) & (slope <= 0) & (g > top);
            for (int64_t j = 0; j <= count; ++j) {
                const scalar *r = rows + (j + 1) * W, h = r[3 * n + 2] - r[3 * n + 2 - W];
                const vec next = of(r + n + 1, x), most = g + h * slope;
                const vec falls = ((slope > 0) & (next < 0) & (most > top)) ? vec{} : vec{} - 1;
                if (j == 0) needs = (kink & ((slope < -least) | (next < -least))) ? vec{} : needs;
                if (n > 2) {
                    needs = falls >= 0 ? vec{} : needs;  // then a slope may change its sign twice within a segment
                    bend = vec{} + out.curve[n];
                    for (int i = 0; i < n; ++i) bend += out.curve[i] * larger(x[i], -x[i]);
                    needs = ((larger(slope, -slope) < bend * h) & (larger(g, most) + bend * (h * h) > top)) ? vec{} : needs;
                } else if (unsigned mask = not_negative(falls)) {  // one maximum inside
                    vec highest;
                    const vec at = summit(out, x, vec{} + r[3 * n + 2 - W], vec{} + r[3 * n + 2], slope, next, falls, highest);
                    for (; mask; mask &= mask - 1) {
                        const int l = __builtin_ctz(mask), k = from + l;
                        if (slope[l] <= least[l]) needs[l] = 0;  // 0, or nearly
                        double v[n];
                        for (int i = 0; i < n; ++i) v[i] = double(x[i][l]);
                        if (k < N && !has_own[k] && mode_of[k] == 0) offer(k, v, double(highest[l]), double(at[l]));
                    }
                    top = load(best.data + from);
                }
                g = of(r, x), slope = next;
                if (j == count) break;
                const vec w = load(out.pending[j].row + from);
                slope = next + r[3 * n + 3] * w;
                needs = ((next > 0) & (slope <= 0) & (g > top)) ? vec{} : needs;
                for (int i = 0; i < n; ++i) x[i] += r[2 * n + 2 + i] * w;
            }
            const vec kept = before > 0 ? least : vec{} - 1;
            store(rising.data + from, larger(slope, -slope) > least ? slope : kept);
            for (unsigned mask = not_negative(needs); mask; mask &= mask - 1) {
                const int k = from + __builtin_ctz(mask);
                if (k >= N || has_own[k] || mode_of[k] != 0) continue;
                rising[k] = before[k - from];
                follow(out, args, k);
            }
            for (int k = from; k < from + LANES && k < N; ++k)
                if (has_own[k]) rising[k] = before[k - from];
                else if (mode_of[k] != 0) rising[k] = -1;
        }
    }
    // Takes a neuron through the step, event by event.
    void follow(O& out, const Args& args, int k) {
        double v[n], was[n], from = 0;  // was: y ahead of the arrivals at `from`
        const scalar* start = S == 1 ? rows.data : nullptr;  // the row of `from`, where there is one
        double g = 0, slope = 0;                              // else, behind an own spike, g and its slope there
        bool reset = false;
        for (int i = 0; i < n; ++i) was[i] = v[i] = double(y[i].data[k]);
        for (int64_t j = 0, e = 0;;) {
            while (e < mine.count && mine[e].source != k) ++e;
            const double arrival = j < out.pending.count ? out.pending[j].s : std::numeric_limits<double>::infinity();
            // as forwards: of one instant, crossings and ends of periods come before arrivals
            const bool is_own = e < mine.count && mine[e].s <= arrival + out.together;
            const double to = is_own ? mine[e].s : arrival < out.delta ? arrival : out.delta;
            if (mode_of[k] == 0 && to > from + out.together) {
                const scalar* end = S == 1 && !is_own ? rows.data + (j + 1) * W : nullptr;
                if (start) g = at(start, v), slope = at(start + n + 1, v);
                const bool known = n <= 2 && S == 1 && (start || reset);
                if (!(known && goes_on(out, k, was, v, from, to, g, slope, end))) segment(out, k, was, v, from, to);
                from = to, start = end, reset = false, std::memcpy(was, v, sizeof v);
            }
            if (is_own) {
                from = to, start = nullptr;
                for (int i = 0; i < n; ++i) y[i].data[k] = scalar(v[i]);
                reset = mine[e].kind == O::model::own_spike && M == 1;
                if (mine[e].kind == O::model::own_spike)
                    spiked(out, args, k, mine[e], g, slope);
                else
                    this->release(out, k, to);
                for (int i = 0; i < n; ++i) v[i] = double(y[i].data[k]);
                ++e;
            } else if (j < out.pending.count) {
                const auto& a = out.pending[j++];
                reset = false;  // an arrival in the instant of a spike has changed the slope
                if constexpr (S == 1) {
                    for (int i = 0; i < n; ++i) v[i] += double((mode_of[k] ? a.held : a.q)[i]) * double(a.row[k]);
                } else {
                    double q[n];
                    out.of(k).arrive(mode_of[k], a.receptor, a.s, q);
                    for (int i = 0; i < n; ++i) v[i] += q[i] * double(a.row[k]);
                }
            } else {
                return;
            }
        }
    }
    static double at(const scalar* row, const double* v) {
        double by = double(row[n]);
        for (int i = 0; i < n; ++i) by += double(row[i]) * v[i];
        return by;
    }
    // Whether all is said of a segment that begins with g and a slope, as in `sift`. end: the row at its end, nullptr at an own
    // spike, up to which a slope that changes its sign but once rises.
    bool goes_on(const O& out, int k, const double* was, const double* v, double from, double to, double g, double slope, const scalar* end) {
        const double last = end ? at(end + n + 1, v) : 1.0, least = rounding(out, k, v);
        if (std::fabs(slope) <= least || (slope > 0 && last < 0 && g + (to - from) * slope > open[k].g)) return false;
        if (rising[k] > 0 && slope <= 0) offer(k, was, g, from, double(rising[k]));
        rising[k] = scalar(turned(last, least, slope));
        return true;
    }
    // Sets g and its slope behind the spike.
    void spiked(O& out, const Args& args, int k, const LogEntry& spike, double& g, double& slope) {
        double before[n], after[n];
        this->around(out, args, k, spike.index, before, after);
        this->go_on(out, k, M - 1, spike.s, after);
        g = out.of(k).threshold(after), slope = out.of(k).slope(after);
        close(k);
    }
    // g between two events, of which the first one changed y from `was` to v.
    void segment(O& out, int k, const double* was, const double* v, double from, double to) {
        double c[DEGREE + 1];
        out.of(k).powers(v, c);
        const double before = double(rising[k]);
        const auto falls = [&](double g) {
            if (before > 0) offer(k, was, g, from, before);
        };
        rising[k] = scalar(each_candidate(c, out.degree, from, to, rounding(out, k, v), before, open[k].g, falls, [&](double s, double g) { offer(k, v, g, s); }));
    }
    void offer(int k, const double* v, double g, double s, double rise = 0) {
        Candidate& b = open[k];
        if (!(g > b.g)) return;
        b.g = g, b.step = now, b.s = s, b.rise = rise, best[k] = scalar(g);
        for (int i = 0; i < n; ++i) b.y[i] = v[i];
    }

    // Backwards: lambda jumps by hazard x change of L x dg/dx, see `ReadMaximum::push`.
    void jump(O& out, const Args& args, const Candidate& b, double change) {
        const int k = b.neuron;
        const double by = b.hazard * change;
        double row[n + 1], d[n * (n + 1)];
        horner<n + 1, S>(out.rho, O::column_of(k), out.degree, b.s, row);
        for (int j = 0; j < n; ++j) out.mu[j].data[k] += scalar(by * row[j]);
        for (int r = 0; r < O::model::dynamic; ++r) {
            horner<n * (n + 1), S>(out.flow[0].dspike[r], O::column_of(k), out.degree, b.s, d);
            double total = 0;
            for (int i = 0; i < n; ++i) total += double(out.dg[i * S + O::column_of(k)]) * linear<n>(d + i * (n + 1), b.y);
            out.grad[O::model::place[r]].data[k] += scalar(by * total);
        }
        O::model::born(args, k, scalar(by), out.grad);
    }
    // By how much an arrival with a weight changes the slope of g.
    static double fall(const O& out, const Args&, const Candidate& b, int receptor, double weight, double s) {
        const int k = b.neuron;
        double q[n], by = 0;
        out.of(k).arrive(0, receptor, s, q);
        for (int i = 0; i < n; ++i) {
            double slope = 0;
            for (int p = out.degree; p >= 1; --p) slope = slope * s + p * double(out.rho[(int64_t(p) * (n + 1) + i) * S + O::column_of(k)]);
            by += slope * q[i];
        }
        return weight * by;
    }
};

}  // namespace
