// L = 1/T int w(t) l(V(t)) dt, l the generated `pointwise`, by Gauss-Legendre nodes between any two events of the output.
//
// A step is read when it is over: its log tells the order of arrivals and own spikes. dl/dV at the nodes is kept for the way
// back, where lambda_V jumps by it.

namespace {

template <class O, int V, int N>
struct ReadVoltage : NoReader<O> {
    static constexpr int n = O::n, S = O::S, NP = O::NP, L = O::model::dynamic, C = n * (n + 1);
    struct Node {
        double s;
        int64_t step, entry, piece;  // entry: of the log, the first event after it
    };
    List<Node> nodes;
    Intervals smooth;
    Buffer<scalar> y[n], density, kept, own_loss, arrival_loss;  // density: NP numbers a node; kept: y, n NP numbers a piece
    alignas(64) scalar row[n + 1][S], V_now[NP], V_after[NP], slope[NP];
    double total[N], running = 0, rate = 0, reached = 0, share = 0;
    int64_t sample = 0, step = 0, pieces = 0, top = -1;
    size_t place = 0;
    bool scored = false, training = false;

    void begin(O& out, const Args& args, int64_t number) {
        sample = number, share = args.share[sample], scored = has_goal(args, sample), training = args.training;
        smooth.begin(args, sample);
        for (double& v : total) v = 0;
        running = rate = 0, pieces = nodes.count = 0;
        for (auto& b : y) b.reserve(NP);
        for (int k = 0; k < (S == 1 ? 1 : N); ++k)
            for (int i = 0; i < n; ++i) {
                double sum = 0;
                for (int j = 0; j < n; ++j) sum += std::fabs(out.flow[0].A[(k * n + i) * (n + 1) + j]);
                rate = sum > rate ? sum : rate;
            }
    }
    void enter(O&, const Args& args, int64_t k, bool back) {
        step = k;
        if (!back) smooth.enter(args, k);
    }
    void start(O& out) {
        for (int i = 0; i < n; ++i) std::memcpy(y[i], out.x[i], NP * sizeof(scalar));
        reached = 0, place = 0;
    }
    // An arrival, log entry `entry`.
    void arrived(O& out, const Args& args, int receptor, const scalar* weights, double s, int64_t entry) {
        const auto* e = out.flow[0].arrive[receptor];
        advance(out, args, s, entry);
        arrival_loss.reserve(entry + 1);
        arrival_loss[entry] = 0;
        if (moves(e)) {
            voltage(out, s);
            for (int k = 0; k < NP; ++k) V_after[k] = V_now[k] + scalar(e[V * S + O::own(k)]) * weights[k];
            arrival_loss[entry] = moved(args, s);
        }
        double q[O::FRONT];
        for (int k = 0; k < NP; ++k) {
            if (k == 0 || S > 1) horner<O::FRONT, S>(e, out.degree, s, O::own(k), q);
            for (int i = 0; i < n; ++i) y[i].data[k] += scalar(q[i]) * weights[k];
        }
    }
    // The own spike `index`.
    void spiked(O& out, const Args& args, int neuron, int64_t index, double s, int64_t entry) {
        double m[O::RESET], before[n], after[n];
        advance(out, args, s, entry);
        for (int j = 0; j < n; ++j) before[j] = double(out.spikes.record[j + 1][index]);
        O::model::reset(args, neuron, before, after);
        voltage(out, s);
        std::memcpy(V_after, V_now, sizeof V_now);
        V_now[neuron] = scalar(before[V]), V_after[neuron] = scalar(after[V]);
        own_loss.reserve(index + 1);
        own_loss[index] = moved(args, s);
        horner<O::RESET, S>(out.flow[0].spike, out.degree, s, O::own(neuron), m);
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) y[i].data[neuron] += scalar(m[C + i * n + j] * (after[j] - before[j]));
    }
    // V up to s, where log entry `entry` is next.
    void advance(O& out, const Args& args, double s, int64_t entry) {
        for (; place < smooth.all.size(); ++place) {
            const Interval& i = smooth.all[place];
            const double to = s < i.to ? s : i.to;
            if (i.activity != 0 && to > reached) {
                piece(out, args, i, reached, to, entry);
                if (training && L) keep();
            }
            reached = to > reached ? to : reached;
            if (i.to >= s) break;
        }
    }
    void piece(O& out, const Args& args, const Interval& i, double from, double to, int64_t entry) {
        const int count = how_many(out, args, to - from);
        if (count > NODES) {
            piece(out, args, i, from, 0.5 * (from + to), entry);
            return piece(out, args, i, 0.5 * (from + to), to, entry);
        }
        const double *unit = args.gauss + count * (count - 1), *part = unit + count;
        for (int q = 0; q < count; ++q) {
            const double s = from + (to - from) * unit[q], w = smooth.in(args, i, s) * (to - from) * part[q];
            voltage(out, s);
            for (int k = 0; k < N; ++k) total[k] += w * double(V_now[k]);
            if (!scored) continue;
            running += w * double(pointwise(args, V_now, goal(args, s), slope));
            if (!training) continue;
            density.reserve((nodes.count + 1) * NP);
            for (int k = 0; k < NP; ++k) density[nodes.count * NP + k] = scalar(w * share) * slope[k];
            nodes.push() = {s, step, entry, pieces};
        }
    }
    void keep() {
        kept.reserve(++pieces * n * NP);
        for (int i = 0; i < n; ++i) std::memcpy(kept + ((pieces - 1) * n + i) * NP, y[i], NP * sizeof(scalar));
    }
    // Nodes for `h` ms: l(V) is about analytic within pi / |d(score)/dt| of the real axis, and error falls as rho^(-2 nodes).
    int how_many(O& out, const Args& args, double h) {
        double steepest = 0;
        for (int k = 0; k < N; ++k) {
            const double* a = out.flow[0].A + (O::own(k) * n + V) * (n + 1);
            double speed = std::fabs(a[n]);
            for (int j = 0; j < n; ++j) speed += std::fabs(a[j] * double(y[j].data[k]));
            speed *= steepness(args, y[V].data[k]);
            steepest = speed > steepest ? speed : steepest;
        }
        const double z = 6.3 / (2 * h * (rate + steepest)), digits = sizeof(scalar) == 4 ? 7 : 15;
        return 1 + int(0.5 * digits / std::log10(z + std::sqrt(z * z + 1)));
    }
    Goal goal(const Args& args, double s) const {
        const double t = (smooth.start + s) / args.dt;
        const int64_t k = t < double(args.n_steps) ? int64_t(t) : args.n_steps - 1;
        return goal_of(args, sample, k, scalar(t - double(k)));
    }
    // w (l(V_now) - l(V_after)) / B.
    scalar moved(const Args& args, double s) {
        if (!scored) return 0;
        const double before = double(pointwise(args, V_now, goal(args, s), slope));
        return scalar(smooth.at(args, s) * share * (before - double(pointwise(args, V_after, goal(args, s), slope))));
    }
    static bool moves(const typename O::table* e) {
        bool some = false;
        for (int k = 0; k < S; ++k) some |= e[V * S + k] != 0;
        return some;
    }
    // row = row V of a table of P(s), c(s).
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
        row_of<O::RESET>(out.flow[0].spike, out.degree, s);
        for (int k = 0; k < NP; ++k) V_now[k] = row[n][O::own(k)];
        for (int j = 0; j < n; ++j)
            for (int k = 0; k < NP; ++k) V_now[k] += row[j][O::own(k)] * y[j].data[k];
    }
    void finish(O&, const Args&, double* readout, int32_t* valid) {
        for (int k = 0; k < N; ++k) readout[k] = total[k], valid[k] = 0;
    }

    void begin_back(O&, const scalar*) { top = nodes.count - 1; }
    // The nodes of step k behind log entry `entry`.
    void before(O& out, const scalar*, int64_t k, int64_t entry) {
        for (; top >= 0 && nodes[top].step == k && nodes[top].entry > entry; --top) {
            const scalar* d = density + top * NP;
            row_of<O::RESET>(out.flow[0].spike, out.degree, nodes[top].s);
            for (int j = 0; j < n; ++j)
                for (int i = 0; i < NP; ++i) out.mu[j].data[i] += row[j][O::own(i)] * d[i];
            for (int r = 0; r < L; ++r) {
                scalar* g = out.grad[O::model::place[r]];
                row_of<C>(out.flow[0].dspike[r], out.degree, nodes[top].s);
                for (int j = 0; j <= n; ++j)
                    for (int i = 0; i < NP; ++i)
                        g[i] += d[i] * row[j][O::own(i)] * (j < n ? kept[(nodes[top].piece * n + j) * NP + i] : scalar(1));
            }
        }
    }
    scalar kink(const scalar*, int64_t entry) { return arrival_loss[entry]; }
    scalar own_spike(O&, const Args&, const scalar*, int64_t i, int, double, double*) { return own_loss[i]; }
};

}  // namespace
