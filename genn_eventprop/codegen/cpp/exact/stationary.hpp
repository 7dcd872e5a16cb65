// Where polynomials have their maxima.

namespace {

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
