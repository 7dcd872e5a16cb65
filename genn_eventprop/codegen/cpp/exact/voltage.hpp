// L = 1/T int w(t) l(V(t)) dt, where l is the generated `Loss_p<i>::pointwise`, by Gauss-Legendre quadrature between successive events
// of the output.
//
// A step is read when it is over; its log has the order of arrivals and own spikes. dl/dV at the nodes is kept for the
// backward pass, where lambda_V jumps by it. INTEGRAL: r = 1/T int w V dt of neurons with a refractory period, in the same
// way, with what is kept multiplied by dr. SAMPLES: V at the start of every step of the plan's grid, before the events at
// that time; dr is (n_steps + 1, NP).

namespace {

enum class Of { LOSS, INTEGRAL, SAMPLES };

template <class O, int V, int N, class W, Of What = Of::LOSS>
struct ReadVoltage : NoReader<O>, Trajectory<O> {
    static constexpr bool follows = true;
    static constexpr bool Linear = What == Of::INTEGRAL, Sampled = What == Of::SAMPLES, Scored = What == Of::LOSS;
    using Trajectory<O>::n, Trajectory<O>::S, Trajectory<O>::NP, Trajectory<O>::M, Trajectory<O>::y, Trajectory<O>::mode_of;
    using Trajectory<O>::in;
    static constexpr int L = O::model::dynamic, C = n * (n + 1);
    struct Node {
        double s;
        int64_t step, entry, piece;  // entry: the first log entry after the node
        double from, to;             // of the nodes that belong together
    };
    List<Node> nodes;
    Intervals<W> smooth;
    Buffer<scalar> density, kept, own_loss, arrival_loss;  // density: NP numbers per node; kept: y, n NP numbers per piece
    Buffer<char> kept_mode;                                      // NP numbers per piece
    Buffer<double> samples;                                      // NP numbers per sample
    alignas(64) scalar row[n + 1][S], V_now[NP], V_after[NP], slope[NP];
    double total[N], running = 0, rate = 0, reached = 0, share = 0;
    int64_t sample = 0, step = 0, pieces = 0, top = -1, sampled = 0, until = 0;  // samples of V: the next one, and the first of the next step
    size_t place = 0;
    bool scored = false, training = false;

