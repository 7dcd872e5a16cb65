// L = 1/T int w(t) l(V(t)) dt with the generated `Loss_p<i>::pointwise`, by Gauss-Legendre quadrature: pieces of all outputs begin and end together.
// INTEGRAL: r = 1/T int w V dt. SAMPLES: V at the start of every step of the plan's grid, before the events at that time.

namespace {

template <class O, int V, int N, class W, Of What = Of::LOSS>
struct ReadVoltage : Reader<O> {
    static constexpr int NP = O::NP;
    Densities densities;
    PieceWeight<W> weight;
    Buffer<double> values;  // V at the nodes of every piece
    alignas(64) scalar now[NP], slope[NP], V_here[NP];
    double total[N], running = 0, share = 0, moved_at = -1;  // total: int w V dt / T, the readout
    int64_t sample = 0;
    bool scored = false;
    O* out = nullptr;
    const Path* way = nullptr;
    void look(O& o, const Args& args, int64_t number, Path& path) {
        out = &o, way = &path, sample = number, share = W::Loss::share(args, sample), scored = W::Loss::has_target(args, sample), moved_at = -1;
        densities.begin(args), weight.begin(args, sample), weight.cuts(args, path);
        path.aligned = true;
        for (int k = 0; k < NP; ++k) now[k] = V_here[k] = 0;
    }
    bool read(O& o, const Args& args, int64_t, Path& path) {
        constexpr bool single = sizeof(scalar) == 4;
        const int nodes = densities.nodes;
        values.reserve((o.pieces.count + 1) * nodes);
        o.each(args, path, [&](int64_t piece, const octet (*c)[TERMS], int l, double unit) {
            for (int q = 0; q < nodes; ++q) values[piece * nodes + q] = value_in(c[V], l, o.order, o.pieces[piece].span * densities.unit[q] / unit);
        });
        bool again = false;
        double d[N][NODES];
        int64_t number[N];
        size_t next[N] = {};  // in the path of every neuron
        running = 0;
        for (double& r : total) r = 0;
        for (;;) {
            for (int k = 0; k < N; ++k) pass_brief(o, args, path.of[size_t(k)], k, next[k]);
            if (next[0] == path.of[0].size()) break;
            for (int k = 0; k < N; ++k) number[k] = path.of[size_t(k)][next[k]++];
            const auto& p = o.pieces[number[0]];
            const double h = p.end - p.start;
            double noise = 0;  // of dl/dV, a difference of numbers as large as 1 or V: where it nearly vanishes no piece is short enough
            for (int q = 0; q < nodes; ++q) {
                const double t = p.start + h * (h > o.together ? densities.unit[q] : 0.5), a = weight.at(t, p.start), w = scored ? a : 0.0;
                for (int k = 0; k < N; ++k) now[k] = scalar(values[number[k] * nodes + q]);
                for (int k = 0; k < N; ++k) total[k] += a * h * densities.part[q] * values[number[k] * nodes + q];
                if (w != 0) running += w * h * densities.part[q] * double(W::Loss::pointwise(args, now, W::Loss::target_at(args, sample, t), slope));
                for (int k = 0; k < N; ++k) noise = std::fmax(noise, std::fabs(w) * share * (1 + std::fabs(double(now[k]))));
                for (int k = 0; k < N; ++k) d[k][q] = w != 0 ? w * share * double(slope[k]) : 0.0;
            }
            bool resolved = true;
            noise = noise * (single ? 1e-5 : 1e-13) + weight.noise * share;
            for (int k = 0; k < N; ++k) resolved &= densities.set(number[k], d[k], single ? 1e-5 : RESOLVED, noise);
            if (!resolved && h > FINEST * args.duration) path.every.push_back(0.5 * (p.start + p.end)), again = true;
            for (int k = 0; k < N; ++k) now[k] = scalar(o.pieces[number[k]].last[V]);
        }
        return again;
    }
    // The pieces of a neuron between two that last for more than the rounding of times: ends of upstrokes, along which all other outputs
    // stay where they are. They add nothing to the loss, but dl/dV to lambda: l may be far larger behind them.
    void pass_brief(O& o, const Args& args, const std::vector<int64_t>& all, int k, size_t& next) {
        for (; next < all.size() && !(o.pieces[all[next]].end > o.pieces[all[next]].start); ++next) {
            const auto& p = o.pieces[all[next]];
            if (!(p.span > 0)) continue;
            const double w = (scored ? weight.at(p.start, p.start) : 0.0) * share;
            double d[NODES] = {};
            for (int q = 0; w != 0 && q < densities.nodes; ++q) {
                now[k] = scalar(values[all[next] * densities.nodes + q]);
                W::Loss::pointwise(args, now, W::Loss::target_at(args, sample, p.start), slope);
                d[q] = w * double(slope[k]);
            }
            now[k] = scalar(p.last[V]);
            densities.set(all[next], d, RESOLVED, 0.0);
        }
    }
    void finish(O&, const Args&, double* readout) {
        for (int k = 0; k < N; ++k) readout[k] = total[k];
    }
    void source(int, int64_t piece, const scalar*, int order, octet* to, int lane, double unit, octet&) const {
        const auto& p = out->pieces[piece];
        if (p.span > 0) densities.source(piece, p.span / unit, 1.0, order, to, lane);
    }
    // Sets V_here to V behind everything at a time.
    void reach(O& o, double at) {
        if (at == moved_at) return;
        moved_at = at;
        for (int k = 0; k < N; ++k)
            for (int64_t number : way->of[size_t(k)]) {
                const auto& p = o.pieces[number];
                if (p.start > at) break;
                V_here[k] = scalar(p.start == at ? p.x[V] : p.last[V]);
            }
        std::memcpy(now, V_here, sizeof now);
    }
    // w (l(now) - l(V_here)) / B, after which what was before is here.
    double change(const Args& args, double at) {
        const double w = scored ? weight.at(at, at) : 0.0;
        double d = 0;
        if (w != 0) d = double(W::Loss::pointwise(args, now, W::Loss::target_at(args, sample, at), slope)), d -= double(W::Loss::pointwise(args, V_here, W::Loss::target_at(args, sample, at), slope));
        std::memcpy(V_here, now, sizeof now);
        return share * w * d;
    }
    double arrival(O& o, const Args&, const scalar*, int k, double, double dv, const LogEntry& h) {
        if (dv != 0) reach(o, h.s), now[k] -= scalar(dv);
        return 0;
    }
    double arrivals(O&, const Args& args, const LogEntry& h) { return h.s == moved_at ? change(args, h.s) : 0.0; }
    double own_event(O& o, const Args& args, const scalar*, const LogEntry& h) {
        const auto& crossing = o.events[h.index];
        reach(o, h.s), now[crossing.neuron] = scalar(crossing.x[V]);
        return change(args, h.s);
    }
};

template <class O, int V, int N, class W>
struct ReadVoltage<O, V, N, W, Of::INTEGRAL> : ReadIntegral<O, V, N, W> {};

template <class O, int V, int N, class W>
struct ReadVoltage<O, V, N, W, Of::SAMPLES> : Reader<O> {
    static constexpr int NP = O::NP;
    Buffer<double> samples;
    Buffer<int64_t> first;  // of every piece: the first sample that it ends at, and -1
    int64_t rows = 0;
    O* out = nullptr;
    double time(const Args& args, int64_t row) const { return args.duration * double(row) / double(args.n_steps); }
    void look(O& o, const Args& args, int64_t, Path& path) {
        out = &o, rows = args.n_steps + 1;
        samples.zero(rows * NP);
        for (int64_t row = 1; row + 1 < rows; ++row) path.every.push_back(time(args, row));
    }
    bool read(O& o, const Args& args, int64_t, Path& path) {
        first.reserve(o.pieces.count + 1);
        for (int64_t i = 0; i < o.pieces.count; ++i) first[i] = -1;
        for (int k = 0; k < N; ++k) {
            int64_t row = 1;
            samples[k] = o.pieces[path.of[size_t(k)][0]].x[V];
            for (int64_t number : path.of[size_t(k)]) {
                const auto& p = o.pieces[number];
                if (row < rows && std::fabs(p.end - time(args, row)) <= o.together && p.end > p.start) first[number] = row, samples[row++ * NP + k] = p.last[V];
            }
        }
        return false;
    }
    void finish(O&, const Args&, double* readout) { std::memcpy(readout, samples.data, size_t(rows * NP) * sizeof(double)); }
    void source(int k, int64_t piece, const scalar* dr, int, octet*, int lane, double, octet& jump) const {
        if (first.data[piece] >= 0) jump[lane] += double(dr[first.data[piece] * NP + k]);
    }
    double opened(int k, int64_t piece, const scalar* dr) const { return out->pieces[piece].why == START ? double(dr[k]) : 0; }
};

}  // namespace
