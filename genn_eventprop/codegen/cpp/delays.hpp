// Dense weights with a delay for every source (axonal) or for every target (dendritic).

namespace {

// Axonal: spikes are kept in a list for each step until they arrive; the last one sent is taken first.
struct Arrivals {
    Buffer<int32_t> head, next, source, taken;
    int64_t sent = 0;
    void begin(int64_t n_steps) {
        head.reserve(n_steps);
        for (int64_t t = 0; t < n_steps; ++t) head[t] = -1;
        sent = 0;
    }
    // The n sources in `index` spiked at `step`.
    void send(const int32_t* index, int64_t n, int64_t step, const int32_t* delay, int64_t n_steps) {
        next.reserve(sent + n), source.reserve(sent + n);
        for (int64_t r = 0; r < n; ++r) {
            const int64_t at = step + delay[index[r]];
            if (at >= n_steps) continue;
            source[sent] = index[r], next[sent] = head[at];
            head[at] = int32_t(sent++);
        }
    }
    // The sources whose spikes arrive at `step` go to `taken`; returns how many.
    int64_t take(int64_t step) {
        int64_t n = 0;
        for (int32_t i = head[step]; i >= 0; i = next[i]) {
            taken.reserve(n + 1);
            taken[n++] = source[i];
        }
        return n;
    }
};

// out[r] += row of source index[r] . q at its arrival; rows of q from the first step of the trial on.
template <Part P, int N>
inline void dot_axonal(scalar* __restrict out, const scalar* __restrict weight, const int32_t* __restrict index, int64_t n,
                       const scalar* __restrict q, int64_t step, const int32_t* __restrict delay, int64_t n_steps) {
    for (int64_t r = 0; r < n; ++r) {
        const int64_t at = step + delay[index[r]];
        if (at < n_steps) dot_part<P, N>(out + r, weight, index + r, 1, q + at * N);
    }
}

// Turns steps of spikes into steps of arrivals, and forgets those that never arrive.
inline void delay_by_source(BySource& by, const int32_t* delay, int64_t sources, int64_t n_steps) {
    int32_t kept = 0, from = by.begin[0];
    for (int64_t m = 0; m < sources; ++m) {
        const int32_t end = by.begin[m + 1];
        by.begin[m] = kept;
        for (int32_t k = from; k < end; ++k)
            if (const int64_t at = int64_t(by.steps[k]) + delay[m]; at < n_steps) by.steps[kept++] = int32_t(at);
        from = end;
    }
    by.begin[sources] = kept;
}

// dL/d(axonal delay) of source m += its weights . the sum of the rows of D at its arrivals.
template <Part P, int N>
inline void gather_axonal(scalar* __restrict grad, const scalar* __restrict weight, const scalar* __restrict D, BySource& by,
                          int64_t sources) {
    alignas(64) scalar sum[N];
    for (int32_t m = 0; m < sources; ++m) {
        const int64_t from = by.begin[m], n = by.begin[m + 1] - from;
        if (!n) continue;
        add_rows<N, true>(sum, D, by.steps.data + from, n);
        dot_part<P, N>(grad + m, weight, &m, 1, sum);
    }
}

// Dendritic: out[n] = now[offset[n]].
template <int N>
inline void gather_row(scalar* __restrict out, const scalar* __restrict now, const int32_t* __restrict offset) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) out[n] = now[offset[n]];
}

// dL/d(dendritic delay) += what arrived at a step times D there, summed over the steps.
template <int N>
inline void gather_dendritic(scalar* __restrict grad, const scalar* __restrict arrived, const scalar* __restrict D,
                             int64_t n_steps) {
    for (int n = 0; n < N; n += LANES) {
        vec s = {};
        for (int64_t t = 0; t < n_steps; ++t) s += load(arrived + t * N + n) * load(D + t * N + n);
        store(grad + n, load(grad + n) + s);
    }
}

}  // namespace