    void begin(O& out, const Args& args, int64_t number) {
        sample = number, scored = true, training = args.training;
        if constexpr (Scored) scored = W::Loss::has_target(args, sample), share = W::Loss::share(args, sample);
        smooth.begin(args, sample);
        for (double& v : total) v = 0;
        running = rate = 0, pieces = nodes.count = sampled = 0;
        if (Sampled) samples.reserve((args.n_steps + 1) * NP);
        this->rest();
        for (const auto& h : out.held) mode_of[h.neuron] = char(M - 1);
        for (const auto& flow : out.flow)
            for (int i = 0; i < (S == 1 ? 1 : N) * n; ++i) {
                double sum = 0;
                for (int j = 0; j < n; ++j) sum += std::fabs(flow.A[i * (n + 1) + j]);
                rate = sum > rate ? sum : rate;
            }
    }
    void enter(O&, const Args& args, int64_t k, bool back) {
        step = k;
        if (!back) smooth.enter(args, k);
        const int64_t steps = args.n_steps, all = args.exact_steps;
        until = k + 1 < all ? ((k + 1) * steps + all - 1) / all : steps + 1;
    }
    void start(O& out) {
        Trajectory<O>::start(out);
        reached = 0, place = 0;
    }
    // An arrival, log entry `entry`.
    void arrives(O& out, const Args& args, int receptor, const scalar* weights, double s, int64_t entry) {
        const auto* e = out.flow[0].arrive[receptor];
        arrival_loss.reserve(entry + 1);
        arrival_loss[entry] = 0;
        if (moves(e)) {
            voltage(out, s);
            for (int k = 0; k < O::ALL; ++k) V_after[k] = V_now[k] + scalar(e[V * S + O::column_of(k)]) * weights[k];
            arrival_loss[entry] = moved(args, s);
        }
    }
    void spikes(O& out, const Args& args, int neuron, int64_t index, double s, const double* before, const double* after) {
        voltage(out, s);
        std::memcpy(V_after, V_now, sizeof V_now);
        V_now[neuron] = scalar(before[V]), V_after[neuron] = scalar(after[V]);
        own_loss.reserve(index + 1);
        own_loss[index] = moved(args, s);
    }
    // Reads V up to s; `entry` is the next log entry.
    void advance(O& out, const Args& args, double s, int64_t entry) {
        if constexpr (Sampled) return take_samples(out, args, s, entry);
        for (; place < smooth.all.size(); ++place) {
            const Interval& i = smooth.all[place];
            const double to = s < i.to ? s : i.to;
            if (i.activity != 0 && to > reached) {
                piece(out, args, i, reached, to, entry);
                if (training && (L || M > 1)) keep();
            }
            reached = to > reached ? to : reached;
            if (i.to >= s) break;
        }
    }
    // Halved until a part has few enough nodes, without recursion: a device has to know how deep calls are.
    void piece(O& out, const Args& args, const Interval& i, double from, double to, int64_t entry) {
        double ends[64] = {to};
        for (int depth = 1; depth > 0;) {
            const double end = ends[depth - 1];
            const int count = how_many(out, args, end - from);
            if (count > NODES && depth < 64) {
                ends[depth++] = 0.5 * (from + end);
                continue;
            }
            part(out, args, i, from, end, entry, count < NODES ? count : NODES);
            from = end, --depth;
        }
    }
    void part(O& out, const Args& args, const Interval& i, double from, double to, int64_t entry, int count) {
        const double *unit = args.gauss + count * (count - 1), *part = unit + count;
        for (int q = 0; q < count; ++q) {
            const double s = from + (to - from) * unit[q], w = smooth.in(i, s) * (to - from) * part[q];
            voltage(out, s);
            for (int k = 0; k < N; ++k) total[k] += w * double(V_now[k]);
            if (!scored) continue;
            if constexpr (Scored) running += w * double(W::Loss::pointwise(args, V_now, target(args, s), slope));
            if (!training) continue;
            density.reserve((nodes.count + 1) * NP);
            for (int k = 0; k < NP; ++k) density[nodes.count * NP + k] = scalar(w) * (Linear ? scalar(1) : scalar(share) * slope[k]);
            nodes.push() = {s, step, entry, pieces, from, to};
        }
    }
    void take_samples(O& out, const Args& args, double s, int64_t entry) {
        const int64_t steps = args.n_steps, all = args.exact_steps;
        for (; sampled < until; ++sampled) {
            const double at = args.duration * double(sampled * all - step * steps) / (double(steps) * double(all));
            if (at > s + out.together) return;  // what is simultaneous comes after the sample
            voltage(out, at);
            for (int k = 0; k < NP; ++k) samples[sampled * NP + k] = double(V_now[k]);
            if (!training) continue;
            nodes.push() = {at, step, entry, pieces, at, at};
            if (L || M > 1) keep();
        }
    }
    void keep() {
        kept.reserve(++pieces * n * NP);
        kept_mode.reserve(pieces * NP);
        std::memcpy(kept_mode + (pieces - 1) * NP, mode_of, NP);
        for (int i = 0; i < n; ++i) std::memcpy(kept + ((pieces - 1) * n + i) * NP, y[i], NP * sizeof(scalar));
    }
    // Number of nodes for `h` ms. l(V) is roughly analytic, and not much larger, within pi / |d(score)/dt| and pi / |dV/dt| of the
    // real axis, so the error falls as rho^(-2 nodes); w is a polynomial with series_size coefficients in the step. Where `lend`
    // integrates the polynomial through the nodes, twice as many are needed.
    int how_many(O& out, const Args& args, double h) {
        double steepest = 0;
        for (int k = 0; k < N; ++k) {
            double now[n];
            for (int j = 0; j < n; ++j) now[j] = double(y[j].data[k]);
            double speed = out.of(k).speed(0, V, now);
            if constexpr (Scored) speed *= W::Loss::steepness(args, y[V].data[k]);
            steepest = speed > steepest ? speed : steepest;
        }
        return nodes_of(h, rate + steepest, smooth.weight.w.terms, (sizeof(scalar) == 4 ? 7 : 15) * (W::BIRTHS ? 2 : 1));
    }
    auto target(const Args& args, double s) const {
        return W::Loss::target_at(args, sample, smooth.start + s);
    }
    // w (l(V_now) - l(V_after)) / B.
    scalar moved(const Args& args, double s) {
        double change = 0;
        if constexpr (Linear) {
            for (int k = 0; k < N; ++k) change += double(V_now[k]) - double(V_after[k]);
        } else if constexpr (Scored) {
            if (!scored) return 0;
            change = double(W::Loss::pointwise(args, V_now, target(args, s), slope));
            change = share * (change - double(W::Loss::pointwise(args, V_after, target(args, s), slope)));
        }
        return scalar(smooth.at(s) * change);
    }
    static bool moves(const typename O::table* e) {
        bool some = false;
        for (int k = 0; k < S; ++k) some |= e[V * S + k] != 0;
        return some;
    }
    // row = row V of P(s) and c(s), from their table.
    template <int Columns>
    void row_of(const typename O::table* t, int degree, double s) {
        for (int c = 0; c <= n; ++c) {
            const auto* column = t + (V * (n + 1) + c) * S;
            for (int k = 0; k < S; ++k) {
                double v = 0;
                for (int q = degree; q >= 0; --q) v = v * s + double(column[int64_t(q) * Columns * S + k]);
                row[c][k] = scalar(v);
            }
        }
    }
    void voltage(O& out, double s) {
        for (int mode = 0; mode < M; ++mode) {
            row_of<O::RESET>(out.flow[mode].spike, out.degree, s);
            INDEPENDENT
            for (int k = 0; k < NP; ++k) {
                scalar v = row[n][O::column_of(k)];
                for (int j = 0; j < n; ++j) v += row[j][O::column_of(k)] * y[j].data[k];
                V_now[k] = in(mode, mode_of, k) ? v : V_now[k];
            }
        }
    }
    void finish(O&, const Args& args, double* readout) {
        if (Sampled) return (void)std::memcpy(readout, samples.data, size_t((args.n_steps + 1) * NP) * sizeof(double));
        for (int k = 0; k < N; ++k) readout[k] = total[k];
    }
    template <class Archive>
    void cross(Archive& a) {
        a.some(total, N), a.values(running);
    }
    int64_t bytes() const { return (density.size + kept.size + own_loss.size + arrival_loss.size) * int64_t(sizeof(scalar)) + nodes.all.size * int64_t(sizeof(Node)) + kept_mode.size; }

