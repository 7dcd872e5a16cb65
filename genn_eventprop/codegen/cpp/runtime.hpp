// What every generated network uses: vectors of W bytes, row operations, spike storage, a thread pool.
// No OpenMP, no -ffast-math: reassociation happens only in the reductions written out here.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <cmath>
#include <limits>
#include <mutex>
#include <new>
#include <thread>
#include <vector>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

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

// While it lives, this thread takes numbers too small for a full mantissa as 0: what decays for long would otherwise
// cost a hundred times as much as other numbers.
class NoDenormals {
#if defined(__SSE2__)
    unsigned before_ = _mm_getcsr();

  public:
    NoDenormals() { _mm_setcsr(before_ | 0x8040u); }
    ~NoDenormals() { _mm_setcsr(before_); }
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

// The iterations of the following loop touch different memory.
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

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
    const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // to the nearest whole number
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

// A state beyond this has left the dynamics: it would be infinite or NaN next.
constexpr scalar ENDLESS = scalar(1e30);

// The first of N numbers that is not within the limit (NaN is not), -1 for none.
template <int N>
inline int first_endless(const scalar* x) {
    int bad = 0;
    INDEPENDENT for (int n = 0; n < N; ++n) bad |= int(!(x[n] <= ENDLESS && x[n] >= -ENDLESS));
    for (int n = 0; bad && n < N; ++n)
        if (!(x[n] <= ENDLESS && x[n] >= -ENDLESS)) return n;
    return -1;
}

// Writes the neurons below N with g >= 0 to `out`, in order; returns how many.
template <int N>
inline int64_t find_crossed(int32_t* out, const scalar* g) {
    int64_t count = 0;
    for (int n = 0; n < N; n += LANES) {
        unsigned mask = 0;
#if defined(__AVX512F__) && defined(__AVX512VL__)
        if constexpr (sizeof(scalar) == 4) {
            mask = _mm512_cmp_ps_mask(_mm512_load_ps(reinterpret_cast<const float*>(g + n)), _mm512_setzero_ps(), _CMP_GE_OQ);
            if (N - n < LANES) mask &= (1u << (N - n)) - 1u;
            const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            const __m512i neuron = _mm512_add_epi32(lane, _mm512_set1_epi32(n));
            _mm512_storeu_si512(out + count, _mm512_maskz_compress_epi32(__mmask16(mask), neuron));
        } else {
            mask = _mm512_cmp_pd_mask(_mm512_load_pd(reinterpret_cast<const double*>(g + n)), _mm512_setzero_pd(), _CMP_GE_OQ);
            if (N - n < LANES) mask &= (1u << (N - n)) - 1u;
            const __m256i neuron = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(n));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + count), _mm256_maskz_compress_epi32(__mmask8(mask), neuron));
        }
        count += __builtin_popcount(mask);
#else
        for (int i = 0; i < LANES; ++i) mask |= unsigned(g[n + i] >= scalar(0)) << i;
        if (N - n < LANES) mask &= (1u << (N - n)) - 1u;
        for (; mask; mask &= mask - 1) out[count++] = n + __builtin_ctz(mask);
#endif
    }
    return count;
}

