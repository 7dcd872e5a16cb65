// What every generated network uses: vectors of W bytes, row operations, spike storage.
// No OpenMP, no -ffast-math: reassociation happens only in the reductions written out here.
// Of the standard library only what is quick to read; the rest is needed by host.cpp, which is compiled once.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

namespace {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, UNROLL = 16;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32, UNROLL = 8;
#else
constexpr int VECTOR_BYTES = 16, UNROLL = 8;
#endif
constexpr int LANES = VECTOR_BYTES / int(sizeof(scalar));
typedef scalar vec __attribute__((vector_size(VECTOR_BYTES)));

// Flushes subnormal numbers to zero in this thread for as long as it lives: values that decay for long would otherwise
// become subnormal, and arithmetic on those is a hundred times slower.
class NoDenormals {
#if defined(__SSE2__)
    unsigned before_ = __builtin_ia32_stmxcsr();

  public:
    NoDenormals() { __builtin_ia32_ldmxcsr(before_ | 0x8040u); }
    ~NoDenormals() { __builtin_ia32_ldmxcsr(before_); }
#elif defined(__aarch64__)
    uint64_t before_ = read();
    static uint64_t read() {
        uint64_t value;
        __asm__ volatile("mrs %0, fpcr" : "=r"(value));
        return value;
    }
    static void write(uint64_t value) { __asm__ volatile("msr fpcr, %0" : : "r"(value)); }

  public:
    NoDenormals() { write(before_ | (uint64_t(1) << 24)); }
    ~NoDenormals() { write(before_); }
#else
  public:
    NoDenormals() {}
    ~NoDenormals() {}
#endif
    NoDenormals(const NoDenormals&) = delete;
    NoDenormals& operator=(const NoDenormals&) = delete;
};

// A trial that failed: population (counted from 1; 0: no trouble), sample of the batch and, where known, step, state, neuron.
struct Trouble {
    int population = 0;
    int64_t sample = -1, step = -1, state = -1, neuron = -1;
};

// The iterations of the following loop are independent.
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

// f(k) for k < n; whether any f(k) is true; the sum of f(k) for from <= k < to. On a device a thread each (cuda/library.cuh): what f changes
// belongs to k, and what it captures is copied.
template <class F>
inline void each_lane(int n, const F& f) {
    INDEPENDENT for (int k = 0; k < n; ++k) f(k);
}
template <class F>
inline bool any_lane(int n, const F& f) {
    bool any = false;
    for (int k = 0; k < n; ++k) any |= f(k);
    return any;
}
template <class F>
inline scalar sum_each(int from, int to, const F& f) {
    scalar total = 0;
    for (int k = from; k < to; ++k) total += f(k);
    return total;
}

inline vec load(const scalar* p) { return *reinterpret_cast<const vec*>(p); }
inline void store(scalar* p, vec v) { *reinterpret_cast<vec*>(p) = v; }

// Sum of the lanes in a fixed order: halves are added until one is left.
template <int Bytes>
inline scalar halves_sum(scalar __attribute__((vector_size(Bytes))) v) {
    if constexpr (Bytes == 2 * sizeof(scalar)) {
        return v[0] + v[1];
    } else {
        typedef scalar part __attribute__((vector_size(Bytes / 2)));
        part low, high;
        std::memcpy(&low, &v, sizeof low);
        std::memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof low, sizeof high);
        return halves_sum<Bytes / 2>(low + high);
    }
}
inline scalar lane_sum(vec v) { return halves_sum<VECTOR_BYTES>(v); }
// The sum of f(k), LANES numbers at a time.
template <class F>
inline scalar sum_lanes(int from, int to, const F& f) {
    vec sum = {};
    for (int k = from; k < to; k += LANES) sum += f(k);
    return lane_sum(sum + vec{});  // of a copy: else g++ keeps `sum` in memory throughout (AVX-512)
}

// The largest, and the sum in a fixed order, of N numbers, a whole number of vectors.
template <int N>
inline scalar lanes_max(const scalar* x) {
    vec high = load(x);
    for (int n = LANES; n < N; n += LANES) {
        const vec other = load(x + n);
        high = other > high ? other : high;
    }
    scalar top = high[0];
    for (int i = 1; i < LANES; ++i) top = high[i] > top ? high[i] : top;
    return top;
}
template <int N>
inline scalar lanes_total(const scalar* x) {
    vec sum = load(x);
    for (int n = LANES; n < N; n += LANES) sum += load(x + n);
    return lane_sum(sum);
}