    void begin_back(O&, const scalar*) { top = nodes.count - 1; }
    // Handles the last nodes of step k for which something holds.
    template <class F>
    void handle(O& out, const scalar* dr, int64_t k, const F& holds) {
        for (; top >= 0 && nodes[top].step == k && holds(nodes[top]); --top)
            for (int mode = 0; mode < M; ++mode) pull(out, dr, top, mode);
    }
    // Those after log entry `entry`.
    void before(O& out, const scalar* dr, int64_t k, int64_t entry) {
        handle(out, dr, k, [=](const Node& node) { return node.entry > entry; });
    }
    // Those at s or later.
    void down_to(O& out, const scalar* dr, int64_t k, double s) {
        handle(out, dr, k, [=](const Node& node) { return node.s >= s; });
    }
    // Makes mu that of s, where a spike that was not born would arrive, until `give_back`: of the nodes around s the polynomial
    // through their values is integrated from s on, in Legendre polynomials.
    void lend(O& out, const scalar* dr, int64_t k, double s) {
        handle(out, dr, k, [=](const Node& node) { return node.from >= s; });
        borrowed = top >= 0 && nodes[top].step == k && nodes[top].to > s;
        if (!borrowed) return;
        for (int i = 0; i < n; ++i) {
            lent[i].reserve(NP), held_lent[i].reserve(NP);
            std::memcpy(lent[i], out.mu[i], NP * sizeof(scalar)), std::memcpy(held_lent[i], out.held_mu[i], NP * sizeof(scalar));
        }
        const double from = nodes[top].from, length = nodes[top].to - from, z = 2 * (s - from) / length - 1;
        int64_t first = top;
        while (first > 0 && nodes[first - 1].step == k && nodes[first - 1].from == from) --first;
        for (int64_t i = first; i <= top; ++i) {
            const double at = 2 * (nodes[i].s - from) / length - 1;
            double share = 0.5 * (1 - z), before = 1, now = at, P_before = 1, P = z;  // P_m at the node, and at s
            for (int64_t m = 1; m <= top - first; ++m) {
                const double P_next = ((2 * m + 1) * z * P - m * P_before) / (m + 1), next = ((2 * m + 1) * at * now - m * before) / (m + 1);
                share += 0.5 * now * (P_before - P_next);
                P_before = P, P = P_next, before = now, now = next;
            }
            for (int mode = 0; mode < M; ++mode) pull(out, dr, i, mode, scalar(share), false);
        }
    }
    void give_back(O& out) {
        for (int i = 0; i < n && borrowed; ++i)
            std::memcpy(out.mu[i], lent[i], NP * sizeof(scalar)), std::memcpy(out.held_mu[i], held_lent[i], NP * sizeof(scalar));
    }
    Buffer<scalar> lent[n], held_lent[n];
    bool borrowed = false;
    // Adds `share` of node `number`; learns: to parameters, too.
    void pull(O& out, const scalar* dr, int64_t number, int mode, scalar share = 1, bool learns = true) {
        const Node& node = nodes[number];
        const char* modes = kept_mode + node.piece * NP;
        scalar part[NP];
        const scalar* d = Sampled ? dr + number * NP : density.data + number * NP;
        if (M > 1) {
            for (int i = 0; i < NP; ++i) part[i] = in(mode, modes, i) ? d[i] * (Linear ? dr[i] : scalar(1)) : scalar(0);
            d = part;
        }
        row_of<O::RESET>(out.flow[mode].spike, out.degree, node.s);
        for (int j = 0; j < n; ++j) {
            scalar* mu = mode ? out.held_mu[j] : out.mu[j];
            INDEPENDENT
            for (int i = 0; i < NP; ++i) mu[i] += share * (row[j][O::column_of(i)] * d[i]);
        }
        for (int r = 0; learns && r < L; ++r) {
            scalar* g = out.grad[O::model::place[r]];
            row_of<C>(out.flow[mode].dspike[r], out.degree, node.s);
            for (int j = 0; j <= n; ++j)
                for (int i = 0; i < NP; ++i)
                    g[i] += d[i] * row[j][O::column_of(i)] * (j < n ? kept[(node.piece * n + j) * NP + i] : scalar(1));
        }
    }
    scalar kink(const scalar*, int64_t entry) { return arrival_loss[entry]; }
    scalar own_spike(O&, const Args&, const scalar* dr, int64_t i, int neuron, double, double*) {
        return own_loss[i] * (Linear ? dr[neuron] : scalar(1));
    }
};

}  // namespace
