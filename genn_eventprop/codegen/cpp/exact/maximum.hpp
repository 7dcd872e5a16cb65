// The maximum over continuous time of every output, see maximum.h; arrivals are counted by their entries in the log. The bound
// `reach` contains no jumps of V itself.

namespace {

template <class O, int V, int N, class W, bool JUMPS>
struct ReadMaximum : NoReader<O> {
    static constexpr int n = O::n;
    Maximum<typename O::Population, JUMPS, int64_t> most[N];
    int64_t now = 0;
    bool final = false;
    int order[N], top = -1;
    void begin(O& out, const Args&, int64_t) {
        for (int k = 0; k < N; ++k) {
            double x[n];
            for (int i = 0; i < n; ++i) x[i] = double(out.x[i].data[k]);
            most[k].begin(x, x[V]);
        }
    }
    void enter(O&, const Args& args, int64_t k, bool) { now = k, final = k == args.exact_steps - 1; }
    // Searches the outputs that may exceed their maximum so far. entry: number of the first arrival in the log.
    void absorb(O& out, const typename O::Incoming* a, int64_t count, int64_t entry) {
        for (int k = 0; k < N; ++k)
            if (most[k].at_end || (JUMPS && (count || most[k].arrived)) || double(out.reach.data[k]) >= most[k].best)
                follow(out, k, a, count, entry);
    }
    void follow(O& out, int k, const typename O::Incoming* a, int64_t count, int64_t entry) {
        const auto cell = out.of(k);
        double y[n], by[n], from = 0;
        for (int i = 0; i < n; ++i) y[i] = double(out.x[i].data[k]);
        for (int64_t j = 0; j <= count; ++j) {
            const double to = j < count ? a[j].s : out.delta;
            most[k].read(cell, y, from, to, now, entry + j, final && j == count);
            if (j == count) break;
            most[k].arriving(cell, y, to);
            cell.arrive(0, a[j].receptor, to, by);
            for (int i = 0; i < n; ++i) y[i] += by[i] * double(a[j].row[k]);
            if (a[j].row[k] != 0) most[k].reached(cell, y, to, now, entry + j);
            from = to;
        }
    }
    void finish(O&, const Args&, double* readout) {
        for (int k = 0; k < N; ++k) readout[k] = most[k].best;
    }
    template <class Archive>
    void cross(Archive& a) {
        a.some(most, N);
    }
    void begin_back(O&, const scalar*) {
        for (int k = 0; k < N; ++k) order[k] = k;
        std::sort(order, order + N, [&](int i, int j) {
            const auto &a = most[i], &b = most[j];
            return a.step != b.step ? a.step < b.step : a.entry != b.entry ? a.entry < b.entry : a.offset != b.offset ? a.offset < b.offset : i < j;
        });
        for (top = N - 1; top >= 0 && most[order[top]].step > now;) --top;  // those of later pieces of a recording
    }
    // Handles the maxima of step k after log entry `entry`, where lambda_V jumps by dr.
    void before(O& out, const scalar* dr, int64_t k, int64_t entry) {
        for (; top >= 0 && most[order[top]].step == k && most[order[top]].entry > entry; --top) push(out, dr, order[top]);
    }
    void down_to(O& out, const scalar* dr, int64_t k, double s) {
        for (; top >= 0 && most[order[top]].step == k && most[order[top]].offset >= s; --top) push(out, dr, order[top]);
    }
    void lend(O& out, const scalar* dr, int64_t k, double s) { down_to(out, dr, k, s); }
    void push(O& out, const scalar* dr, int k) {
        double mu[n] = {};
        out.of(k).pull(V, 0, most[k].offset, double(dr[k]), most[k].y, mu, out.learning(k));
        for (int i = 0; i < n; ++i) out.mu[i].data[k] += scalar(mu[i]);
    }
    scalar kink(const scalar* dr, int64_t entry) {
        scalar total = 0;
        for (int k = 0; k < N; ++k)
            if (most[k].kink_entry == entry && most[k].kink_step == now) total += dr[k] * scalar(most[k].turn);
        return total;
    }
};

}  // namespace
