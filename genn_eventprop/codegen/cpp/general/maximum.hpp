// The maximum of V over continuous time: at ends of pieces or at stationary points inside. Where it is at an arrival, D of that arrival
// gets dL/dr Vdot of the side of t* that lambda leaves out (docs/equations.md, section 3). The output does not spike.

namespace {

template <class O, int V, int N, class W, bool JUMPS>
struct ReadMaximum : Reader<O> {
    double best[N], at[N], slope[N];
    int64_t piece[N], instant[N];  // instant: of the arrivals at the maximum, -1 for none
    const LogEntry* kink[N];       // the one of them that gets the slope
    bool before[N];                // the maximum is at the end of a piece, before what happens there; else at the start of one
    O* out = nullptr;
    void look(O& o, const Args& args, int64_t, Path& path) {
        out = &o;
        for (int k = 0; k < N; ++k) {  // V(0); arrivals at t = 0 end the first piece where it starts
            const auto& first = o.pieces[path.of[size_t(k)].front()];
            better(k, first.x[V], first.start, first.end == first.start);
        }
        o.each(args, path, [&](int64_t number, const octet (*c)[TERMS], int l, double unit) { search(o, args, number, c[V], l, unit); });
        for (int k = 0; k < N; ++k) path.each[size_t(k)].push_back(at[k]);
    }
    void search(O& o, const Args& args, int64_t number, const octet* c, int l, double unit) {
        const auto& p = o.pieces[number];
        const int k = p.neuron, m = o.order;
        const double h = p.end - p.start;
        if (p.x[V] > best[k]) better(k, p.x[V], p.start, false);
        if (h <= o.together) {
            // arrivals just before T: where V rises behind them its maximum is V(T), whose time does not move with theirs
            double f[O::n];
            O::model::rate(args, k, p.mode, p.x, f);
            if (p.start > 0 && p.end >= o.end_of_trial && f[V] > 0 && p.last[V] >= best[k]) better(k, p.last[V], p.end, true);
            return;
        }
        double slope_of_V[TERMS], series[TERMS];
        for (int j = 0; j <= m; ++j) series[j] = c[j][l];
        for (int j = 0; j < m; ++j) slope_of_V[j] = (j + 1) * series[j + 1];
        double most = 0, power = h / unit;
        for (int j = 1; j <= m; ++j, power *= h / unit) most += std::fmax(series[j] * power, 0.0);
        if (series[0] + most <= best[k]) return;
        each_maximum(slope_of_V, m, 0.0, h / unit, [&](double s) {
            const double value = value_of(series, m, s);
            if (s * unit < h && value > best[k] + 1e-15 * std::fabs(best[k])) better(k, value, p.start + s * unit, true);
        });
        if (p.last[V] > best[k]) better(k, p.last[V], p.end, true);
    }
    void better(int k, double value, double t, bool end) { best[k] = value, at[k] = t, before[k] = end; }
    // Finds the piece that ends, or begins, at the maximum, and the arrivals there.
    bool read(O& o, const Args& args, int64_t, Path& path) {
        for (int k = 0; k < N; ++k) {
            piece[k] = instant[k] = -1;
            for (int64_t number : path.of[size_t(k)]) {
                const auto& p = o.pieces[number];
                const bool here = before[k] ? p.end == at[k] && (p.end > p.start || piece[k] < 0) : p.start == at[k];
                if (here && !(before[k] && piece[k] >= 0)) piece[k] = number;
                if (p.why == ARRIVAL && p.start == at[k]) instant[k] = p.instant;
            }
            const auto& p = o.pieces[piece[k]];
            double f[O::n];
            O::model::rate(args, k, p.mode, before[k] ? p.last : p.x, f);
            slope[k] = before[k] ? std::fmax(f[V], 0.0) : f[V];
        }
        return false;
    }
    // Of a maximum ahead of its arrivals that is the first behind which V falls; of one behind them, where V has jumped up, the last.
    template <class Reach>
    void divide(O& o, const Args& args, const Log& log, const Reach& reach) {
        const LogEntry *all = log.entries.data, *end = all + log.count;
        for (int k = 0; k < N; ++k) {
            kink[k] = nullptr;
            if (instant[k] < 0) continue;
            const auto& p = o.pieces[piece[k]];
            double x[O::n], e[O::n], f[O::n];
            for (int i = 0; i < O::n; ++i) x[i] = p.last[i];
            bool falls = false;
            const LogEntry* a = std::partition_point(all, end, [&](const LogEntry& a) { return a.instant < instant[k]; });
            for (; a < end && a->instant == instant[k] && !falls; ++a) {
                int receptor = 0;
                double w = 0;
                if (!reach(*a, k, receptor, w) || w == 0) continue;
                if (!before[k] || !kink[k]) kink[k] = a;
                if (!before[k]) continue;
                O::model::direction(args, k, receptor, e);
                for (int i = 0; i < O::n; ++i) x[i] += w * e[i];
                O::model::rate(args, k, p.mode, x, f);
                falls = f[V] <= 0 || x[V] < best[k];
                if (falls) kink[k] = a;
            }
        }
    }
    void finish(O&, const Args&, double* readout) {
        for (int k = 0; k < N; ++k) readout[k] = best[k];
    }
    void source(int k, int64_t number, const scalar* dr, int, octet*, int lane, double, octet& jump) const {
        if (before[k] && number == piece[k]) jump[lane] += double(dr[k]);
    }
    double opened(int k, int64_t number, const scalar* dr) const { return !before[k] && number == piece[k] ? double(dr[k]) : 0; }
    double arrival(O&, const Args&, const scalar* dr, int k, double, double, const LogEntry& h) {
        return kink[k] == &h ? double(dr[k]) * slope[k] : 0;
    }
};

}  // namespace
