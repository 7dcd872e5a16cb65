// The time weight of an integral within a step, as the sequence of intervals in which w(t) a(t) is smooth. W: the generated
// struct of a loss, `Weight_<population>`.
//
// Intervals end where the window begins and ends, at input spikes if the weight follows the input, and at samples of target
// series.

namespace {

struct Interval {
    double from, to, activity;  // ms from the start of the step; activity: a(t) at the end, 0 outside the window
};

template <class W>
struct Intervals {
    std::vector<Interval> all;
    double start = 0, close = 0;  // start of the step in ms; end of the window within it

    // Reads the input of a sample: a(t) at the start of every step, and the first input spike of the step.
    void begin(const Args& args, int64_t sample) {
        if (!W::DRIVEN) return;
        int64_t i = args.offsets[args.samples[sample]];
        const int64_t to = args.offsets[args.samples[sample] + 1];
        double a = 0, last = 0;
        before_.clear(), first_.clear();
        for (int64_t step = 0; step <= args.exact_steps; ++step) {
            const double t = args.duration * double(step) / double(args.exact_steps);
            for (; i < to && args.times[i] < t; last = args.times[i++])
                a = a * std::exp((last - args.times[i]) * W::rate(args)) + W::jump(args);
            before_.push_back(a * std::exp((last - t) * W::rate(args))), first_.push_back(i);
        }
    }
    void enter(const Args& args, int64_t step) {
        const double delta = args.delta, tiny = 1e-12 * delta;
        start = args.duration * double(step) / double(args.exact_steps);
        const double open = W::opens(args) - start;
        close = W::closes(args) - start < delta - tiny ? W::closes(args) - start : delta;
        cuts_.clear();
        for (double t : {open, close})
            if (t > tiny && t < delta) cuts_.push_back({t, 0.0});
        if constexpr (W::SAMPLED) {
            const double dt = args.duration / double(W::Loss::rows(args) - 1);
            for (int64_t k = int64_t(start / dt); double(k) * dt < start + delta; ++k) cuts_.push_back({double(k) * dt - start, 0.0});
        }
        for (int64_t i = W::DRIVEN ? first_[size_t(step)] : 0; W::DRIVEN && i < first_[size_t(step) + 1]; ++i)
            cuts_.push_back({args.times[i] - start, W::jump(args)});
        if (cuts_.size() > 1) std::sort(cuts_.begin(), cuts_.end());
        cuts_.push_back({delta, 0.0});
        all.clear();
        double at = 0, a = W::DRIVEN ? before_[size_t(step)] : 1.0;
        for (const auto& cut : cuts_) {
            if (cut.first > at) {
                a *= decay(args, cut.first - at);
                all.push_back({at, cut.first, at > open - tiny && at < close - tiny ? a : 0.0});
                at = cut.first;
            }
            a += cut.second;
        }
    }
    // Index of the interval that contains s: the first one that does not end before it.
    int find(double s) const {
        const auto ends = [](const Interval& i, double t) { return i.to < t; };
        return all.size() == 1 ? 0 : int(std::lower_bound(all.begin(), all.end() - 1, s, ends) - all.begin());
    }
    // w a / T at s.
    double at(const Args& args, double s) const { return in(args, all[size_t(find(s))], s); }
    double in(const Args& args, const Interval& i, double s) const {
        return i.activity == 0 ? 0.0 : W::at(start + s, args) * i.activity / decay(args, i.to - s) / args.duration;
    }
    // Coefficients of w a / T in interval p, in powers of the time to its end.
    void series(const Args& args, int64_t step, int p, double* c) const {
        const int used = int(W::size(args));
        const Interval& i = all[size_t(p)];
        for (int q = 0; q <= DEGREE; ++q) c[q] = q < used && i.activity != 0 ? W::series(args)[step * SERIES + q] : 0.0;
        if (!W::DRIVEN && i.to == close) return;
        for (int r = 0; r + 1 < used; ++r)
            for (int q = used - 2; q >= r; --q) c[q] += (close - i.to) * c[q + 1];
        if (!W::DRIVEN) return;
        double power[DEGREE + 1] = {i.activity};
        for (int q = 1; q <= DEGREE; ++q) power[q] = power[q - 1] * W::rate(args) * INVERSE[q];
        for (int q = DEGREE; q >= 0; --q) {
            double v = 0;
            for (int r = 0; r <= q && r < used; ++r) v += c[r] * power[q - r];
            c[q] = v;
        }
    }

  private:
    static double decay(const Args& args, double ms) { return W::DRIVEN ? std::exp(-ms * W::rate(args)) : 1.0; }
    std::vector<double> before_;
    std::vector<int64_t> first_;
    std::vector<std::pair<double, double>> cuts_;  // (end of an interval, jump of a(t) there)
};

}  // namespace
