// What the C++ of exact spike times (codegen/cpp/exact and general) uses beside the language, for a device: NVRTC has no standard
// library, and memory that grows comes from a part of the device's memory that each block has. `std` in that text is `library` here.

#ifndef RAW  // the address of an array of the struct of a call, without what checks its use on a CPU
#define RAW(array) (array)
#define LEAVE() asm volatile("exit;")
#define BARRIER() asm volatile("barrier.sync 0;" ::: "memory")
#endif

#define __builtin_ctz(bits) lowest(bits)

typedef signed char int8_t;
typedef short int16_t;
typedef unsigned short uint16_t;

// The memory of a block, `size` bytes behind this. What is freed is not used again, but a list that grows doubles, so that never more than
// half is lost. left: why and where the block left its trial, for the host.
enum { NO_ROOM, POPULATION, STEP, STATE, NEURON, FACTS };
struct alignas(64) Arena {
    int64_t size, used, *left;
    void *args, *work;
};
__device__ char *arenas;         // of all blocks of a launch
__device__ int64_t arena_bytes;  // of each
inline Arena &arena() { return *(Arena *)(arenas + blockIdx.x * arena_bytes); }

// What all threads of a block do together. Thread WORKERS, the leader, takes a trial through its events; the others wait for what it has for
// neurons, which it hands out between two barriers: a copy of a function and of what that captures.
constexpr int WORKERS = THREADS - 32, TASK = 512;
struct Task {
    void (*run)(const char *, int, int);  // none: the trial is over
    int from, to, any;
    double sums[WORKERS / 32];
    alignas(16) char copy[TASK];
};
extern __shared__ double shared_memory[];
inline Task &task() { return *(Task *)(char *)shared_memory; }
template <class F> void hand_out(int from, int to, void (*run)(const char *, int, int), const F &f) {
    static_assert(sizeof f <= TASK, "captures less");
    Task &next = task();
    memcpy(next.copy, &f, sizeof f), next.run = run, next.from = from, next.to = to, next.any = 0;
    BARRIER();
    BARRIER();
}
inline void work() {
    for (;;) {
        BARRIER();
        const Task &next = task();
        if (!next.run) return;
        if (threadIdx.x < WORKERS) next.run(next.copy, next.from, next.to);
        BARRIER();
    }
}
// The end of a trial, wherever the leader is.
inline void dismiss() {
    task().run = nullptr;
    BARRIER();
}
template <class F> void run_each(const char *f, int from, int to) {
    for (int k = from + threadIdx.x; k < to; k += WORKERS) (*(const F *)f)(k);
}
template <class F> void run_any(const char *f, int from, int to) {
    for (int k = from + threadIdx.x; k < to; k += WORKERS)
        if ((*(const F *)f)(k)) task().any = 1;
}
template <class F> void run_sum(const char *f, int from, int to) {
    double total = 0;
    for (int k = from + threadIdx.x; k < to; k += WORKERS) total += (*(const F *)f)(k);
    total = warp_sum(total);
    if (threadIdx.x % 32 == 0) task().sums[threadIdx.x / 32] = total;
}
template <class F> void each_lane(int n, const F &f) { hand_out(0, n, run_each<F>, f); }
template <class F> bool any_lane(int n, const F &f) {
    hand_out(0, n, run_any<F>, f);
    return task().any;
}
template <class F> real sum_each(int from, int to, const F &f) {
    hand_out(from, to, run_sum<F>, f);
    double total = 0;
    for (int w = 0; w < WORKERS / 32; ++w) total += task().sums[w];
    return real(total);
}
template <class F> real sum_lanes(int from, int to, const F &f) {
    return sum_each(from, to, [=](int k) { return f(k).a; });
}

struct Place {
    void *at;
};
inline void *operator new(size_t, Place place) noexcept { return place.at; }

