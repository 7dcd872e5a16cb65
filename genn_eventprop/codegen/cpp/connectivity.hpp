// Connections whose synapses are listed one by one, or have delays of their own; plain rows of dense weights are in
// runtime.hpp.
//
// Rows of N numbers, one a step, hold what arrives (forwards) or what an arrival is worth (backwards); N is the padded
// number of targets. Seen from the row of the step of a spike, its synapse to target n with a delay of d steps acts on
// number d * N + n: the offset of the synapse. `ahead` is the longest delay there may be, in steps.

namespace {

// Synapses sorted by source: those of source m are start[m] .. start[m + 1].
struct Synapses {
    const int32_t* start;
    const int32_t* offset;
    const scalar* weight;
};

// Dense weights (M, N) with a delay each.
struct Delayed {
    const uint16_t* delay;
    const scalar* weight;
};

// Sums of the weights that arrive at this step and at the `ahead` next ones.
template <int N>
struct Ring {
    Buffer<scalar> rows;  // 2 * live: what is still to come is moved to the front when the end is reached
    int64_t live = 0, at = 0;
    void begin(int64_t ahead) {
        live = ahead + 1, at = 0;
        rows.zero(2 * live * N);
    }
    scalar* now() { return rows.data + at * N; }
    void next() {
        if (++at <= live) return;
        const int64_t left = 2 * live - at;
        std::memcpy(rows.data, rows.data + at * N, size_t(left * N) * sizeof(scalar));
        std::memset(rows.data + left * N, 0, size_t((2 * live - left) * N) * sizeof(scalar));
        at = 0;
    }
};

// now[offset] += weight, of every synapse of the n sources in `index`.
template <Part P>
inline void scatter_rows(scalar* now, const Synapses& c, const int32_t* __restrict index, int64_t n) {
    for (int64_t r = 0; r < n; ++r) {
        const int32_t end = c.start[index[r] + 1];
#pragma GCC unroll 8
        for (int32_t i = c.start[index[r]]; i < end; ++i) now[c.offset[i]] += part_of<P>(c.weight[i]);
    }
}

// Number u of four of 16 bits.
inline int64_t place(uint64_t four, int u) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    u = 3 - u;
#endif
    return int64_t(four >> (16 * u) & 0xffff);
}

template <Part P, int N>
inline void scatter_rows(scalar* now, const Delayed& c, const int32_t* __restrict index, int64_t n) {
    for (int64_t r = 0; r < n; ++r) {
        const uint16_t* delay = c.delay + int64_t(index[r]) * N;
        const scalar* weight = c.weight + int64_t(index[r]) * N;
        char* here = reinterpret_cast<char*>(now);  // a shift in bytes is all that an address then takes
#pragma GCC unroll 2
        for (int i = 0; i < N; i += 4, here += 4 * sizeof(scalar)) {
            uint64_t four;  // delays in one load: loads and stores are what this takes its time for
            std::memcpy(&four, delay + i, sizeof four);
#pragma GCC unroll 4
            for (int u = 0; u < 4; ++u) {
                scalar* const to = reinterpret_cast<scalar*>(here + place(four, u) * int64_t(N * sizeof(scalar))) + u;
                *to = part_of<P>(weight[i + u]) + *to;
            }
        }
    }
}

#if defined(__AVX512F__)
typedef float floats __attribute__((vector_size(64)));
typedef double doubles __attribute__((vector_size(64)));
typedef int32_t ints16 __attribute__((vector_size(64)));
typedef int32_t ints8 __attribute__((vector_size(32)));
inline floats gathered_into(floats v, unsigned all, const float* base, ints16 at) {
    return __builtin_ia32_gathersiv16sf(v, base, at, uint16_t(all), 4);
}
inline doubles gathered_into(doubles v, unsigned all, const double* base, ints8 at) {
    return __builtin_ia32_gathersiv8df(v, base, at, uint8_t(all), 8);
}
#endif
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint16_t shorts __attribute__((vector_size(2 * LANES)));

// base[at[0]], base[at[1]], ... as one vector.
inline vec gathered(const scalar* base, ints at) {
#if defined(__AVX512F__)
    unsigned all = ~0u;
    __asm__("" : "+r"(all));  // or compilers gather into whatever register, and wait for what it had
    return gathered_into(vec{}, all, base, at);
#else
    vec v;
    for (int i = 0; i < LANES; ++i) v[i] = base[at[i]];
    return v;
#endif
}

