// Spikes that are about to be born, what trials by closed forms and by Taylor series share; docs/spike_birth.md has the mathematics.

namespace {

// Kinds of entries in a log, beside those of events: the candidate `index` of the i-th spiking population is BIRTH - i, and an
// arrival of its spike through connection c is UNBORN + c.
constexpr int BIRTH = -2000000, UNBORN = 1000000;

// The hazard of a threshold with noise of this width at a maximum g below it, see adjoint/birth.py.
inline double hazard_of(double g, double width) {
    const double u = -g / width;
    return std::sqrt(2 / 3.14159265358979323846) * std::exp(-0.5 * u * u) / (width * std::erfc(-u * std::sqrt(0.5)));
}

// Calls found(s) for every stationary maximum in (from, to) of a polynomial of degree m with the derivative `slope`, in order of time.
template <class F>
inline void each_maximum(const double* slope, int m, double from, double to, const F& found) {
    double falling[DEGREE + 2], rising[DEGREE + 2];
    for (int j = 0; j < m; ++j) rising[j] = slope[j], falling[j] = -slope[j];
    const double curve = bend_of(slope, m - 1, to);
    bool up = value_of(slope, m - 1, from) > 0;
    for (double s = from; s < to; up = !up) {
        const double* next = up ? falling : rising;
        s = first_crossing(next, m - 1, s, to, curve);
        if (s < 0) return;
        if (up && s > from) found(s);
        // onwards from where the slope has changed its sign for certain
        for (double tiny = 1e-15 * to; s < to && value_of(next, m - 1, s) <= 0; tiny *= 2) s += tiny;
    }
}

}  // namespace
