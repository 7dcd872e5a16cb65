// r = 1/T int w(t) V dt, by Gauss-Legendre quadrature in every piece.

namespace {

template <class O, int V, int N, class W>
struct ReadIntegral : Reader<O> {
    double total[N];
    Densities densities;
    PieceWeight<W> weight;
    O* out = nullptr;
    void look(O& o, const Args& args, int64_t sample, Path& path) {
        out = &o;
        densities.begin(args), weight.begin(args, sample), weight.cuts(args, path);
    }
    bool read(O& o, const Args& args, int64_t, Path& path) {
        bool again = false;
        for (double& r : total) r = 0;
        o.each(args, path, [&](int64_t piece, const octet (*c)[TERMS], int l, double unit) {
            const auto& p = o.pieces[piece];
            const double h = p.span;
            double w[NODES], r = 0;
            for (int q = 0; q < densities.nodes; ++q) {
                const double s = h * (h > o.together ? densities.unit[q] : 0.5);  // rounding may bring nodes of one instant behind an arrival
                w[q] = weight.at(p.start + s, p.start);
                r += w[q] * densities.part[q] * value_in(c[V], l, o.order, s / unit);
            }
            total[p.neuron] += r * h;
            if (!densities.set(piece, w, RESOLVED, weight.noise) && h > FINEST * args.duration) path.halve(p.neuron, p.start, p.end), again = true;
        });
        return again;
    }
    void finish(O&, const Args&, double* readout) {
        for (int k = 0; k < N; ++k) readout[k] = total[k];
    }
    void source(int k, int64_t piece, const scalar* dr, int order, octet* to, int lane, double unit, octet&) const {
        const auto& p = out->pieces[piece];
        if (p.span > 0) densities.source(piece, p.span / unit, double(dr[k]), order, to, lane);
    }
    double arrival(O&, const Args& args, const scalar* dr, int k, double, double dv, const LogEntry& h) {
        return dv == 0 ? 0 : -weight.at(h.s, h.s) * double(dr[k]) * dv;
    }
    double own_event(O& o, const Args& args, const scalar* dr, const LogEntry& h) {
        const auto& crossing = o.events[h.index];
        double after[O::n];
        O::model::reset(args, crossing.neuron, crossing.event, crossing.x, after);
        return weight.at(crossing.at, crossing.at) * double(dr[crossing.neuron]) * (crossing.x[V] - after[V]);
    }
};

}  // namespace