template <typename V>
inline V load_anywhere(const void* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

constexpr int SUMS = 4;  // side by side

// out[r] += sum over the synapses of source index[r] of weight * now[offset], r < n.
template <Part P>
inline void gather_dots(scalar* __restrict out, const Synapses& c, const int32_t* __restrict index, int64_t n,
                        const scalar* __restrict now) {
    for (int64_t r = 0; r < n; ++r) {
        int32_t i = c.start[index[r]];
        const int32_t end = c.start[index[r] + 1];
        vec s[SUMS] = {};
        for (; i + SUMS * LANES <= end; i += SUMS * LANES) {
#pragma GCC unroll 4
            for (int u = 0; u < SUMS; ++u)
                s[u] += part_of<P>(load_anywhere<vec>(c.weight + i + u * LANES)) *
                        gathered(now, load_anywhere<ints>(c.offset + i + u * LANES));
        }
        for (; i + LANES <= end; i += LANES)
            s[0] += part_of<P>(load_anywhere<vec>(c.weight + i)) * gathered(now, load_anywhere<ints>(c.offset + i));
        scalar rest = 0;
        for (; i < end; ++i) rest += part_of<P>(c.weight[i]) * now[c.offset[i]];
        out[r] += lane_sum((s[0] + s[1]) + (s[2] + s[3])) + rest;
    }
}
template <Part P, int N>
inline void gather_dots(scalar* __restrict out, const Delayed& c, const int32_t* __restrict index, int64_t n,
                        const scalar* __restrict now) {
    constexpr int V = N / LANES, U = V < SUMS ? V : SUMS;
    ints lane;
    for (int i = 0; i < LANES; ++i) lane[i] = i;
    for (int64_t r = 0; r < n; ++r) {
        const uint16_t* delay = c.delay + int64_t(index[r]) * N;
        const scalar* weight = c.weight + int64_t(index[r]) * N;
        vec s[SUMS] = {};
        auto add = [&](vec& sum, int i) {
            const ints d = __builtin_convertvector(load_anywhere<shorts>(delay + i), ints);
            sum += part_of<P>(load(weight + i)) * gathered(now + i, d * N + lane);
        };
        for (int v = 0; v + U <= V; v += U) {
#pragma GCC unroll 4
            for (int u = 0; u < U; ++u) add(s[u], (v + u) * LANES);
        }
        for (int v = V / U * U; v < V; ++v) add(s[0], v * LANES);
        out[r] += lane_sum((s[0] + s[1]) + (s[2] + s[3]));
    }
}

// One or two numbers side by side.
template <int K>
struct Side {
    typedef scalar few;
    static few load(const scalar* p) { return *p; }
};
template <>
struct Side<2> {
    typedef scalar few __attribute__((vector_size(2 * sizeof(scalar))));
    static few load(const scalar* p) {
        few v;
        std::memcpy(&v, p, sizeof v);
        return v;
    }
};

constexpr int SOON = 16;  // sources ahead of the one that runs, whose numbers a column away are asked for
constexpr int LINE = 64 / int(sizeof(scalar));
// Targets whose rows are copied at once: two lines of the cache side by side, since processors fetch lines in pairs.
template <int N>
constexpr int TILE = N % 32 ? 16 : 32;
constexpr int GROUP = 8;  // targets that take turns, so that the length of a source's list is found out once for them

// K rows of N numbers a step as rows of GROUP targets, K quantities side by side, of TILE targets; zero from the end of the
// trial on, where late arrivals look.
template <int N, int K>
struct Near {
    scalar* data;
    int64_t n_steps, size;  // of a group
    // more: numbers that there is to be room for behind.
    Near(Buffer<scalar>& space, int64_t steps, int64_t ahead, int64_t more)
        : n_steps(steps), size((steps + ahead) * GROUP * K) {
        space.reserve(TILE<N> / GROUP * size + more);
        data = space.data;
        for (int g = 0; g < TILE<N> / GROUP; ++g)
            std::memset(data + g * size + steps * GROUP * K, 0, size_t(ahead * GROUP * K) * sizeof(scalar));
    }
    scalar* behind() const { return data + TILE<N> / GROUP * size; }
    // Of the targets from n on.
    void fill(const scalar* const (&rows)[K], int n) const {
        for (int64_t t = 0; t < n_steps; ++t) {
            for (int k = 0; k < K; ++k) __builtin_prefetch(rows[k] + (t + SOON) * N + n);
            for (int g = 0; g < TILE<N>; g += GROUP) {
                const scalar* const __restrict first = rows[0] + t * N + n + g;
                const scalar* const __restrict last = rows[K - 1] + t * N + n + g;
                scalar* const __restrict both = data + g / GROUP * size + t * GROUP * K;
#pragma GCC unroll 1  // or GCC does not vectorise it
                INDEPENDENT for (int i = 0; i < GROUP; ++i) both[i * K] = first[i], both[i * K + K - 1] = last[i];
            }
        }
    }
    // The rows of the group that begins with target n of these.
    const scalar* group(int n) const { return data + n / GROUP * size; }
};

// What becomes of the sums over the arrivals of every synapse of lambda . e, the first of K quantities, and of D, the last:
// dL/dw is the one, dL/dd = w times the other, with weights of part P alone. Null: not learned.
struct Learned {
    scalar *weight, *delay;
    bool first;  // overwrite what there is
    // to[i] (+)= number(i).
    template <int N, typename F>
    static void put(scalar* __restrict to, bool first, F number) {
        if (first) {
#pragma GCC unroll 1
            INDEPENDENT for (int i = 0; i < TILE<N>; ++i) to[i] = number(i);
        } else {
#pragma GCC unroll 1
            INDEPENDENT for (int i = 0; i < TILE<N>; ++i) to[i] += number(i);
        }
    }
    // Asks for what `add` needs of TILE targets of a source, from `at` on, in the second cache.
    template <int N>
    void ask(int64_t at, const scalar* value) const {
        for (int i = 0; i < TILE<N>; i += LINE) {
            __builtin_prefetch(value + at + i, 0, 2);
            if (weight) __builtin_prefetch(weight + at + i, 1, 2);
            if (delay) __builtin_prefetch(delay + at + i, 1, 2);
        }
    }
    // sum: K numbers for each of the TILE targets from n on, of one source after the other. They are added in one go, whole
    // lines of the cache, since the rows of N numbers that they are added to are far apart.
    template <Part P, int N, int K>
    void add(int n, const scalar* __restrict value, const scalar* __restrict sum, int64_t sources) const {
        scalar *const __restrict to_weight = weight, *const __restrict to_delay = delay;
        for (int64_t m = 0; m < sources; ++m, sum += TILE<N> * K) {
            const int64_t at = m * N + n;
            for (int i = 0; i < TILE<N>; i += LINE) {
                if (to_weight) __builtin_prefetch(to_weight + at + SOON * N + i, 1);
                if (to_delay) __builtin_prefetch(to_delay + at + SOON * N + i, 1);
            }
            if (to_weight) put<N>(to_weight + at, first, [=](int i) { return sum[i * K]; });
            if (to_delay) put<N>(to_delay + at, first, [=](int i) { return part_of<P>(value[at + i]) * sum[i * K + K - 1]; });
        }
    }
};

// The sums over a source's arrivals at GROUP targets, of K quantities side by side: near: their rows; k .. end: steps of its
// spikes. A function of its own keeps the loop's pointers in registers.
template <int K>
__attribute__((noinline)) void add_arrivals(scalar* __restrict sum, const scalar* __restrict near,
                                            const uint16_t* __restrict delay, const int32_t* __restrict k,
                                            const int32_t* end) {
    const scalar* p[GROUP];
    typename Side<K>::few s[GROUP] = {};
#pragma GCC unroll 8
    for (int u = 0; u < GROUP; ++u) p[u] = near + (delay[u] * GROUP + u) * K;
    auto add = [&](int32_t spike) {
        const int64_t step = int64_t(spike) * GROUP * K;
#pragma GCC unroll 8
        for (int u = 0; u < GROUP; ++u) s[u] += Side<K>::load(p[u] + step);
    };
    for (; k + 1 < end; k += 2) add(k[0]), add(k[1]);
    if (k < end) add(*k);
#pragma GCC unroll 8
    for (int u = 0; u < GROUP; ++u) std::memcpy(sum + u * K, &s[u], sizeof s[u]);
}

// A connection with dense weights (M, N), a delay each; spikes: of every source, by their own steps.
struct Dense {
    Learned learned;
    Delayed synapses;
    BySource& spikes;
    int64_t sources;
};

// Gradients of C connections whose arrivals are worth the same, K rows of N numbers a step.
template <Part P, int N, int K, size_t C>
inline void gather_dense(const Dense (&of)[C], const scalar* const (&rows)[K], Buffer<scalar>& space, int64_t n_steps,
                         int64_t ahead) {
    int64_t most = 0;
    for (const Dense& c : of) most = c.sources > most ? c.sources : most;
    const Near<N, K> near(space, n_steps, ahead, most * TILE<N> * K);
    for (int n0 = 0; n0 < N; n0 += TILE<N>) {
        near.fill(rows, n0);
        for (const Dense& c : of) {
            const Delayed& synapses = c.synapses;
            const int32_t *const steps = c.spikes.steps.data, *const begin = c.spikes.begin.data;
            for (int n = 0; n < TILE<N>; n += GROUP) {
                scalar* sum = near.behind() + n * K;
                for (int64_t m = 0; m < c.sources; ++m, sum += TILE<N> * K) {
                    const uint16_t* delay = synapses.delay + m * N + n0 + n;
                    __builtin_prefetch(delay + SOON * N);
                    if (n + GROUP == TILE<N>) c.learned.template ask<N>(m * N + n0, synapses.weight);
                    add_arrivals<K>(sum, near.group(n), delay, steps + begin[m], steps + begin[m + 1]);
                }
            }
            c.learned.template add<P, N, K>(n0, synapses.weight, near.behind(), c.sources);
        }
    }
}

// Gradients of listed synapses: grad[where] += row[offset], times the weight's part P if Scaled, of every synapse of the n
// sources in `index`; where: null for synapse i at i.
template <bool Scaled, Part P = ALL>
inline void gather_listed(scalar* __restrict grad, const int32_t* __restrict where, const Synapses& c,
                          const int32_t* __restrict index, int64_t n, const scalar* __restrict row) {
    for (int64_t r = 0; r < n; ++r) {
        int32_t i = c.start[index[r]];
        const int32_t end = c.start[index[r] + 1];
        for (; !where && i + LANES <= end; i += LANES) {
            vec g = gathered(row, load_anywhere<ints>(c.offset + i));
            if constexpr (Scaled) g *= part_of<P>(load_anywhere<vec>(c.weight + i));
            g += load_anywhere<vec>(grad + i);
            std::memcpy(grad + i, &g, sizeof g);
        }
        for (; i < end; ++i) grad[where ? where[i] : i] += row[c.offset[i]] * (Scaled ? part_of<P>(c.weight[i]) : scalar(1));
    }
}

// A source's arrivals at GROUP targets, added to their sums; k .. end: steps of its spikes. See `add_arrivals`.
template <Part P>
__attribute__((noinline)) void add_known(scalar* __restrict sums, const uint16_t* __restrict delay,
                                         const scalar* __restrict weight, const int32_t* __restrict k, const int32_t* end) {
    scalar *p[GROUP], w[GROUP];
#pragma GCC unroll 8
    for (int u = 0; u < GROUP; ++u) p[u] = sums + delay[u] * int64_t(GROUP) + u, w[u] = part_of<P>(weight[u]);
    for (; k < end; ++k) {
        const int64_t step = int64_t(*k) * GROUP;
#pragma GCC unroll 8
        for (int u = 0; u < GROUP; ++u) p[u][step] += w[u];
    }
}

// What arrives at every step of a trial, rows of N sums, through dense weights with a delay each from sources whose spikes
// are all known beforehand: a block of targets after the other.
template <Part P, int N>
inline void scatter_known(scalar* __restrict rows, Buffer<scalar>& space, const Delayed& c, BySource& spikes,
                          int64_t sources, int64_t n_steps, int64_t ahead) {
    const int64_t size = (n_steps + ahead) * GROUP;
    const int32_t *const steps = spikes.steps.data, *const begin = spikes.begin.data;
    for (int n0 = 0; n0 < N; n0 += TILE<N>) {
        space.zero(TILE<N> / GROUP * size);
        for (int n = 0; n < TILE<N>; n += GROUP)
            for (int64_t m = 0; m < sources; ++m) {
                const int64_t at = m * N + n0 + n;
                __builtin_prefetch(c.delay + at + SOON * N);
                __builtin_prefetch(c.weight + at + SOON * N);
                scalar* const sums = space.data + n / GROUP * size;
                add_known<P>(sums, c.delay + at, c.weight + at, steps + begin[m], steps + begin[m + 1]);
            }
        for (int64_t t = 0; t < n_steps; ++t)
            for (int n = 0; n < TILE<N>; n += GROUP)
                std::memcpy(rows + t * N + n0 + n, space.data + n / GROUP * size + t * GROUP, GROUP * sizeof(scalar));
    }
}

}  // namespace