// exp(x) without a branch, so that loops of it vectorise; float: 2^n times a polynomial (the coefficients of Cephes'
// expf), relative error 1e-7, 1e-38 below -87.
inline double quick_exp(double x) { return std::exp(x); }
inline float quick_exp(float x) {
    x = x < -87.0f ? -87.0f : x;
    const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // to the nearest integer
    const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    const int32_t bits = (int32_t(n) + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return y * scale;
}

// A state beyond this has diverged: it would be infinite or NaN next.
constexpr scalar DIVERGED = scalar(1e30);

// Index of the first of N numbers that exceeds the limit or is NaN; -1 if there is none.
template <int N>
inline int first_diverged(const scalar* x) {
    int bad = 0;
    INDEPENDENT for (int n = 0; n < N; ++n) bad |= int(!(x[n] <= DIVERGED && x[n] >= -DIVERGED));
    for (int n = 0; bad && n < N; ++n)
        if (!(x[n] <= DIVERGED && x[n] >= -DIVERGED)) return n;
    return -1;
}

// Whether any of N numbers is not 0.
template <int N>
inline bool any(const scalar* x) {
    bool nonzero = false;
    INDEPENDENT for (int n = 0; n < N; ++n) nonzero |= x[n] != 0;
    return nonzero;
}

// One bit per lane, set where the lane is >= 0.
template <typename V>
inline unsigned not_negative(V a) {
#if defined(__AVX512F__)
    constexpr int AT_LEAST = 0x1d, ROUNDING = 4;  // false for NaN, without a signal; rounding as it is set
    if constexpr (LANES == 16 && sizeof(V) == 64)
        return uint16_t(__builtin_ia32_cmpps512_mask(a, V{}, AT_LEAST, -1, ROUNDING));
    else
        return uint8_t(__builtin_ia32_cmppd512_mask(a, V{}, AT_LEAST, -1, ROUNDING));
#elif defined(__SSE2__)
    const V signs = V(a >= V{});  // by name: compilers make eight comparisons of a loop over lanes
    if constexpr (sizeof(V) == 16 && LANES == 4) return unsigned(__builtin_ia32_movmskps(signs));
    if constexpr (sizeof(V) == 16 && LANES == 2) return unsigned(__builtin_ia32_movmskpd(signs));
#if defined(__AVX__)
    if constexpr (sizeof(V) == 32 && LANES == 8) return unsigned(__builtin_ia32_movmskps256(signs));
    if constexpr (sizeof(V) == 32 && LANES == 4) return unsigned(__builtin_ia32_movmskpd256(signs));
#endif
#else
    unsigned mask = 0;
    for (int i = 0; i < LANES; ++i) mask |= unsigned(a[i] >= scalar(0)) << i;
    return mask;
#endif
}

// Whether any lane of four vectors is >= 0.
inline bool any_of_four(const scalar* g) {
#if defined(__AVX512F__)
    return not_negative(load(g)) | not_negative(load(g + LANES)) | not_negative(load(g + 2 * LANES)) | not_negative(load(g + 3 * LANES));
#else
    const auto some = (load(g) >= vec{}) | (load(g + LANES) >= vec{}) | (load(g + 2 * LANES) >= vec{}) | (load(g + 3 * LANES) >= vec{});
    return not_negative(some ? vec{} : vec{} - 1);
#endif
}

#if defined(__AVX512F__) && defined(__AVX512VL__)
#define PACKS 1
// The lanes of x whose bit in the mask is set, packed in order and followed by zeros.
template <typename V>
inline V packed(V x, unsigned mask) {
    if constexpr (sizeof(V) == 64)
        return V(__builtin_ia32_compresssi512_mask(x, V{}, uint16_t(mask)));
    else
        return V(__builtin_ia32_compresssi256_mask(x, V{}, uint8_t(mask)));
}
#endif

// Writes the neurons below N with g >= 0 to `out`, in order; returns how many.
template <int N>
inline int64_t find_crossed(int32_t* out, const scalar* g) {
    int64_t count = 0;
#if defined(PACKS)
    typedef int32_t Neurons __attribute__((vector_size(4 * LANES)));
    Neurons lane;
    for (int i = 0; i < LANES; ++i) lane[i] = i;
#endif
    constexpr int four = 4 * LANES, whole = (N + LANES - 1) / LANES * LANES;
    for (int from = 0; from < N; from += four) {
        if (from + four <= whole && !any_of_four(g + from)) continue;  // in most steps few neurons cross
        for (int n = from; n < from + four && n < N; n += LANES) {
            unsigned mask = not_negative(load(g + n));
            if (N - n < LANES) mask &= (1u << (N - n)) - 1u;
#if defined(PACKS)
            const Neurons neuron = packed(lane + n, mask);
            std::memcpy(out + count, &neuron, sizeof neuron);
            count += __builtin_popcount(mask);
#else
            for (; mask; mask &= mask - 1) out[count++] = n + __builtin_ctz(mask);
#endif
        }
    }
    return count;
}

// acc[0:N] += sum over r < n of base[index[r] * N : + N]; the sum stays in registers over all rows. Row: of the numbers of
// rows, which `load` reads as scalars.
template <int N, bool Zero = false, typename Row>
inline void add_rows(scalar* __restrict acc, const Row* __restrict base, const int32_t* __restrict index, int64_t n) {
    constexpr int V = N / LANES, U = V < UNROLL ? V : UNROLL;
    for (int v = 0; v + U <= V; v += U) {
        vec s[U];
#pragma GCC unroll 16
        for (int u = 0; u < U; ++u) s[u] = Zero ? vec{} : load(acc + (v + u) * LANES);
        int64_t r = 0;
        for (; r + 2 <= n; r += 2) {  // two rows wait for memory at once; they are added one after the other
            const Row *one = base + int64_t(index[r]) * N + v * LANES, *other = base + int64_t(index[r + 1]) * N + v * LANES;
#pragma GCC unroll 16
            for (int u = 0; u < U; ++u) s[u] = (s[u] + load(one + u * LANES)) + load(other + u * LANES);
        }
        if (r < n) {
            const Row* row = base + int64_t(index[r]) * N + v * LANES;
#pragma GCC unroll 16
            for (int u = 0; u < U; ++u) s[u] += load(row + u * LANES);
        }
#pragma GCC unroll 16
        for (int u = 0; u < U; ++u) store(acc + (v + u) * LANES, s[u]);
    }
    for (int v = V / U * U; v < V; ++v) {
        vec s = Zero ? vec{} : load(acc + v * LANES);
        for (int64_t r = 0; r < n; ++r) s += load(base + int64_t(index[r]) * N + v * LANES);
        store(acc + v * LANES, s);
    }
}

// acc[0:N] += row[0:N].
template <int N>
inline void add_row(scalar* __restrict acc, const scalar* __restrict row) {
    INDEPENDENT for (int n = 0; n < N; ++n) acc[n] += row[n];
}

// out[k] += base[index[k] * N : + N] . q, k < R: rows side by side share the numbers of q, and a row of any length is read
// from its beginning to its end, as caches like it. The order of each sum does not depend on R.
template <int N, int R, typename Row>
inline void dot_some(scalar* __restrict out, const Row* __restrict base, const int32_t* __restrict index,
                     const scalar* __restrict q) {
    constexpr int V = N / LANES, SUMS = 4;
    const Row* row[R];
    vec s[R][SUMS] = {};
#pragma GCC unroll 4
    for (int k = 0; k < R; ++k) row[k] = base + int64_t(index[k]) * N;
    for (int v = 0; v + SUMS <= V; v += SUMS) {
#pragma GCC unroll 4
        for (int u = 0; u < SUMS; ++u) {
            const vec c = load(q + (v + u) * LANES);
#pragma GCC unroll 4
            for (int k = 0; k < R; ++k) s[k][u] += load(row[k] + (v + u) * LANES) * c;
        }
    }
#pragma GCC unroll 4
    for (int u = 0; u < V % SUMS; ++u) {
        const vec c = load(q + (V / SUMS * SUMS + u) * LANES);
#pragma GCC unroll 4
        for (int k = 0; k < R; ++k) s[k][u] += load(row[k] + (V / SUMS * SUMS + u) * LANES) * c;
    }
#pragma GCC unroll 4
    for (int k = 0; k < R; ++k) out[k] += lane_sum((s[k][0] + s[k][1]) + (s[k][2] + s[k][3]));
}

// out[r] += base[index[r] * N : + N] . q, r < n.
template <int N, typename Row>
inline void dot_rows(scalar* __restrict out, const Row* __restrict base, const int32_t* __restrict index, int64_t n,
                     const scalar* __restrict q) {
    int64_t r = 0;
    for (; r + 2 <= n; r += 2) dot_some<N, 2>(out + r, base, index + r, q);
    if (r < n) dot_some<N, 1>(out + r, base, index + r, q);
}

[[noreturn, gnu::cold, gnu::noinline]] inline void no_memory() { throw std::bad_alloc(); }
// Ends a trial from within.
[[noreturn, gnu::cold, gnu::noinline]] inline void abandon(const Trouble& trouble) { throw trouble; }

}  // namespace

