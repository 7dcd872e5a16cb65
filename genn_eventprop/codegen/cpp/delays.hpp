// Dense weights with a delay for every source (axonal) or for every target (dendritic).

namespace {

// Axonal: sources whose spikes are on their way stand in a row of their own for each of the next steps, filled from its
// end, so that the last one sent is read first.
struct Arrivals {
    Buffer<int32_t> source, count;
    int64_t live = 0, width = 16;
    const int32_t* due = nullptr;
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
    // The sources whose spikes arrive at `step` are `due`; returns how many.
    int64_t take(int64_t step) {
        const int64_t at = step % live, n = count[at];
        due = source + (at + 1) * width - n;
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
        gather_dots<P, N>(&caused, weight, index + r, 1, q + at * N);
        out[r] += caused;
        if (grad) grad[index[r]] += caused;
    }
}

// Turns steps of spikes into steps of arrivals, and forgets those that never arrive.
inline void delay_by_source(BySource& by, const int32_t* delay, int64_t sources, int64_t n_steps) {
    int32_t arrivals = 0, from = by.begin[0];
    for (int64_t m = 0; m < sources; ++m) {
        const int32_t end = by.begin[m + 1];
        by.begin[m] = arrivals;
        for (int32_t k = from; k < end; ++k)
            if (const int64_t at = int64_t(by.steps[k]) + delay[m]; at < n_steps) by.steps[arrivals++] = int32_t(at);
        from = end;
    }
    by.begin[sources] = arrivals;
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
        gather_dots<P, N>(grad + m, weight, &m, 1, sum);
    }
}

// Dendritic: the rows of N numbers of this step and of the `ahead` steps before it, in a ring.
template <int N>
struct Window {
    Buffer<scalar> rows;
    int64_t size = 0, at = 0;  // in numbers; where the row of this step is
    void begin(int64_t ahead) {
        size = (ahead + 1) * N, at = 0;
        rows.zero(size);
    }
    // The row of the next step, to be written.
    scalar* next() { return at = at + N < size ? at + N : 0, now(); }
    scalar* now() { return rows.data + at; }
    // The same, of zeros.
    scalar* empty() { return static_cast<scalar*>(std::memset(next(), 0, N * sizeof(scalar))); }
    // Numbers that are `offset` behind the beginning of this step's row, or before it.
    vec seen(const int32_t* offset) const {
        const ints place = load_anywhere<ints>(offset) + int32_t(at);
        return gathered(rows.data, place + (place >> 31 & int32_t(size)));
    }
    void trade(Window& other) { rows.trade(other.rows), std::swap(size, other.size), std::swap(at, other.at); }
};

// out[n] = row[offset[n]].
template <int N>
inline void gather_row(scalar* __restrict out, const scalar* __restrict row, const int32_t* __restrict offset) {
#pragma GCC unroll 4
    for (int n = 0; n < N; n += LANES) store(out + n, gathered(row, load_anywhere<ints>(offset + n)));
}
template <int N>
inline void gather_row(scalar* __restrict out, const Window<N>& window, const int32_t* __restrict offset) {
#pragma GCC unroll 4
    for (int n = 0; n < N; n += LANES) store(out + n, window.seen(offset + n));
}

// sum[n] += what the window has at offset[n], which is written to `out` too unless that is null.
template <int N>
inline void gather_and_add(scalar* __restrict sum, scalar* __restrict out, const Window<N>& window,
                           const int32_t* __restrict offset) {
#pragma GCC unroll 4
    for (int n = 0; n < N; n += LANES) {
        const vec x = window.seen(offset + n);
        store(sum + n, load(sum + n) + x);
        if (out) store(out + n, x);
    }
}

