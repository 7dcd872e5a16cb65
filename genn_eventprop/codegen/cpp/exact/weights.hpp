// The time weight of an integral within a step, as the sequence of intervals in which it is smooth.

namespace {

struct Interval {
    double from, to, activity;  // ms from the start of the step; activity: a(t) at the end, 0 outside the window
};

template <class W>
struct Intervals {
    std::vector<Interval> all;
    Weighing<W> weight;
    double start = 0, close = 0;  // start of the step in ms; end of the window within it

    void begin(const Args& args, int64_t sample) { weight.begin(args, sample); }
    void enter(const Args& args, int64_t step) {
        start = start_of(step, args.exact_steps, args.duration), close = weight.w.closes - start;
        close = close < args.delta - weight.w.tiny ? close : args.delta;
        all.clear();
        for (double at = 0, to; at < args.delta; at = to) {
            double activity = weight.open(start + at);
            to = weight.smooth(start, at, args.delta);
            if constexpr (W::driven) activity *= weight.level(weight.later(start, at, false), start + to);
            all.push_back({at, to, activity});
        }
    }
    // Index of the interval that contains s: the first one that does not end before it.
    int find(double s) const {
        const auto ends = [](const Interval& i, double t) { return i.to < t; };
        return all.size() == 1 ? 0 : int(std::lower_bound(all.begin(), all.end() - 1, s, ends) - all.begin());
    }
    // w a / T at s.
    double at(double s) const { return in(all[size_t(find(s))], s); }
    double in(const Interval& i, double s) const {
        return i.activity == 0 ? 0.0 : W::w(start + s, weight.w.T) * i.activity / decay(i.to - s) / weight.w.T;
    }
    // Coefficients of w a / T in interval p, in powers of the time to its end.
    void series(const Args& args, int64_t step, int p, double* c) const {
        const int used = int(weight.w.terms);
        const Interval& i = all[size_t(p)];
        for (int q = 0; q <= DEGREE; ++q) c[q] = q < used && i.activity != 0 ? W::series(args)[(step - Span::first(args)) * SERIES + q] : 0.0;
        if (!W::driven && i.to == close) return;
        for (int r = 0; r + 1 < used; ++r)
            for (int q = used - 2; q >= r; --q) c[q] += (close - i.to) * c[q + 1];
        if constexpr (W::driven) {
            double power[DEGREE + 1] = {i.activity};
            for (int q = 1; q <= DEGREE; ++q) power[q] = power[q - 1] * weight.w.rate * INVERSE[q];
            for (int q = DEGREE; q >= 0; --q) {
                double v = 0;
                for (int r = 0; r <= q && r < used; ++r) v += c[r] * power[q - r];
                c[q] = v;
            }
        }
    }
    double decay(double ms) const {
        if constexpr (W::driven) return std::exp(-ms * weight.w.rate);
        return 1.0;
    }
};

}  // namespace