#include "memory.hpp"

namespace {

// The spikes of an input in one trial: numbers from .. to - 1 of the data set, in the order of their steps.
struct InputSpikes {
    const int32_t *steps, *channels;
    int64_t from, to;
    // The first one at `step` or later; `to` if there is none.
    int64_t begin(int64_t step) const {
        int64_t low = from, high = to;
        while (low < high) {
            const int64_t middle = low + (high - low) / 2;
            if (steps[middle] < step)
                low = middle + 1;
            else
                high = middle;
        }
        return low;
    }
    Sources all(int64_t first, int64_t last) const { return {channels + begin(first), begin(last) - begin(first)}; }
    // Those of a step, of which `next` is the first there may be; it moves on behind them.
    Sources at(int64_t step, int64_t& next) const {
        const int64_t first = next;
        while (next < to && steps[next] == step) ++next;
        return {channels + first, next - first};
    }
    // The same for steps in reverse: `behind` is the end of where they may be, and moves to their first.
    Sources at_in_reverse(int64_t step, int64_t& behind) const {
        while (behind > from && steps[behind - 1] > step) --behind;
        const int64_t end = behind;
        while (behind > from && steps[behind - 1] == step) --behind;
        return {channels + behind, end - behind};
    }
    // f(step, one of them), spike by spike.
    template <bool LAST_FIRST, typename F>
    void each(int64_t first, int64_t last, F f) const {
        const int64_t low = begin(first), n = begin(last) - low;
        for (int64_t i = 0; i < n; ++i) {
            const int64_t spike = LAST_FIRST ? low + n - 1 - i : low + i;
            f(steps[spike], Sources{channels + spike, 1});
        }
    }
};

// Spikes of the trial before that are still on their way: those of step k <= 0 are neuron[start[k]] .. neuron[start[k + 1]].
struct EarlierSpikes {
    const int32_t *neuron, *start;
    Sources at(int64_t step) const { return {neuron + start[step], start[step + 1] - start[step]}; }
};

// Groups arrivals by source: after `sort_arrivals` source m arrived at steps[begin[m] .. begin[m + 1]].
struct BySource {
    Buffer<int32_t> begin, steps;
    void reset(int64_t sources) { begin.zero(sources + 2); }
    void count(const int32_t* source, int64_t n) {
        for (int64_t i = 0; i < n; ++i) ++begin[source[i] + 2];
    }
    void prepare(int64_t sources, int64_t total) {
        for (int64_t m = 2; m <= sources + 1; ++m) begin[m] += begin[m - 1];
        steps.reserve(total);
    }
    // begin[m + 1] is the write position of source m while filling and its end afterwards.
    void put(int32_t source, int32_t step) { steps[begin[source + 1]++] = step; }
    void trade(BySource& other) { begin.trade(other.begin), steps.trade(other.steps); }
};

// Arrivals at steps first .. last - 1, `delay` steps after the spikes. Rows are summed with the last ones first: a trial in
// pieces, of which the last is the first to run backwards, then has the same sums.
template <bool LAST_FIRST, typename OwnSpikes>
inline void sort_arrivals(BySource& by, int64_t sources, OwnSpikes& spikes, int64_t first, int64_t last, int64_t delay,
                          EarlierSpikes before = {}) {
    auto earlier = [&](auto f) {
        for (int64_t step = -delay; before.start && step <= 0 && step + delay < last; ++step) f(step, before.at(step));
    };
    auto put = [&](int64_t step, Sources sent) {
        for (int64_t i = 0; i < sent.count; ++i) by.put(sent.index[i], int32_t(step + delay));
    };
    const Sources all = spikes.all(first - delay, last - delay);
    int64_t total = all.count;
    by.reset(sources);
    by.count(all.index, all.count);
    earlier([&](int64_t, Sources sent) { by.count(sent.index, sent.count), total += sent.count; });
    by.prepare(sources, total);
    if (!LAST_FIRST) earlier(put);
    spikes.template each<LAST_FIRST>(first - delay, last - delay, put);
    if (LAST_FIRST) earlier(put);
}

// grad[m, 0:Columns] (+)= sum of the history rows of source m's arrivals, rows of grad being N long; `first` overwrites.
template <int N, int Columns>
inline void gather_block(scalar* __restrict grad, const scalar* __restrict history, const BySource& by, int64_t sources,
                         bool first) {
    for (int64_t m = 0; m < sources; ++m) {
        const int64_t from = by.begin.data[m], n = by.begin.data[m + 1] - from;
        if (first)
            add_rows<Columns, true>(grad + m * N, history, by.steps.data + from, n);
        else if (n)
            add_rows<Columns>(grad + m * N, history, by.steps.data + from, n);
    }
}
template <int N>
inline void gather_gradient(scalar* __restrict grad, const scalar* __restrict history, BySource& by, int64_t sources,
                            bool first) {
    gather_block<N, N>(grad, history, by, sources, first);
}

// A history of rows cut into blocks of columns: block b has COLUMNS numbers of every step, the last one what is left. A
// block of a thousand steps stays in the second-level cache while the rows of one source after the other are summed.
constexpr int COLUMNS = 4 * LANES;

// Appends the row of a step.
template <int N>
inline void store_blocks(scalar* __restrict blocks, const scalar* __restrict row, int64_t step, int64_t n_steps) {
    for (int n = 0; n + COLUMNS <= N; n += COLUMNS)
        std::memcpy(blocks + n * n_steps + step * COLUMNS, row + n, COLUMNS * sizeof(scalar));
    constexpr int REST = N % COLUMNS, DONE = N - REST;
    if constexpr (REST > 0) std::memcpy(blocks + DONE * n_steps + step * REST, row + DONE, REST * sizeof(scalar));
}

// `gather_gradient` from blocks: the same sums in the same order.
template <int N>
inline void gather_blocks(scalar* __restrict grad, const scalar* __restrict blocks, const BySource& by, int64_t sources,
                          int64_t n_steps, bool first) {
    for (int n = 0; n + COLUMNS <= N; n += COLUMNS)
        gather_block<N, COLUMNS>(grad + n, blocks + n * n_steps, by, sources, first);
    constexpr int REST = N % COLUMNS, DONE = N - REST;
    if constexpr (REST > 0) gather_block<N, REST>(grad + DONE, blocks + DONE * n_steps, by, sources, first);
}

// Records which state diverged; this is what `forward` then returns.
template <typename Work>
inline int diverged(Work& work, int population, int state, int neuron) {
    work.diverged_state = state;
    work.diverged_neuron = neuron;
    return 1 + population;
}

// a(t) of the sample's input, before and after the arrivals of steps first .. last; returns a before those of the last step.
template <typename Args, typename Work>
inline double find_activity(const Args& args, Work& work, int64_t from, int64_t to, int64_t first, int64_t last,
                            double activity) {
    double before = activity;
    while (from < to && args.steps[from] < first) ++from;
    for (int64_t k = first, i = from; k <= last; ++k) {
        before = activity, work.activity_before[k] = scalar(activity);
        for (; i < to && args.steps[i] == k; ++i) activity += args.activity_jump;
        work.activity[k] = scalar(activity);
        activity *= args.activity_decay;
    }
    return before;
}

// task(i, t) for i < n on the host's threads; see `Host::run`.
template <typename F>
inline void on_threads(Host& host, int64_t n, F& task) {
    host.run(host, n, [](void* f, int64_t i, int t) { (*static_cast<F*>(f))(i, t); }, &task);
}

// Sums over slices first .. first + slices - 1 of the `all` slices of a batch, by a fixed tree whatever the number of
// threads, as far as they can be formed from these: in place where each begins, and the one that begins first in out.
// grad[s * size + i] is of slice first + s. See engines/contract/slices.py.
inline void reduce_slices(
    scalar* out, scalar* grad, int64_t size, int64_t slices, int64_t first, int64_t all, Host& host) {
    constexpr int64_t CHUNK = 2048;
    const int64_t last = first + slices;
    auto task = [&](int64_t c, int) {
        const int64_t from = c * CHUNK, n = size - from < CHUNK ? size - from : CHUNK;
        for (int64_t stride = 1; stride < all; stride *= 2)
            for (int64_t s = (first + 2 * stride - 1) / (2 * stride) * 2 * stride; s + stride < last; s += 2 * stride) {
                if ((s + 2 * stride < all ? s + 2 * stride : all) > last) continue;
                scalar* __restrict a = grad + (s - first) * size + from;
                const scalar* __restrict b = grad + (s - first + stride) * size + from;
                for (int64_t i = 0; i < n; ++i) a[i] += b[i];
            }
        std::memcpy(out + from, grad + from, size_t(n) * sizeof(scalar));
    };
    on_threads(host, (size + CHUNK - 1) / CHUNK, task);
}

}  // namespace