// grad[place[n]] += sum[n].
template <int N>
inline void add_to_places(scalar* grad, const scalar* sum, const int32_t* place) {
    for (int n = 0; n < N; ++n) grad[place[n]] += sum[n];
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

// The lanes of y where the mask is set, of x elsewhere.
typedef decltype(vec{} < vec{}) Mask;
inline vec chosen(Mask m, vec y, vec x) { return vec((Mask(y) & m) | (Mask(x) & ~m)); }

constexpr int CHUNK = 8;  // steps; see Memory.count in grid/memory.py

// Numbers of LANES targets in `count` rows, a multiple of CHUNK, each moved by its delay: out[t] = in[t - delay], zero
// before the first. A delay is a sum of powers of 2: all targets go through the same chain of waits of 1, 2, 4, ... steps, and
// each takes part in those of its delay. The first three waits are in registers, the others in `waiting`.
inline void shift_by_delay(scalar* __restrict out, int64_t out_stride, const scalar* __restrict in, int64_t in_stride,
                           const int32_t* delay, int64_t count, int64_t ahead, Buffer<scalar>& waiting) {
    int stages = 3;
    while ((int64_t(1) << stages) <= ahead) ++stages;
    waiting.zero(LANES << stages);
    const ints steps = load_anywhere<ints>(delay);
    auto waits = [&](int stage) { return __builtin_convertvector(-(steps >> stage & 1), Mask); };
    const Mask one = waits(0), two = waits(1), four = waits(2);
    vec last[CHUNK - 1] = {};  // of each stage
    for (int64_t t = 0; t < count; t += CHUNK) {
        vec x[CHUNK];
#pragma GCC unroll 8
        for (int u = 0; u < CHUNK; ++u) {
            x[u] = load(in + (t + u) * in_stride);
            __builtin_prefetch(in + (t + u + 2 * CHUNK) * in_stride);
        }
        auto wait = [&](auto length, vec* before, Mask mask) {
            constexpr int W = decltype(length)::value;
            vec after[W];
#pragma GCC unroll 8
            for (int u = 0; u < W; ++u) after[u] = x[CHUNK - W + u];
#pragma GCC unroll 8
            for (int u = CHUNK - 1; u >= 0; --u) x[u] = chosen(mask, u < W ? before[u] : x[u - W], x[u]);
#pragma GCC unroll 8
            for (int u = 0; u < W; ++u) before[u] = after[u];
        };
        wait(std::integral_constant<int, 1>(), last, one);
        wait(std::integral_constant<int, 2>(), last + 1, two);
        wait(std::integral_constant<int, 4>(), last + 3, four);
        for (int stage = 3; stage < stages; ++stage) {
            const int64_t size = int64_t(1) << stage;
            scalar* const place = waiting + (size + (t & (size - 1))) * LANES;
            const Mask mask = waits(stage);
#pragma GCC unroll 8
            for (int u = 0; u < CHUNK; ++u) {
                const vec before = load(place + u * LANES);
                store(place + u * LANES, x[u]);
                x[u] = chosen(mask, before, x[u]);
            }
        }
#pragma GCC unroll 8
        for (int u = 0; u < CHUNK; ++u) store(out + (t + u) * out_stride, x[u]);
    }
}

// acc[0:N] (+)= sum over r < n of base[index[r] * N : + N], for few numbers: in two sums by turns, since an addition waits
// for the one before it. `first` overwrites.
template <int N>
inline void add_by_turns(scalar* __restrict acc, const scalar* __restrict base, const int32_t* __restrict index, int64_t n,
                         bool first) {
    constexpr int V = N / LANES;
    vec s[2][V] = {};
    auto add = [&](vec* sum, int32_t r) {
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) sum[v] += load(base + int64_t(r) * N + v * LANES);
    };
    int64_t r = 0;
    for (; r + 1 < n; r += 2) add(s[0], index[r]), add(s[1], index[r + 1]);
    if (r < n) add(s[0], index[r]);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
        const vec sum = s[0][v] + s[1][v];
        store(acc + v * LANES, first ? sum : load(acc + v * LANES) + sum);
    }
}

// dL/dw of source m (+)= the rows of `dot_e` (lambda . e of every target and step) at its spikes, every number read at its arrival; spikes: by their own steps. A
// block of targets after the other, whose rows stay in the caches. `first` overwrites.
template <int N>
inline void gather_dendritic(scalar* __restrict grad, const scalar* __restrict dot_e, Buffer<scalar>& space,
                             Buffer<scalar>& waiting, const int32_t* __restrict delay, BySource& spikes, int64_t sources,
                             int64_t n_steps, int64_t ahead, bool first) {
    constexpr int B = N % 32 ? 16 : 32;
    const int64_t count = (n_steps + CHUNK - 1) / CHUNK * CHUNK, last = count - 1;
    space.reserve(count * B);
    for (int n = 0; n < N; n += B) {
        for (int v = 0; v < B; v += LANES)
            shift_by_delay(space + last * B + v, -B, dot_e + last * N + n + v, -N, delay + n + v, count, ahead, waiting);
        for (int64_t m = 0; m < sources; ++m) {
            const int64_t from = spikes.begin[m];
            scalar* const to = grad + m * N + n;
            for (int i = 0; i < B; i += 64 / int(sizeof(scalar))) __builtin_prefetch(to + SOON * N + i, 1);
            add_by_turns<B>(to, space, spikes.steps.data + from, spikes.begin[m + 1] - from, first);
        }
    }
}

// grad[0:N] += what arrived times D, of one step.
template <int N>
inline void add_products(scalar* __restrict grad, const scalar* __restrict arrived, const scalar* __restrict D) {
    for (int n = 0; n < N; n += LANES) store(grad + n, load(grad + n) + load(arrived + n) * load(D + n));
}

}  // namespace