namespace library {

using ::memcpy, ::memset;
using ::exp, ::log, ::pow, ::sqrt, ::sin, ::cos, ::tan, ::sinh, ::cosh, ::tanh, ::fabs, ::cbrt, ::expm1, ::erfc, ::lgamma, ::ldexp, ::ilogb, ::ceil, ::fmin, ::fmax;
template <class T> bool isfinite(T x) { return x - x == 0; }
template <class T> bool isinf(T x) { return x == x && x - x != 0; }

template <class T> struct numeric_limits;
template <> struct numeric_limits<double> {
    static double infinity() { return INFINITE; }
    static double quiet_NaN() { return NOT_A_NUMBER; }
    static double max() { return 1.7976931348623157e308; }
    static double epsilon() { return 2.220446049250313e-16; }
};
template <> struct numeric_limits<float> {
    static float infinity() { return float(INFINITE); }
    static float quiet_NaN() { return float(NOT_A_NUMBER); }
    static float max() { return 3.4028234663852886e38f; }
    static float epsilon() { return 1.1920929e-7f; }
};
template <> struct numeric_limits<int32_t> {
    static constexpr int32_t max() { return 0x7fffffff; }
};
template <class A, class B> struct is_same { static constexpr bool value = false; };
template <class A> struct is_same<A, A> { static constexpr bool value = true; };
template <class A, class B> constexpr bool is_same_v = is_same<A, B>::value;
template <bool B, class T, class F> struct conditional { typedef T type; };
template <class T, class F> struct conditional<false, T, F> { typedef F type; };
template <class T> struct bare { typedef T type; };
template <class T> struct bare<T &> { typedef T type; };
template <class T> struct bare<T &&> { typedef T type; };
template <class T> struct bare<const T> { typedef T type; };
template <class T> struct bare<const T &> { typedef T type; };
template <class T> using decay_t = typename bare<T>::type;
template <class T> using remove_reference_t = typename bare<T>::type;
template <class T> constexpr const T &min(const T &a, const T &b) { return b < a ? b : a; }
template <class T> constexpr const T &max(const T &a, const T &b) { return a < b ? b : a; }
template <class T> void swap(T &a, T &b) {
    const T c = a;
    a = b, b = c;
}

// Aligned by 64 bytes; the block leaves where there is no more.
inline void *allocate(size_t count) {
    Arena &memory = arena();
    const int64_t start = memory.used;
    memory.used += ((int64_t)count + 63) / 64 * 64;
    if (memory.used > memory.size) {
        memory.left[NO_ROOM] = 1;
        dismiss();
        LEAVE();
    }
    return (char *)(&memory + 1) + start;
}

template <class T> struct vector {
    T *first = nullptr;
    size_t count = 0, room = 0;
    void grow(size_t n) {
        if (n <= room) return;
        n = n > 2 * room + 8 ? n : 2 * room + 8;
        T *fresh = (T *)allocate(n * sizeof(T));
        if (count) memcpy((void *)fresh, (const void *)first, count * sizeof(T));
        first = fresh, room = n;
    }
    void resize(size_t n) {
        grow(n);
        for (size_t i = count; i < n; ++i) new (Place{first + i}) T();
        count = n;
    }
    void assign(size_t n, const T &value) {
        clear(), grow(n);
        for (; count < n; ++count) new (Place{first + count}) T(value);
    }
    void push_back(const T &value) {
        const T kept = value;
        grow(count + 1), new (Place{first + count++}) T(kept);
    }
    void pop_back() { --count; }
    void clear() { count = 0; }
    void erase(T *from, T *) { count = size_t(from - first); }
    void swap(vector &other) { library::swap(*this, other); }
    T *data() { return first; }
    bool empty() const { return count == 0; }
    size_t size() const { return count; }
    T *begin() { return first; }
    T *end() { return first + count; }
    const T *begin() const { return first; }
    const T *end() const { return first + count; }
    T &operator[](size_t i) { return first[i]; }
    const T &operator[](size_t i) const { return first[i]; }
    T &front() { return first[0]; }
    const T &front() const { return first[0]; }
    T &back() { return first[count - 1]; }
    const T &back() const { return first[count - 1]; }
};

struct Less {
    template <class A, class B> bool operator()(const A &a, const B &b) const { return a < b; }
};
template <class T, class Is> T *partition_point(T *from, T *to, const Is &is) {
    while (from < to) {
        T *const middle = from + (to - from) / 2;
        if (is(*middle)) from = middle + 1;
        else to = middle;
    }
    return from;
}
template <class T, class V, class L = Less> T *lower_bound(T *from, T *to, const V &value, const L &less = L()) {
    return partition_point(from, to, [&](const auto &a) { return less(a, value); });
}
template <class T, class V, class L = Less> T *upper_bound(T *from, T *to, const V &value, const L &less = L()) {
    return partition_point(from, to, [&](const auto &a) { return !less(value, a); });
}
template <class T, class L> T *min_element(T *from, T *to, const L &less) {
    T *best = from;
    for (T *a = from; a < to; ++a)
        if (less(*a, *best)) best = a;
    return best;
}
template <class T> void move_backward(T *from, T *to, T *end) {
    while (to > from) *--end = *--to;
}
template <class T> void reverse(T *from, T *to) {
    for (; from < --to; ++from) swap(*from, *to);
}
template <class T> T *unique(T *from, T *to) {
    T *end = from;
    for (T *a = from; a < to; ++a)
        if (a == from || !(*a == end[-1])) *end++ = *a;
    return end;
}
// A heap has its largest element in front.
template <class T, class L> void sink(T *heap, size_t i, size_t n, const L &less) {
    const T moved = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && less(heap[child], heap[child + 1])) ++child;
        if (!less(moved, heap[child])) break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}