// acc[0:N] += sum over r < n of base[index[r] * N : + N]; the sum stays in registers over all rows.
template <int N, bool Zero = false>
inline void add_rows(scalar* __restrict acc, const scalar* __restrict base, const int32_t* __restrict index, int64_t n) {
    constexpr int V = N / LANES, U = V < UNROLL ? V : UNROLL;
    for (int v = 0; v + U <= V; v += U) {
        vec s[U];
#pragma GCC unroll 16
        for (int u = 0; u < U; ++u) s[u] = Zero ? vec{} : load(acc + (v + u) * LANES);
        for (int64_t r = 0; r < n; ++r) {
            const scalar* row = base + int64_t(index[r]) * N + v * LANES;
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

// out[r] += base[index[r] * N : + N] . q, r < n.
template <int N>
inline void dot_rows(scalar* __restrict out, const scalar* __restrict base, const int32_t* __restrict index, int64_t n,
                     const scalar* __restrict q) {
    constexpr int V = N / LANES, U = V < UNROLL ? V : UNROLL;
    for (int v = 0; v + U <= V; v += U) {
        vec c[U];
#pragma GCC unroll 16
        for (int u = 0; u < U; ++u) c[u] = load(q + (v + u) * LANES);
        for (int64_t r = 0; r < n; ++r) {
            const scalar* row = base + int64_t(index[r]) * N + v * LANES;
            vec s[4] = {};
#pragma GCC unroll 16
            for (int u = 0; u < U; ++u) s[u % 4] += load(row + u * LANES) * c[u];
            out[r] += lane_sum((s[0] + s[1]) + (s[2] + s[3]));
        }
    }
    for (int v = V / U * U; v < V; ++v) {
        const vec c = load(q + v * LANES);
        for (int64_t r = 0; r < n; ++r) out[r] += lane_sum(load(base + int64_t(index[r]) * N + v * LANES) * c);
    }
}

// Memory aligned for vectors; grows, keeps its content, is never touched by exceptions across the C border.
template <typename T>
struct Buffer {
    T* data = nullptr;
    int64_t size = 0;
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { std::free(data); }
    void reserve(int64_t n) {
        if (n <= size) return;
        n = n > 2 * size ? n : 2 * size;
        void* fresh = nullptr;
        if (posix_memalign(&fresh, 64, (size_t(n) * sizeof(T) + 63) / 64 * 64)) throw std::bad_alloc();
        if (size) std::memcpy(fresh, data, size_t(size) * sizeof(T));
        std::free(data);
        data = static_cast<T*>(fresh);
        size = n;
    }
    void zero(int64_t n) {
        reserve(n);
        if (n) std::memset(data, 0, size_t(n) * sizeof(T));
    }
    T& operator[](int64_t i) { return data[i]; }
    operator T*() { return data; }
};

// The spikes of one population in one trial: those of step k are start[k] .. start[k + 1].
template <int Records>
struct Spikes {
    Buffer<int32_t> neuron, start;
    Buffer<scalar> record[Records];
    int64_t count = 0;
    // Room for `extra` more spikes, and for one vector that find_crossed may write beyond them.
    void reserve(int64_t extra) {
        if (count + extra + 16 <= neuron.size) return;
        neuron.reserve(count + extra + 16);
        for (auto& r : record) r.reserve(neuron.size);
    }
};

// Groups arrivals by source: after sort(), source m arrived at steps[begin[m] .. begin[m + 1]], in time order.
struct BySource {
    Buffer<int32_t> begin, steps, fill;
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
};

// grad[m] (+)= sum of the history rows of source m's arrivals; `first` overwrites.
template <int N>
inline void gather_gradient(scalar* __restrict grad, const scalar* __restrict history, BySource& by, int64_t sources,
                            bool first) {
    for (int64_t m = 0; m < sources; ++m) {
        const int64_t from = by.begin[m], n = by.begin[m + 1] - from;
        if (first)
            add_rows<N, true>(grad + m * N, history, by.steps.data + from, n);
        else if (n)
            add_rows<N>(grad + m * N, history, by.steps.data + from, n);
    }
}

// Threads that wait for work; task i of n always goes to thread i * threads / n (static schedule).
class Pool {
  public:
    explicit Pool(int threads) : threads_(threads) {
        try {
            for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { loop(t); });
        } catch (...) {  // the system refuses more threads: end those that run, or their destructor ends the process
            end();
            throw;
        }
    }
    ~Pool() { end(); }
    void end() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            stop_ = true;
            generation_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        for (auto& w : workers_) w.join();
    }
    int threads() const { return threads_; }
    template <typename F>
    void run(int64_t n, F& task) {
        call_ = [](void* f, int64_t i, int t) { (*static_cast<F*>(f))(i, t); };
        context_ = &task;
        n_ = n;
        pending_.store(threads_ - 1, std::memory_order_relaxed);
        if (threads_ > 1) {
            {
                std::lock_guard<std::mutex> lock(mutex_);
                generation_.fetch_add(1, std::memory_order_release);
            }
            wake_.notify_all();
        }
        share(0);
        for (int spin = 0; pending_.load(std::memory_order_acquire) > 0; ++spin)
            if (spin > 2000) std::this_thread::yield();
    }

  private:
    void share(int t) {
        const int64_t from = n_ * t / threads_, to = n_ * (t + 1) / threads_;
        for (int64_t i = from; i < to; ++i) call_(context_, i, t);
    }
    void loop(int t) {
        uint64_t seen = 0;
        for (;;) {
            for (int spin = 0; spin < 4000 && generation_.load(std::memory_order_acquire) == seen; ++spin)
                std::atomic_signal_fence(std::memory_order_seq_cst);
            if (generation_.load(std::memory_order_acquire) == seen) {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
            }
            ++seen;
            if (stop_) return;
            share(t);
            pending_.fetch_sub(1, std::memory_order_acq_rel);
        }
    }
    int threads_;
    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<uint64_t> generation_{0};
    std::atomic<int> pending_{0};
    void (*call_)(void*, int64_t, int) = nullptr;
    void* context_ = nullptr;
    int64_t n_ = 0;
    bool stop_ = false;
};

// Sums over slices first .. first + slices - 1 of the `all` slices of a batch, by a fixed tree whatever the number of
// threads, as far as they can be formed from these: in place where each begins, and the one that begins first in out.
// grad[s * size + i] is of slice first + s. See engines/parts.py.
inline void reduce_slices(
    scalar* out, scalar* grad, int64_t size, int64_t slices, int64_t first, int64_t all, Pool& pool) {
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
    pool.run((size + CHUNK - 1) / CHUNK, task);
}

}  // namespace
