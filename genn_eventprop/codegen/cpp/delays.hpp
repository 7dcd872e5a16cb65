// Dense weights with a delay for every source (axonal) or for every target (dendritic).

namespace {

// Axonal: sources whose spikes are on their way stand in a row of their own for each of the next steps, filled from its
// end, so that the last one sent is taken first.
struct Arrivals {
    Buffer<int32_t> source, count;
    int64_t live = 0, width = 16;
    const int32_t* taken = nullptr;
    void begin(int64_t ahead) {
        live = ahead + 1;
        count.zero(live);
        source.reserve(live * width);
    }
    // The n sources in `index` spiked at `step`.
    void send(const int32_t* index, int64_t n, int64_t step, const int32_t* delay) {
        const int64_t now = step % live;
        for (int64_t r = 0; r < n; ++r) {
            const int64_t late = now + delay[index[r]], at = late < live ? late : late - live;
            if (count[at] == width) widen();
            source[(at + 1) * width - ++count[at]] = index[r];
        }
    }
    // The sources whose spikes arrive at `step` are `taken`; returns how many.
    int64_t take(int64_t step) {
        const int64_t at = step % live, n = count[at];
        taken = source + (at + 1) * width - n;
        count[at] = 0;
        return n;
    }
    void widen() {
        Buffer<int32_t> wide;
        wide.reserve(2 * live * width);
        for (int64_t at = 0; at < live; ++at)
            std::memcpy(wide + 2 * (at + 1) * width - count[at], source + (at + 1) * width - count[at],
                        size_t(count[at]) * sizeof(int32_t));
        source.trade(wide), width *= 2;
    }
};

// out[r] += row of source index[r] . q at its arrival; rows of q from the first step of the trial on. grad: null, or
// dL/d(axonal delay) of the sources, which is the sum of these numbers.
template <Part P, int N>
inline void dot_axonal(scalar* __restrict out, const scalar* __restrict weight, const int32_t* __restrict index, int64_t n,
                       const scalar* __restrict q, int64_t step, const int32_t* __restrict delay, int64_t n_steps,
                       scalar* __restrict grad) {
    for (int64_t r = 0; r < n; ++r) {
        const int64_t at = step + delay[index[r]];
        if (at >= n_steps) continue;
        scalar caused = 0;
        dot_part<P, N>(&caused, weight, index + r, 1, q + at * N);
        out[r] += caused;
        if (grad) grad[index[r]] += caused;
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

// Dendritic: the rows of N numbers of this step and of the `ahead` steps before it.
template <int N>
struct Window {
    Buffer<scalar> rows;  // 2 * live: the last ones are moved to the front when the end is reached
    int64_t live = 0, at = 0;
    void begin(int64_t ahead) {
        live = ahead + 1, at = ahead - 1;
        rows.zero(2 * live * N);
    }
    // The row of the next step, to be written.
    scalar* next() {
        if (++at == 2 * live) {
            at = live - 1;
            std::memcpy(rows.data, rows.data + (live + 1) * N, size_t(at * N) * sizeof(scalar));
        }
        return now();
    }
    scalar* now() { return rows.data + at * N; }
    void trade(Window& other) { rows.trade(other.rows), std::swap(live, other.live), std::swap(at, other.at); }
};

// out[n] = row[offset[n]].
template <int N>
inline void gather_row(scalar* __restrict out, const scalar* __restrict row, const int32_t* __restrict offset) {
#pragma GCC unroll 4
    for (int n = 0; n < N; n += LANES) store(out + n, gathered(row, load_anywhere<ints>(offset + n)));
}

// sum[n] += row[offset[n]], which is kept in `out` unless that is null.
template <int N>
inline void gather_and_add(scalar* __restrict sum, scalar* __restrict out, const scalar* __restrict row,
                           const int32_t* __restrict offset) {
#pragma GCC unroll 4
    for (int n = 0; n < N; n += LANES) {
        const vec x = gathered(row, load_anywhere<ints>(offset + n));
        store(sum + n, load(sum + n) + x);
        if (out) store(out + n, x);
    }
}

// out[r] += row index[r] . q, r < n; grad[0:N] += the sum of these rows times q, number by number: the rows are of weights,
// q is D of every target at the arrival, grad dL/d(dendritic delay).
template <Part P, int N>
inline void dot_dendritic(scalar* __restrict out, scalar* __restrict grad, const scalar* __restrict base,
                          const int32_t* __restrict index, int64_t n, const scalar* __restrict q) {
    constexpr int V = N / LANES, U = V < UNROLL ? V : UNROLL;
    auto block = [&](int v, int u_end) {
        vec sum[U] = {};
        for (int64_t r = 0; r < n; ++r) {
            const scalar* row = base + int64_t(index[r]) * N + v * LANES;
            vec s[4] = {};
#pragma GCC unroll 16
            for (int u = 0; u < U; ++u) {
                if (u >= u_end) break;
                const vec w = part_of<P>(load(row + u * LANES));
                s[u % 4] += w * load(q + (v + u) * LANES);
                sum[u] += w;
            }
            out[r] += lane_sum((s[0] + s[1]) + (s[2] + s[3]));
        }
#pragma GCC unroll 16
        for (int u = 0; u < U; ++u) {
            if (u >= u_end) break;
            scalar* const g = grad + (v + u) * LANES;
            store(g, load(g) + sum[u] * load(q + (v + u) * LANES));
        }
    };
    int v = 0;
    for (; v + U <= V; v += U) block(v, U);
    if (v < V) block(v, V - v);
}

// dL/dw of source m += the rows of `along` at its spikes, every number read at its arrival; spikes: by their own steps. A
// block of targets after the other, whose rows stay in the caches.
template <int N>
inline void gather_dendritic(scalar* __restrict grad, const scalar* __restrict along, Buffer<scalar>& space,
                             const int32_t* __restrict delay, BySource& spikes, int64_t sources, int64_t n_steps,
                             int64_t ahead) {
    constexpr int B = N % 32 ? 16 : 32, V = B / LANES;
    space.reserve((2 * n_steps + ahead) * B);
    scalar *const __restrict rows = space, *const __restrict shifted = rows + (n_steps + ahead) * B;
    std::memset(rows + n_steps * B, 0, size_t(ahead * B) * sizeof(scalar));  // where late arrivals look
    for (int n = 0; n < N; n += B) {
        alignas(64) int32_t offset[B];
        for (int i = 0; i < B; ++i) offset[i] = delay[n + i] * B + i;
        for (int64_t t = -ahead; t < n_steps; ++t) {
            if (const int64_t last = t + ahead; last < n_steps)
                for (int v = 0; v < V; ++v) store(rows + last * B + v * LANES, load(along + last * N + n + v * LANES));
            if (t < 0) continue;
            for (int v = 0; v < B; v += LANES)
                store(shifted + t * B + v, gathered(rows + t * B, load_anywhere<ints>(offset + v)));
        }
        for (int64_t m = 0; m < sources; ++m) {
            const int64_t from = spikes.begin[m], count = spikes.begin[m + 1] - from;
            alignas(64) scalar sum[B];
            add_rows<B, true>(sum, shifted, spikes.steps.data + from, count);
            add_row<B>(grad + m * N + n, sum);
        }
    }
}

// grad[0:N] += what arrived times D, of one step.
template <int N>
inline void add_products(scalar* __restrict grad, const scalar* __restrict arrived, const scalar* __restrict D) {
    for (int n = 0; n < N; n += LANES) store(grad + n, load(grad + n) + load(arrived + n) * load(D + n));
}

}  // namespace