template <class T, class L> void push_heap(T *from, T *to, const L &less) {
    size_t i = size_t(to - from) - 1;
    const T moved = from[i];
    for (; i > 0 && less(from[(i - 1) / 2], moved); i = (i - 1) / 2) from[i] = from[(i - 1) / 2];
    from[i] = moved;
}
template <class T, class L> void pop_heap(T *from, T *to, const L &less) {
    swap(*from, to[-1]), sink(from, 0, size_t(to - from) - 1, less);
}
template <class T, class L = Less> void sort(T *from, T *to, const L &less = L()) {
    const size_t n = size_t(to - from);
    for (size_t i = n / 2; i-- > 0;) sink(from, i, n, less);
    for (size_t end = n; end-- > 1;) swap(from[0], from[end]), sink(from, 0, end, less);
}
// Compared as words are.
template <class... T> struct Tied {
    bool operator<(const Tied &) const { return false; }
};
template <class A, class... More> struct Tied<A, More...> {
    const A &first;
    Tied<More...> rest;
    bool operator<(const Tied &o) const { return first < o.first || (!(o.first < first) && rest < o.rest); }
};
inline Tied<> tie() { return {}; }
template <class A, class... More> Tied<A, More...> tie(const A &first, const More &...more) { return {first, tie(more...)}; }

}  // namespace library

inline int posix_memalign(void **to, size_t, size_t count) {
    *to = library::allocate(count);
    return 0;
}
namespace library {
inline void free(void *) {}
}  // namespace library

namespace {

// Vectors of native have one lane here.
constexpr int VECTOR_BYTES = sizeof(scalar), UNROLL = 2, LANES = 1;
#define INDEPENDENT
#define ONE_LANE
// A vector of one number.
template <class T> struct One {
    T a;
    T &operator[](int) { return a; }
    T operator[](int) const { return a; }
    One operator-() const { return {-a}; }
    One operator+() const { return *this; }
#define OPERATOR(o)                                                         \
    friend One operator o(One u, One v) { return {u.a o v.a}; }             \
    friend One operator o(One u, T v) { return {u.a o v}; }                 \
    friend One operator o(T u, One v) { return {u o v.a}; }                 \
    One &operator o##=(One v) { return *this = *this o v; }                 \
    One &operator o##=(T v) { return *this = *this o v; }
    OPERATOR(+) OPERATOR(-) OPERATOR(*) OPERATOR(/)
#undef OPERATOR
#define COMPARED(o)                                                 \
    friend bool operator o(One u, One v) { return u.a o v.a; }      \
    friend bool operator o(One u, T v) { return u.a o v; }
    COMPARED(<) COMPARED(>) COMPARED(<=) COMPARED(>=)
#undef COMPARED
};
template <class T> One<T> larger(One<T> u, One<T> v) { return {u.a > v.a ? u.a : v.a}; }
typedef One<scalar> vec;
inline vec load(const scalar *p) { return {*p}; }
inline void store(scalar *p, vec v) { *p = v.a; }
inline scalar lane_sum(vec v) { return v.a; }
template <int Bytes> scalar halves_sum(vec v) { return v.a; }
inline unsigned not_negative(vec v) { return v.a >= 0; }
inline double quick_exp(double x) { return exp(x); }
inline float quick_exp(float x) { return expf(x); }
template <int N> scalar lanes_max(const scalar *x) {
    scalar most = x[0];
    for (int n = 1; n < N; ++n) most = x[n] > most ? x[n] : most;
    return most;
}
template <int N> scalar lanes_total(const scalar *x) {
    scalar total = 0;
    for (int n = 0; n < N; ++n) total += x[n];
    return total;
}
// The neurons with g >= 0, in order; returns how many.
template <int N> int64_t find_crossed(int32_t *out, const scalar *g) {
    int64_t count = 0;
    for (int n = 0; n < N; ++n)
        if (g[n] >= 0) out[count++] = n;
    return count;
}
// A trial that failed: population, counted from 1; step and state where known.
struct Trouble {
    int population = 0;
    int64_t sample = -1, step = -1, state = -1, neuron = -1;
};
// Ends a trial from within.
inline void abandon(const Trouble &trouble) {
    int64_t *const left = arena().left;
    left[POPULATION] = trouble.population, left[STEP] = trouble.step, left[STATE] = trouble.state, left[NEURON] = trouble.neuron;
    dismiss();
    LEAVE();
}
inline void no_memory() {}  // `allocate` has left
struct Host {
    void poll() {}
};

}  // namespace
