// The states of a population between the events of a step that is over, by its log: y in x(t_k + s) = P(s) y + c(s). The step's
// events have left their marks in the states that the passes use, all neurons at once; here they come in order of time.

namespace {

template <class O>
struct Trajectory {
    static constexpr int n = O::n, S = O::S, NP = O::NP, M = O::model::modes;
    Buffer<scalar> y[n];
    char mode_of[NP];

    void rest() {
        for (auto& b : y) b.reserve(NP);
        std::memset(mode_of, 0, NP);
    }
    void start(O& out) {
        for (int i = 0; i < n; ++i) std::memcpy(y[i], out.x[i], NP * sizeof(scalar));
    }
    static bool in(int mode, const char* modes, int k) { return M == 1 || modes[k] == mode; }
    void arrive(O& out, int receptor, const scalar* weights, double s) {
        double q[n];
        for (int mode = 0; mode < M; ++mode)
            for (int k = 0; k < O::ALL; ++k) {
                if (k == 0 || S > 1) out.of(k).arrive(mode, receptor, s, q);
                for (int i = 0; i < n; ++i) y[i].data[k] += in(mode, mode_of, k) ? scalar(q[i]) * weights[k] : scalar(0);
            }
    }
    // A neuron goes on from a state in a mode.
    void go_on(O& out, int neuron, int mode, double s, const double* state) {
        double now[n];
        out.of(neuron).at(mode, s).from_state(state, now);
        for (int i = 0; i < n; ++i) y[i].data[neuron] = scalar(now[i]);
        mode_of[neuron] = char(mode);
    }
    // The states before and behind own spike `index`.
    static void around(O& out, const Args& args, int neuron, int64_t index, double* before, double* after) {
        for (int j = 0; j < n; ++j) before[j] = double(out.spikes.record[j + 1][index]);
        O::model::reset(args, neuron, 0, before, after);
    }
    // Of a reader that looks at more than the states, see `Schedule::follow`: right before an arrival, or own spike `index`, changes y.
    void arrives(O&, const Args&, int, const scalar*, double, int64_t) {}
    void spikes(O&, const Args&, int, int64_t, double, const double*, const double*) {}
    // The refractory period of a neuron ends.
    void release(O& out, int neuron, double s) {
        double now[n], state[n];
        for (int i = 0; i < n; ++i) now[i] = double(y[i].data[neuron]);
        out.of(neuron).at(M - 1, s).to_state(now, state);
        go_on(out, neuron, 0, s, state);
    }
};

}  // namespace
