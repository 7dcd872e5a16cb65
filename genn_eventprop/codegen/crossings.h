// The first crossing of zero of a polynomial in the offset inside a step; `cuda` compiles this text too.

namespace {

FUNCTION double value_of(const double *c, int m, double s) {
    double v = c[m];
    for (int q = m - 1; q >= 0; --q) v = v * s + c[q];
    return v;
}

FUNCTION double slope_of(const double *c, int m, double s) {
    double v = m * c[m];
    for (int q = m - 1; q >= 1; --q) v = v * s + q * c[q];
    return v;
}

// The root in [a, b] of a polynomial that rises through zero exactly once there.
FUNCTION double polished(const double *c, int m, double a, double b, double g_a, double g_b, double curve) {
    double s = a - g_a * (b - a) / (g_b - g_a);
    for (int k = 0; k < 60; ++k) {
        double g = c[m], d = 0;
        for (int q = m - 1; q >= 0; --q) d = d * s + g, g = g * s + c[q];
        (g < 0 ? a : b) = s;
        double next = s - g / d;
        if (next >= a && next <= b) {
            const double moved = next - s;
            if (curve * moved * moved <= TIME_ROUNDING * d || next == s) return next;
        } else {
            next = 0.5 * (a + b);
            if (next <= a || next >= b) return next;
        }
        s = next;
    }
    return s;
}

// Smallest s in [a, b] where the polynomial c of degree m crosses zero from below, -1 if there is none. curve: bound on |c''|.
// Intervals are bisected until the bound shows that c stays below zero or rises through it exactly once.
OUT_OF_LINE double first_crossing(const double *c, int m, double a, double b, double curve) {
    double ends[64], left = a, right = b, g_left = value_of(c, m, a), s_left = slope_of(c, m, a);
    if (g_left >= 0) return a;
    int depth = 0;
    for (;;) {
        const double h = right - left, g_right = value_of(c, m, right), s_right = slope_of(c, m, right);
        const bool tiny = h <= 1e-15 * b || depth == 63;
        if (g_right < 0) {
            const double bend = 0.5 * curve * h * h;
            const double up = fmax(g_left, g_left + s_left * h + bend), down = fmax(g_right, g_right - s_right * h + bend);
            if (fmin(up, down) < 0 || tiny) {
                if (depth == 0) return -1;
                left = right, g_left = g_right, s_left = s_right, right = ends[--depth];
                continue;
            }
        } else if (s_left > curve * h || s_right > curve * h || tiny) {
            return polished(c, m, left, right, g_left, g_right, curve);
        }
        ends[depth++] = right;
        right = left + 0.5 * h;
    }
}

// From when a neuron whose reset has left it above the threshold may cross it again; -1 if not before `until`.
FUNCTION double armed_from(double *c, int m, double from, double until, double curve, double tiny) {
    if (value_of(c, m, from) < 0) return from;
    for (int q = 0; q <= m; ++q) c[q] = -c[q];
    const double s = first_crossing(c, m, from, until, curve);
    for (int q = 0; q <= m; ++q) c[q] = -c[q];
    if (s < 0) return -1;
    for (from = s; from < until && value_of(c, m, from) >= 0; tiny *= 2) from += tiny;
    return from < until ? from : -1;
}

// Bound on |c''| in [0, s].
FUNCTION double bend_of(const double *c, int m, double s) {
    double curve = 0;
    for (int j = m; j >= 2; --j) curve = curve * s + j * (j - 1) * fabs(c[j]);
    return curve;
}

}  // namespace
