// The maximum over continuous time, attained at ends of segments or at stationary points inside. At a kink, where the slope
// changes sign at an arrival, D of the arrival gets dL/dr Vdot(t*-). The output does not spike; its g is V.
//
// JUMPS: arrivals may move V itself. Then V right after the arrivals of an instant is attained too, and one that ends there
// gets dL/dr Vdot(t*+), since lambda contains the jump at t* when their D are formed. Between arrivals of one instant
// (`together` ms) V has no value. The bound `reach` contains no jumps.

namespace {

template <class O, int V, int N, class W, bool JUMPS>
struct ReadMaximum : NoReader<O> {
    static constexpr int n = O::n;
    double best[N], offset[N], y[N][n], turn[N], rise[N];  // rise: the slope before the arrivals of the present instant
    int64_t step[N], position[N], kink_entry[N], last[N], now = 0;  // last: the last of these arrivals that reaches k
    bool at_end[N], arrived[N], final = false;                      // arrived: whether there are any
    int order[N], top = -1;
    void begin(O& out, const Args&, int64_t) {
        for (int k = 0; k < N; ++k) {
            best[k] = double(out.x[V].data[k]), at_end[k] = true, kink_entry[k] = -1, offset[k] = 0, step[k] = position[k] = 0;
            rise[k] = 0, last[k] = -1, arrived[k] = false;
            for (int i = 0; i < n; ++i) y[k][i] = double(out.x[i].data[k]);
        }
    }
    void enter(O&, const Args& args, int64_t k, bool) { now = k, final = k == args.exact_steps - 1; }
    // Searches the outputs that may exceed their maximum so far. entry: number of the first arrival in the log.
    void absorb(O& out, const typename O::Incoming* a, int64_t count, int64_t entry) {
        for (int k = 0; k < N; ++k)
            if (at_end[k] || (JUMPS && (count || arrived[k])) || double(out.reach.data[k]) >= best[k])
                follow(out, k, a, count, entry);
    }
    void follow(O& out, int k, const typename O::Incoming* a, int64_t count, int64_t entry) {
        double v[n], c[DEGREE + 1], q[O::FRONT], from = 0;
        for (int i = 0; i < n; ++i) v[i] = double(out.x[i].data[k]);
        series(out, k, v, c);
        for (int64_t j = 0; j <= count; ++j) {
            const double to = j < count ? a[j].s : out.delta;
            if (to > from + (final && j == count ? 0 : out.together)) segment(out, k, v, c, from, to, entry + j);
            if (j == count) break;
            if (!arrived[k]) rise[k] = at_end[k] ? slope_of(c, out.degree, to) : 0;
            arrived[k] = true;
            horner<O::FRONT, O::S>(out.flow[0].arrive[a[j].receptor], out.degree, to, O::own(k), q);
            for (int i = 0; i < n; ++i) v[i] += q[i] * double(a[j].row[k]);
            series(out, k, v, c);
            if (a[j].row[k] != 0) {
                last[k] = entry + j;
                const bool lower = slope_of(c, out.degree, to) <= 0 || (JUMPS && value_of(c, out.degree, to) < best[k]);
                if (at_end[k] && rise[k] > 0 && kink_entry[k] < 0 && lower) turn[k] = rise[k], kink_entry[k] = entry + j;
            }
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
        if (JUMPS && arrived[k] && value_of(c, m, from) > best[k]) {
            keep(k, v, value_of(c, m, from), from, before_entry);
            if (s0 <= 0) turn[k] = s0, kink_entry[k] = last[k];
        }
        arrived[k] = false, last[k] = -1;
        if (s0 > 0 && s1 < 0 && value_of(c, m, from) + s0 * (to - from) > best[k]) {
            double falling[DEGREE + 1];
            for (int q = 0; q < m; ++q) falling[q] = -(q + 1) * c[q + 1];
            const double s = first_crossing(falling, m - 1, from, to, bend_of(falling, m - 1, to));
            if (s > from && value_of(c, m, s) > best[k]) keep(k, v, value_of(c, m, s), s, before_entry);
        }
        // V that rises to T has its maximum there, whose time does not move with that of arrivals just before it: rounding may not decide
        const bool rises = final && to == out.delta && s1 > 0 && end >= best[k] - 4e-16 * std::fabs(best[k]);
        if (end > best[k] || rises) keep(k, v, end, to, before_entry), at_end[k] = true;
    }
    void keep(int k, const double* v, double value, double s, int64_t before_entry) {
        best[k] = value, offset[k] = s, step[k] = now, position[k] = before_entry, kink_entry[k] = -1;
        for (int i = 0; i < n; ++i) y[k][i] = v[i];
    }
    void finish(O&, const Args&, double* readout) {
        for (int k = 0; k < N; ++k) readout[k] = best[k];
    }
    void begin_back(O&, const scalar*) {
        for (int k = 0; k < N; ++k) order[k] = k;
        std::sort(order, order + N, [&](int a, int b) {
            return step[a] != step[b] ? step[a] < step[b] : position[a] != position[b] ? position[a] < position[b] : offset[a] != offset[b] ? offset[a] < offset[b] : a < b;
        });
        top = N - 1;
    }
    // Handles the maxima of step k after log entry `entry`, where lambda_V jumps by dr.
    void before(O& out, const scalar* dr, int64_t k, int64_t entry) {
        for (; top >= 0 && step[order[top]] == k && position[order[top]] > entry; --top) push(out, dr, order[top]);
    }
    void down_to(O& out, const scalar* dr, int64_t k, double s) {
        for (; top >= 0 && step[order[top]] == k && offset[order[top]] >= s; --top) push(out, dr, order[top]);
    }
    void lend(O& out, const scalar* dr, int64_t k, double s) { down_to(out, dr, k, s); }
    void push(O& out, const scalar* dr, int o) {
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
    scalar kink(const scalar* dr, int64_t entry) {
        scalar total = 0;
        for (int k = 0; k < N; ++k)
            if (kink_entry[k] == entry) total += dr[k] * scalar(turn[k]);
        return total;
    }
};

}  // namespace
