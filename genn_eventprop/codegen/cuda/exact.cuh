// Exact spike times: numbers of a step from tables of powers of the offset s inside it, see plan/series.py.

// Of an integral of V: out = (u(s), w(s) / T) in a step, where u(s) = int_s^delta w P_V / T dt. A step has two pieces, before
// its window opens and inside of it, each a series in the time to its end.
template <int C, class Table, class Edges>
__device__ inline void integrated(const Table &table, const Edges &edges, int64_t step, double s, double *out) {
    const double open = edges[2 * step], close = edges[2 * step + 1];
    const int inside = s >= open;
    if (s > close)
        for (int c = 0; c < C; ++c) out[c] = 0;
    else
        horner<C>(table, (2 * step + inside) * (DEGREE + 1) * C, DEGREE, (inside ? close : open) - s, out);
}

// Offset of an arrival in the step that begins at t_k; one that rounding has put before it comes first.
__device__ inline double offset_of(double sent, double delay, double t_k) {
    const double after = sent + delay - t_k;
    return after > 0 ? after : 0.0;
}

// How many of the spikes [from, to) arrive before s, or at s too.
template <class Times>
__device__ inline int64_t earlier(const Times &sent, int64_t from, int64_t to, double delay, double t_k, double s, bool too) {
    int64_t a = from, b = to;
    while (a < b) {
        const int64_t middle = a + (b - a) / 2;
        const double at = offset_of(sent[middle], delay, t_k);
        if (at < s || (too && at == s)) a = middle + 1;
        else b = middle;
    }
    return a - from;
}

// How many Gauss nodes integrate something over h ms: it is analytic, and not much larger, within pi / rate of the real axis, so
// that the error falls as rho^(-2 nodes). terms: coefficients of the polynomial that it is multiplied with.
__device__ inline int nodes_of(double h, double rate, int64_t terms) {
    const double z = 3.15 / (h * rate), digits = sizeof(real) == 4 ? 7 : 15;
    return 1 + (int)(0.5 * digits / (0.4342944819032518 * log(z + sqrt(z * z + 1))) + 0.5 * (double)(terms - 1));
}

// The first of the spikes [from, to) later than `after`.
template <class Times> __device__ inline int64_t first_later(const Times &times, int64_t from, int64_t to, double after) {
    while (from < to) {
        const int64_t middle = from + (to - from) / 2;
        if (times[middle] > after) to = middle;
        else from = middle + 1;
    }
    return from;
}

// The synapse of a route at a neuron, whose targets are in order; -1 if there is none.
template <class First, class Target>
__device__ inline int32_t synapse_at(const First &first, const Target &target, int32_t route, int32_t neuron) {
    int32_t from = first[route], to = first[route + 1];
    while (from < to) {
        const int32_t middle = from + (to - from) / 2;
        if (target[middle] < neuron) from = middle + 1;
        else to = middle;
    }
    return from < first[route + 1] && target[from] == neuron ? from : -1;
}
template <class Place, class Weight> __device__ inline real weight_at(int32_t synapse, const Place &place, const Weight &weight) {
    return synapse < 0 ? (real)0 : weight[place[synapse]];
}
