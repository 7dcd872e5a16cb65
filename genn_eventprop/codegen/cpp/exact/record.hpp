// Copies of all states of a population and of their adjoints at times that the host asks for, behind what happens before such a
// time and ahead of what happens at it. Row `r` is (2 n, NP): the n states, then their adjoints.

namespace {

template <class O>
struct Recorder : Trajectory<O> {
    typedef Trajectory<O> Base;
    using Base::n, Base::S, Base::NP, Base::M, Base::y, Base::mode_of, Base::in;
    scalar* rows = nullptr;
    const double* times = nullptr;
    int64_t count = 0, next = 0;  // next: the first row that the pass forwards, or the last that the one backwards, has not filled
    double start_of_step = 0, s = 0, rounding = 0;  // of times: t - t_k of an event may differ from its s

    void begin(const Args& args, scalar* all, int64_t sample, bool back) {
        rows = all + sample * args.recorded * 2 * n * NP, times = args.record_times, count = args.recorded;
        next = back ? count - 1 : 0, rounding = 0x1p-46 * args.duration;
        if (!back) this->rest();
    }
    void enter(const Args& args, int64_t step) { start_of_step = args.duration * double(step) / double(args.exact_steps); }
    scalar* row(int i) { return rows + (next * 2 * n + i) * NP; }

    // Forwards, when a step is over: the rows of all times up to `to` within it.
    void advance(O& out, const Args&, double to, int64_t) {
        for (; next < count && times[next] - start_of_step <= to + rounding; ++next) states(out, times[next] - start_of_step);
    }
    void states(O& out, double at) {
        Propagator<n> m;
        double now[n], state[n];
        for (int mode = 0; mode < M; ++mode)
            for (int k = 0; k < NP; ++k) {
                if (k == 0 || S > 1) m = out.of(k).at(mode, at);
                if (!in(mode, mode_of, k)) continue;
                for (int i = 0; i < n; ++i) now[i] = double(y[i].data[k]);
                m.to_state(now, state);
                for (int i = 0; i < n; ++i) row(i)[k] = scalar(state[i]);
            }
    }

    // Backwards: whether there is another time `s` within the step behind `after`.
    bool behind(double after) {
        if (next < 0) return false;
        s = times[next] - start_of_step;
        return s > after + rounding && s >= 0;
    }
    // lambda = P(-s)^T mu at `s`; in every mode, since mu of the mode that a neuron is not in is zero.
    void adjoints(O& out) {
        Propagator<n> m;
        double now[n], lambda[n];
        for (int i = 0; i < n; ++i) std::memset(row(n + i), 0, NP * sizeof(scalar));
        for (int mode = 0; mode < M; ++mode) {
            const Buffer<scalar>* mu = mode ? out.held_mu : out.mu;
            for (int k = 0; k < NP; ++k) {
                if (k == 0 || S > 1) m = out.of(k).at(mode, s);
                for (int i = 0; i < n; ++i) now[i] = double(mu[i].data[k]);
                m.to_lambda(now, lambda);
                for (int i = 0; i < n; ++i) row(n + i)[k] += scalar(lambda[i]);
            }
        }
    }
};

}  // namespace
