// Spikes that are about to be born, of neurons without a closed form; docs/spike_birth.md has the mathematics.
//
// Once a trial is over, the pieces of every neuron are searched for maxima of g, and cut at the largest of each interval between own
// spikes. Pieces of the targets are not cut: lambda at an arrival of such a spike is that of the piece which contains it.

namespace {

template <class O, int N>
struct Births {
    static constexpr int n = O::n;
    struct Candidate : ::Candidate {
        double after[n];  // of a kink: the states behind all arrivals there, and the mode
        int mode;
    };
    struct Peak {
        double g, at, x[n];
    };
    List<Candidate> all;
    List<Peak> peaks;
    Buffer<int64_t> peak;             // of every piece: the largest maximum inside, -1 for none that counts
    Buffer<int8_t> falls;             // whether g falls from its start on
    Buffer<double> rise, end;         // the slope of g just before its end, if it rises; g there
    double width[N], rising[N];  // rising: whether g of a neuron rises just before its next piece
    Path path;

    // Once the trial is over.
    void search(O& o, const Args& args) {
        all.count = peaks.count = 0;
        path.clear(N), o.find_path(path);
        peak.reserve(o.pieces.count), falls.reserve(o.pieces.count), rise.reserve(o.pieces.count), end.reserve(o.pieces.count);
        for (int k = 0; k < N; ++k) O::model::birth_width(args, k, width + k), rising[k] = -1;
        o.each(args, path, [&](int64_t number, const octet (*c)[TERMS], int l, double unit) { look(o, args, number, c, l, unit); });
        for (int k = 0; k < N; ++k) choose(o, k);
    }
    // g along a piece, which is linear in the state.
    void look(O& o, const Args& args, int64_t number, const octet (*c)[TERMS], int l, double unit) {
        const auto& p = o.pieces[number];
        const int k = p.neuron, m = o.order;
        const double h = (p.end - p.start) / unit;
        double dg[n], g[TERMS], least = 0, best = -FARTHEST * width[k];
        O::model::threshold_slopes(args, k, dg);
        for (int j = 1; j <= m; ++j) {
            g[j] = 0;
            for (int i = 0; i < n; ++i) g[j] += dg[i] * c[i][j][l];
        }
        g[0] = O::model::threshold(args, k, 0, p.x);
        for (int i = 0; i < n; ++i) least += ROUNDING * std::numeric_limits<double>::epsilon() * std::fabs(dg[i] * p.x[i]);
        falls[number] = false, peak[number] = -1, end[number] = value_of(g, m, h);
        const auto top = [&](double s, double value) {
            if (!(value > best) || !(s < h) || !O::model::possible(0, p.mode)) return;
            if (peak[number] < 0) peak[number] = peaks.count, peaks.push();
            Peak& peaked = peaks[peak[number]];
            best = peaked.g = value, peaked.at = p.start + s * unit;
            for (int i = 0; i < n; ++i) peaked.x[i] = value_in(c[i], l, m, s);
        };
        const double before = p.why == OWN_EVENT ? -1 : rising[k];  // the pieces of a neuron in one mode come in order of time
        rise[number] = rising[k] = each_candidate(g, m, 0.0, h, least * unit, before * unit, best, [&](double) { falls[number] = true; }, top) / unit;
    }
    // The candidate of every interval of a neuron.
    void choose(O& o, int k) {
        const double lowest = -FARTHEST * width[k];
        double best = lowest;
        const auto& mine = path.of[size_t(k)];
        int64_t chosen = -1, before = -1;  // place in `mine` of the piece that the maximum is in, or at the end of; of the last one
        bool inside = false;
        for (int64_t i = 0; i < int64_t(mine.size()); ++i) {
            const auto& p = o.pieces[mine[size_t(i)]];
            const int64_t number = mine[size_t(i)], last_one = before < 0 ? -1 : mine[size_t(before)];
            const bool by_event = p.why == OWN_EVENT, lasts = p.end > p.start;
            if (by_event) {  // the rise that led to it is no maximum
                close(o, k, chosen, inside, best);
                best = lowest, chosen = before = -1;
            }
            if (!lasts) continue;  // of arrivals of one instant, the slopes before and behind all of them count
            const bool kink = before >= 0 && O::model::possible(0, o.pieces[last_one].mode) && rise[last_one] > 0 && falls[number];
            if (kink && end[last_one] > best) best = end[last_one], chosen = before, inside = false;
            if (peak[number] >= 0 && peaks[peak[number]].g > best) best = peaks[peak[number]].g, chosen = i, inside = true;
            before = i;
        }
        close(o, k, chosen, inside, best);
    }
    // Cuts the trajectory at the candidate of an interval, in or behind piece `place` of the neuron; -1: it has none.
    void close(O& o, int k, int64_t place, bool inside, double g) {
        if (place < 0) return;
        const auto* mine = path.of[size_t(k)].data() + place;
        const int64_t chosen = mine[0], index = all.count, added = o.pieces.count;
        o.pieces.push();
        auto &p = o.pieces[chosen], &part = o.pieces[added];
        part = p;
        if (inside) {  // `part` is what comes before it
            const Peak& top = peaks[peak[chosen]];
            part.end = p.start = top.at, part.span = part.end - part.start, p.span = p.end - p.start, p.before = added, p.why = CANDIDATE, p.instant = O::of_candidate(index);
            for (int i = 0; i < n; ++i) part.last[i] = p.x[i] = top.x[i];
            all.push() = {{{0, top.at}, int32_t(k), hazard_of(g, width[k]), 0.0, 0.0}, {}, 0};
        } else {  // `part` has no length, and lies ahead of what happens there
            part.start = p.end, part.span = 0, part.before = chosen, part.why = CANDIDATE, part.instant = O::of_candidate(index);
            for (int i = 0; i < n; ++i) part.x[i] = part.last[i];
            o.pieces[mine[1]].before = added;
            Candidate& b = all.push() = {{{0, part.start}, int32_t(k), hazard_of(g, width[k]), 0.0, rise[chosen]}, {}, 0};
            while (!(o.pieces[*++mine].end > b.s)) {}
            std::memcpy(b.after, o.pieces[*mine].x, sizeof b.after);
            b.mode = o.pieces[*mine].mode;
        }
    }
    // Backwards: lambda jumps by hazard x change of L x dg/dx.
    void jump(O& o, const Args& args, const Candidate& b, double change) const {
        const double by = b.hazard * change;
        double dg[n];
        O::model::threshold_slopes(args, b.neuron, dg);
        for (int i = 0; i < n; ++i) o.lambda[i][b.neuron] += by * dg[i];
        O::model::born(args, b.neuron, scalar(by), o.grad);
    }
    // By how much an arrival of weight w at the kink changes the slope of g, all others added.
    static double fall(const O&, const Args& args, const Candidate& b, int receptor, double w, double) {
        double e[n], without[n];
        O::model::direction(args, b.neuron, receptor, e);
        for (int i = 0; i < n; ++i) without[i] = b.after[i] - w * e[i];
        const double slope = O::model::slope(args, b.neuron, 0, b.mode, b.after);
        return slope - O::model::slope(args, b.neuron, 0, b.mode, without);
    }
};

}  // namespace
