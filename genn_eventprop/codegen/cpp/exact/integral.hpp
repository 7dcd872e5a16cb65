// r = 1/T int w V dt. In each interval w is a power series, and so is u(s) = int_s^delta w(t) P_V(t - s) dt / T, in the time
// to the end of the interval. Then r = u(0) . x_start + the sum of u . jump over all events of the step.

namespace {

template <class O, int V, int N, class W>
struct ReadIntegral : NoReader<O> {
    static constexpr bool adds = true;
    static constexpr int n = O::n, S = O::S, L = O::model::dynamic, WIDTH = (DEGREE + 1) * (n + 1) * S;
    double total[O::NP];
    int degree = 0;
    Intervals<W> smooth;
    Buffer<double> u, du[L + 1];  // u: WIDTH numbers per interval
    Buffer<scalar> direct, feed, changed[L + 1];
    void begin(O&, const Args& args, int64_t sample) {
        smooth.begin(args, sample);
        direct.zero(S), feed.zero(S);
        for (int r = 0; r < L; ++r) changed[r].zero(S);
        for (double& v : total) v = 0;
    }
    void enter(O& out, const Args& args, int64_t step, bool training) {
        smooth.enter(args, step);
        const int parts = int(smooth.all.size()), sum = out.degree + int(smooth.weight.w.terms);
        degree = sum < DEGREE ? sum : DEGREE;
        u.reserve(parts * WIDTH);
        for (int r = 0; r < L; ++r) du[r].reserve(parts * WIDTH);
        for (int p = parts - 1; p >= 0; --p) {
            double w[DEGREE + 1];
            smooth.series(args, step, p, w);
            for (int k = 0; k < (S == 1 ? 1 : N); ++k) go_back(out, p, w, k, training);
        }
    }
    // Solves du/dv = A^T u + w e_V from u = 0 at the end of the step, with derivatives by learned parameters.
    void go_back(O& out, int p, const double* w, int k, bool training) {
        const double* now = u + int64_t(p) * WIDTH;
        follow(out, u, p, k, [&](int q, int j) { return j == V ? w[q] : 0.0; });
        for (int r = 0; training && r < L; ++r)
            follow(out, du[r], p, k, [&](int q, int j) {
                double v = 0;
                for (int i = 0; i < n; ++i)
                    v += double(out.flow[0].dspike[r][(n * (n + 1) + i * (n + 1) + j) * S + k]) * now[(q * (n + 1) + i) * S + k];
                return v;
            });
    }
    // dz/dv = A^T z + source(q, j), its coefficients, in interval p, from what the next one begins with.
    template <class F>
    void follow(O& out, Buffer<double>& table, int p, int k, const F& source) {
        const double* a = out.flow[0].A + k * n * (n + 1);
        double next[n + 1] = {}, *z = table + int64_t(p) * WIDTH;
        if (p + 1 < int(smooth.all.size())) look(table, p + 1, smooth.all[size_t(p)].to, k, next);
        for (int j = 0; j <= n; ++j) z[j * S + k] = next[j];
        for (int q = 0; q < degree; ++q)
            for (int j = 0; j <= n; ++j) {
                double v = source(q, j);
                for (int i = 0; i < n; ++i) v += a[i * (n + 1) + j] * z[(q * (n + 1) + i) * S + k];
                z[((q + 1) * (n + 1) + j) * S + k] = v * INVERSE[q + 1];
            }
    }
    // Evaluates u or du (n + 1 numbers) of a neuron at s, in interval p.
    void look(const Buffer<double>& table, int p, double s, int k, double* f) const {
        horner<n + 1, S>(table.data, int64_t(p) * WIDTH + O::column_of(k), degree, smooth.all[size_t(p)].to - s, f);
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
    // Of a column of a table at s = 0, e, -A e or de, its product with u or du.
    static double product(const typename O::table* t, const double* f, int k) {
        double v = 0;
        for (int i = 0; i < n; ++i) v += double(t[i * S + O::column_of(k)]) * f[i];
        return v;
    }
    void absorb(O& out, const typename O::Incoming* a, int64_t count, int64_t) {
        double f[n + 1];
        for (int64_t j = 0; j < count; ++j) {
            const auto* e = out.flow[0].arrive[a[j].receptor];
            const scalar* row = a[j].row;
            if constexpr (S == 1) {
                look(u, a[j].s, 0, f);
                const double by = product(e, f, 0);
                INDEPENDENT
                for (int k = 0; k < O::ALL; ++k) total[k] += by * double(row[k]);
            } else {
                for (int k = 0; k < N; ++k) look(u, a[j].s, k, f), total[k] += product(e, f, k) * double(row[k]);
            }
        }
    }
    void jump(O&, int neuron, double s, const double* before, const double* after) {
        double f[n + 1];
        look(u, s, neuron, f);
        for (int i = 0; i < n; ++i) total[neuron] += f[i] * (after[i] - before[i]);
    }
    void finish(O&, const Args&, double* readout) {
        for (int k = 0; k < N; ++k) readout[k] = total[k];
    }
    template <class Archive>
    void cross(Archive& a) {
        a.some(total, O::NP);
    }
    void at(O& out, int receptor, double s) {
        const auto *direction = out.flow[0].arrive[receptor], *drive = out.flow[0].back[receptor] + n * S;
        double f[n + 1];
        for (int k = 0; k < (S == 1 ? 1 : N); ++k) {
            const double moves = double(direction[V * S + k]);  // V itself: l(x-) - l(x+)
            look(u, s, k, f);
            direct[k] = scalar(product(direction, f, k)), feed[k] = scalar(product(drive, f, k));
            if (moves != 0) feed[k] -= scalar(moves * smooth.at(s));
            for (int r = 0; r < L; ++r) look(du[r], s, k, f), changed[r][k] = scalar(product(direction, f, k));
        }
    }
    scalar direction(int k) const { return direct.data[O::column_of(k)]; }
    scalar feedback(int k) const { return feed.data[O::column_of(k)]; }
    scalar change(int r, int k) const { return changed[r].data[O::column_of(k)]; }
    // Returns l(x-) - l(x+). extra: what the reader adds to lambda.
    scalar own_spike(O& out, const Args& args, const scalar* dr, int64_t i, int neuron, double s, double* extra) {
        double f[n + 1], before[n], after[n];
        look(u, s, neuron, f);
        for (int j = 0; j < n; ++j) extra[j] = double(dr[neuron]) * f[j], before[j] = double(out.spikes.record[j + 1][i]);
        if constexpr (O::model::spiking) O::model::reset(args, neuron, 0, before, after);
        for (int r = 0; r < L; ++r) {
            look(du[r], s, neuron, f);
            for (int j = 0; j < n; ++j)
                out.grad[O::model::place[r]].data[neuron] += dr[neuron] * scalar(f[j] * (after[j] - before[j]));
        }
        return dr[neuron] * scalar(smooth.at(s) * (before[V] - after[V]));
    }
    void add_to(O&, const scalar* dr, double s, scalar* rows) {
        double f[n + 1];
        for (int k = 0; k < N; ++k) {
            if (k == 0 || S > 1) look(u, s, k, f);
            for (int j = 0; j < n; ++j) rows[j * O::NP + k] += dr[k] * scalar(f[j]);
        }
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
                for (int j = 0; j < n; ++j)
                    if (!O::model::anew[j]) v += f[j] * double(x[j * O::NP + k]);
                out.grad[O::model::place[r]].data[k] += dr[k] * scalar(v);
            }
    }
};

}  // namespace
