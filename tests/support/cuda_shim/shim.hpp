// Runs CUDA text on a CPU, a few blocks beside each other, to test what generated kernels compute and that neither their
// threads nor their blocks depend on each other's order. Every thread of a block is a fiber; barriers, ballots and shuffles are real:
// a fiber waits there for the others of its block or warp. Shared memory is poisoned before each block. Threads and blocks
// run in ascending, descending or shuffled order; shuffled, blocks take turns as well. A barrier that not all threads reach, or reach at different places, aborts;
// so does an element of shared or global memory that two threads use, one of them writing, without a barrier between
// them, or without an end: no barrier orders two blocks of a launch. Atomic operations do not race with each other.
// It shows nothing about memory models, speed or the driver.
// It is compiled anew with every text, so it includes nothing of C++ but <cmath>: containers and <algorithm> would take
// the compiler longer than the kernels do.
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <cmath>

using std::exp; using std::expm1; using std::fabs; using std::log; using std::sqrt; using std::pow;
using std::fmin; using std::fmax; using std::sin; using std::cos; using std::tan; using std::sinh; using std::cosh; using std::tanh;

namespace shim {

struct Index { int x = 0, y = 0, z = 0; };

constexpr int WARP = 32, MANY = -1;
constexpr size_t STACK = 1 << 20, SHARED_BYTES = 1 << 18;

struct Block;
struct Fiber {
    ucontext_t start;
    jmp_buf place;        // where it goes on, once it has begun
    bool begun = false;
    Block *of = nullptr;
    char *stack = (char *)malloc(STACK);
    Index thread;
    bool done = false;
    int waits_at = 0;       // line of the barrier it waits at, 0: it runs
    bool of_warp = false;   // it waits for its warp alone
    uint64_t given = 0;     // what it brings to an exchange
};

struct Use;
constexpr int MOST_FIBERS = 1024, BESIDE = 3;
// A block that runs: its threads, its shared memory, and who has used each byte of that.
struct Block {
    Index index;
    long epoch = 0;  // between two barriers; no two blocks share one
    Fiber *fibers[MOST_FIBERS] = {};
    char *shared = nullptr;
    Use *uses = nullptr;
};
inline Block blocks_beside[BESIDE];
inline int n_fibers = 0;  // of each block
inline Fiber *current = nullptr;
inline jmp_buf scheduler;
inline Index block_size;
constexpr int BLOCK_BITS = 24;  // of an epoch: the number of its block; the others count
inline long serial = 0, launch_start = 0;  // of the last epoch; the first epoch of this launch
inline void next_epoch(Block &b) { b.epoch = (++serial << BLOCK_BITS) | (b.index.x & ((1 << BLOCK_BITS) - 1)); }
inline int mutate_barrier = 0, barriers = 0;  // leave out the n-th barrier, to see that a check turns red
inline void (*body)(const void *) = nullptr;
inline const void *argument = nullptr;
inline bool failed = false;
inline char message[256];

// Jumps, as swapcontext calls the system twice: kernels with a barrier an event took six times as long. By its symbol: what
// _FORTIFY_SOURCE puts in the place of longjmp takes a jump to another stack for an error.
extern "C" [[noreturn]] void unchecked_longjmp(jmp_buf, int) __asm__("_longjmp");
inline void yield() {
    if (!_setjmp(current->place)) unchecked_longjmp(scheduler, 1);
}
inline void resume(Fiber &f) {
    if (_setjmp(scheduler)) return;
    if (f.begun) unchecked_longjmp(f.place, 1);
    f.begun = true;
    setcontext(&f.start);
}

[[noreturn]] inline void leave() {
    current->done = true;
    yield();
    abort();
}
inline void fail(const char *what, int at) {
    if (!failed) snprintf(message, sizeof message, "%s (line or element %d, thread %d, block %d)", what, at, current ? current->thread.x : -1, current ? current->of->index.x : -1);
    failed = true;
    leave();
}
inline void wait(int line, bool of_warp) {
    current->waits_at = line;
    current->of_warp = of_warp;
    yield();
}
inline void barrier(int line) {
    if (++barriers == mutate_barrier) return;
    wait(line, false);
}
inline int barrier_or(int line, int value) {
    current->given = uint64_t(value != 0);
    wait(line, false);
    int any = 0;
    for (int i = 0; i < n_fibers; ++i) any |= int(current->of->fibers[i]->given);
    wait(-line, false);
    return any;
}
inline int warp_of(const Fiber &f) { return f.thread.x / WARP; }
// Hands over a value, waits for the warp, and reads another lane's; a second wait keeps the values until all have read.
template <class Read> auto exchange(int line, uint64_t value, Read read) {
    current->given = value;
    wait(line, true);
    const auto result = read(&current->of->fibers[warp_of(*current) * WARP]);
    wait(-line, true);
    return result;
}
inline uint32_t ballot(int line, int predicate) {
    return exchange(line, uint64_t(predicate != 0), [](Fiber **lanes) {
        uint32_t bits = 0;
        for (int i = 0; i < WARP; ++i) bits |= uint32_t(lanes[i]->given) << i;
        return bits;
    });
}
template <class T> T shuffle_down(int line, T value, int offset) {
    uint64_t raw = 0;
    memcpy(&raw, &value, sizeof value);
    const int lane = current->thread.x % WARP;
    return exchange(line, raw, [&](Fiber **lanes) {
        T out;
        memcpy(&out, &lanes[lane + offset < WARP ? lane + offset : lane]->given, sizeof out);
        return out;
    });
}

template <class T> T shuffle(int line, T value, int from) {
    uint64_t raw = 0;
    memcpy(&raw, &value, sizeof value);
    return exchange(line, raw, [&](Fiber **lanes) {
        T out;
        memcpy(&out, &lanes[(from % WARP + WARP) % WARP]->given, sizeof out);
        return out;
    });
}

// The last accesses to an element, by epoch and thread; the epoch tells the block as well.
struct Use {
    long written, read, changed;      // changed: by an atomic operation
    long read_before, changed_before;  // by another block of the launch
    int16_t writer, reader, changer;
};
static_assert(sizeof(Use) == 48, "as the host makes them");
inline bool by_another(long when, int who) { return when == current->of->epoch && who != current->thread.x; }
// No barrier orders two blocks of a launch, whichever ran first.
inline bool by_other_block(long when) {
    return when >= launch_start && (when ^ current->of->epoch) & ((1L << BLOCK_BITS) - 1);
}
inline void note(long &when, int16_t &who) {
    who = by_another(when, who) ? MANY : int16_t(current->thread.x);
    when = current->of->epoch;
}
// Blocks matter in global memory alone: shared memory begins anew with each.
[[noreturn]] inline void race(bool global, const char *what, const void *at) {
    static char text[80];
    snprintf(text, sizeof text, "race on %s memory, %s", global ? "global" : "shared", what);
    fail(text, int((const char *)at - (const char *)0 & 0xffff));
    abort();
}
inline void wrote(Use &u, bool global, const void *at) {
    bool bad = by_another(u.written, u.writer) || by_another(u.read, u.reader) || by_another(u.changed, u.changer);
    if (global) bad |= by_other_block(u.written) || by_other_block(u.read) || by_other_block(u.read_before) || by_other_block(u.changed) || by_other_block(u.changed_before);
    if (bad) race(global, "a write", at);
    note(u.written, u.writer);
}
inline void has_read(Use &u, bool global, const void *at) {
    bool bad = by_another(u.written, u.writer) || by_another(u.changed, u.changer);
    if (global) bad |= by_other_block(u.written) || by_other_block(u.changed) || by_other_block(u.changed_before);
    if (bad) race(global, "a read", at);
    if (by_other_block(u.read)) u.read_before = u.read;
    note(u.read, u.reader);
}
inline void has_changed(Use &u, bool global, const void *at) {
    bool bad = by_another(u.written, u.writer) || by_another(u.read, u.reader);
    if (global) bad |= by_other_block(u.written) || by_other_block(u.read) || by_other_block(u.read_before);
    if (bad) race(global, "an atomic operation", at);
    if (by_other_block(u.changed)) u.changed_before = u.changed;
    note(u.changed, u.changer);
}

inline Use &use_of(const void *place) { return current->of->uses[(const char *)place - current->of->shared]; }
constexpr int SLOT = 4;  // bytes of global memory that have one `Use`: no element is smaller

// An element whose accesses are compared with those of other threads.
template <class T> struct Row;
template <class T, bool global> struct Element {
    T *at;
    Use *use;
    operator T() const { has_read(*use, global, at); return *at; }
    const Element &operator=(T value) const { wrote(*use, global, at); *at = value; return *this; }
    const Element &operator=(const Element &other) const { return *this = T(other); }
    const Element &operator+=(T value) const { return *this = T(T(*this) + value); }
    const Element &operator-=(T value) const { return *this = T(T(*this) - value); }
    T change(T value) const { has_changed(*use, global, at); const T before = *at; *at = value; return before; }
    Row<T> operator&() const { return {at, use}; }
};
// An array in shared memory.
template <class T> struct Checked {
    T *first;
    int count;
    Element<T, false> operator[](int64_t i) const {
        if (i < 0 || i >= count) fail("outside of an array in shared memory", int(i));
        return {first + i, &use_of(first + i)};
    }
    Element<T, false> operator*() const { return (*this)[0]; }
};
// An array in global memory: `bytes` up to the next array, or to the end of the piece of memory that it is in.
template <class T> struct Global {
    T *first;
    int64_t bytes;
    Use *uses;
    template <class I> Element<T, true> operator[](I i) const {
        if (i < 0 || int64_t(i) >= bytes / int64_t(sizeof(T))) fail("wrote outside of a piece of global memory", int(i));
        return {first + i, uses + int64_t(i) * int64_t(sizeof(T)) / SLOT};
    }
    Element<T, true> operator*() const { return (*this)[0]; }
    Element<T, true> operator+(int64_t i) const { return (*this)[i]; }  // the place of a counter
    explicit operator bool() const { return first; }
};
// The same, of what kernels do not write.
template <class T> struct Given {
    const T *first;
    int64_t bytes;
    Use *uses;
    template <class I> const T &operator[](I i) const {
        if (i < 0 || int64_t(i) >= bytes / int64_t(sizeof(T))) fail("read outside of a piece of global memory", int(i));
        return first[i];
    }
    Given operator+(int64_t i) const { return {first + i, bytes - i * int64_t(sizeof(T)), uses}; }
    operator const T *() const { return first; }
    explicit operator bool() const { return first; }
};
// From an element of a row on.
template <class T> struct Row {
    const T *at;
    Use *use;
    Row(const T *place, Use *its = nullptr) : at(place), use(its) {}
    Row operator-(int64_t i) const { return {at - i, use ? use - i * int64_t(sizeof(T)) / SLOT : nullptr}; }
    T operator[](int64_t i) const {
        if (use) has_read(use[i * int64_t(sizeof(T)) / SLOT], true, at + i);
        return at[i];
    }
};
template <class T> const Element<T, true> &place_of(const Element<T, true> &e) { return e; }
template <class T> Element<T, true> place_of(const Global<T> &a) { return *a; }
template <class T> Element<T, false> place_of(const Checked<T> &a) { return *a; }
template <class E, class T> void atomic_add(const E &to, T value) { place_of(to).change(*place_of(to).at + value); }
template <class E, class T> void atomic_min(const E &to, T value) { const auto &e = place_of(to); e.change(value < *e.at ? value : *e.at); }
template <class E, class T> void atomic_max(const E &to, T value) { const auto &e = place_of(to); e.change(value > *e.at ? value : *e.at); }

// A piece of memory of the device, with a `Use` for every `SLOT` of its bytes.
struct Piece { char *start; int64_t bytes; Use *uses; };
inline int64_t shared_bytes = 0;  // that the launch has asked for

// The struct of a kernel: its addresses become arrays that are checked, in the order of fields; numbers stay.
inline void resolve(const uint64_t *raw, int arrays, int numbers, const Piece *pieces, int n_pieces, uint64_t *out) {
    for (int i = 0; i < arrays; ++i) {
        char *const at = (char *)raw[i];
        const Piece *in = nullptr;
        for (int k = 0; k < n_pieces; ++k)
            if (at >= pieces[k].start && at < pieces[k].start + pieces[k].bytes) in = pieces + k;
        char *end = in ? in->start + in->bytes : at;
        for (int k = 0; k < arrays; ++k)
            if ((char *)raw[k] > at && (char *)raw[k] < end) end = (char *)raw[k];
        out[3 * i] = raw[i], out[3 * i + 1] = uint64_t(end - at), out[3 * i + 2] = in ? uint64_t(in->uses + (at - in->start) / SLOT) : 0;
    }
    memcpy(out + 3 * arrays, raw + arrays, size_t(numbers) * 8);
}

inline void entry() { body(argument); leave(); }

// Whether n fibers wait at the place where the first waits, with their warp alone or not.
inline bool all_wait(Fiber **first, int n, bool of_warp) {
    for (int i = 0; i < n; ++i)
        if (first[i]->done || first[i]->of_warp != of_warp || first[i]->waits_at != first[0]->waits_at) return false;
    return first[0]->waits_at != 0;
}
inline void wake(Fiber **first, int n) {
    for (int i = 0; i < n; ++i) first[i]->waits_at = 0;
}
// Whether the fibers that wait can go on: all of a block, or of a warp, at one place.
inline bool release(Block &b) {
    bool any = false;
    for (int w = 0; w < n_fibers; w += WARP) {
        if (!all_wait(b.fibers + w, WARP, true)) continue;
        wake(b.fibers + w, WARP);
        any = true;
    }
    if (any) return true;
    if (!all_wait(b.fibers, n_fibers, false)) return false;
    wake(b.fibers, n_fibers);
    next_epoch(b);
    return true;
}

inline uint64_t random_state;  // splitmix64
inline uint64_t random_bits() {
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
inline void shuffle(int *turn, int n) {
    for (int i = n - 1; i > 0; --i) {
        const int j = int(random_bits() % uint64_t(i + 1)), kept = turn[i];
        turn[i] = turn[j], turn[j] = kept;
    }
}
// 0 to n - 1; order 0: ascending, 1: descending, 2: shuffled.
inline void in_order(int *turn, int n, int order) {
    for (int i = 0; i < n; ++i) turn[i] = order == 1 ? n - 1 - i : i;
    if (order == 2) shuffle(turn, n);
}

// Lets every thread of a block run until it waits or ends; true if all have ended.
inline bool run_some(Block &b, int order) {
    int turn[MOST_FIBERS];
    in_order(turn, n_fibers, order);
    bool all_done = true, some_run = false;
    for (int i = 0; i < n_fibers; ++i) {
        current = b.fibers[turn[i]];
        if (!current->done && !current->waits_at) resume(*current);
        if (failed) return true;
    }
    for (int i = 0; i < n_fibers; ++i) {
        all_done &= b.fibers[i]->done;
        some_run |= !b.fibers[i]->done && !b.fibers[i]->waits_at;
    }
    if (!all_done && !some_run && !release(b)) {
        snprintf(message, sizeof message, "threads wait at different barriers, or some have left");
        failed = true;
    }
    return all_done;
}

inline void begin(Block &b, int index) {
    if (!b.shared) b.shared = (char *)aligned_alloc(64, SHARED_BYTES), b.uses = (Use *)calloc(SHARED_BYTES, sizeof(Use));
    b.index.x = index;
    memset(b.shared, 0xff, size_t(shared_bytes));
    next_epoch(b);
    for (int i = 0; i < n_fibers; ++i) {
        if (!b.fibers[i]) b.fibers[i] = new Fiber;
        Fiber &f = *b.fibers[i];
        f.of = &b, f.thread.x = i, f.done = f.begun = false, f.waits_at = 0, f.given = 0;
        getcontext(&f.start);
        f.start.uc_stack.ss_sp = f.stack;
        f.start.uc_stack.ss_size = STACK;
        f.start.uc_link = nullptr;
        makecontext(&f.start, (void (*)())entry, 0);
    }
}

}  // namespace shim

namespace shim {
template <class T> Checked<T> share(char *place, int count) {
    if (place + count * int64_t(sizeof(T)) > current->of->shared + shared_bytes) fail("more shared memory than the launch has asked for", count);
    return {(T *)place, count};
}
// What kernels call `shared_memory`: bytes to divide, or numbers.
struct Shared {
    explicit operator char *() const { return current->of->shared; }
    Element<double, false> operator[](int64_t i) const { return share<double>(current->of->shared, int(shared_bytes / 8))[i]; }
};
}  // namespace shim

#define __global__
#define __device__
#define __shared__
#define __launch_bounds__(...)
#define threadIdx (shim::current->thread)
#define blockIdx (shim::current->of->index)
#define blockDim (shim::block_size)
#define __syncthreads() shim::barrier(__LINE__)
#define __syncthreads_or(value) shim::barrier_or(__LINE__, value)
#define __ballot_sync(mask, predicate) shim::ballot(__LINE__, predicate)
#define __shfl_down_sync(mask, value, offset) shim::shuffle_down(__LINE__, value, offset)
#define __shfl_up_sync(mask, value, offset) shim::shuffle(__LINE__, value, shim::current->thread.x % 32 >= offset ? shim::current->thread.x % 32 - (offset) : shim::current->thread.x % 32)
#define __shfl_sync(mask, value, lane) shim::shuffle(__LINE__, value, lane)
#define __ffs(bits) __builtin_ffs(int(bits))
#define __popc(bits) __builtin_popcount(bits)
#define atomicAdd(to, value) shim::atomic_add(to, value)
#define RAW(array) (array).first
#define LEAVE() shim::leave()
#define BARRIER() shim::barrier(1 << 30)  // one place for all
#define __noinline__ __attribute__((noinline))
#define SHARED(T) const shim::Checked<T>
#define SHARE(T, place, count) shim::share<T>(place, count)
#define atomicMin(to, value) shim::atomic_min(to, value)
#define atomicMax(to, value) shim::atomic_max(to, value)
inline int __float_as_int(float value) { int bits; memcpy(&bits, &value, 4); return bits; }
inline double __longlong_as_double(long long bits) { double value; memcpy(&value, &bits, 8); return value; }

// Runs a kernel; order 0: ascending, 1: descending, 2: shuffled. Returns 0, or 1 with a message.
extern "C" inline int shim_launch(void (*kernel)(const void *), int blocks, int threads, int shared, const void *argument, int order, int seed, int mutate) {
    shim::shared_bytes = shared, shim::launch_start = (shim::serial + 1) << shim::BLOCK_BITS;
    if (size_t(shared) > shim::SHARED_BYTES) {
        snprintf(shim::message, sizeof shim::message, "%d bytes of shared memory", shared);
        return 1;
    }
    if (threads > shim::MOST_FIBERS) {
        snprintf(shim::message, sizeof shim::message, "%d threads, more than %d", threads, shim::MOST_FIBERS);
        return 1;
    }
    shim::random_state = uint64_t(seed);
    shim::failed = false, shim::mutate_barrier = mutate, shim::barriers = 0;
    shim::body = kernel, shim::argument = argument, shim::block_size.x = threads, shim::n_fibers = threads;
    int *turn = (int *)malloc(size_t(blocks) * sizeof(int));
    shim::in_order(turn, blocks, order);
    const int beside = order == 2 && blocks > 1 ? blocks < shim::BESIDE ? blocks : shim::BESIDE : 1;
    shim::Block *running[shim::BESIDE];
    int next = 0, n_running = 0;
    for (; next < beside; ++next) shim::begin(*(running[n_running++] = &shim::blocks_beside[next]), turn[next]);
    while (n_running > 0 && !shim::failed) {
        const int k = n_running == 1 ? 0 : int(shim::random_bits() % uint64_t(n_running));
        if (!shim::run_some(*running[k], order) || shim::failed) continue;
        if (next < blocks) shim::begin(*running[k], turn[next++]);
        else running[k] = running[--n_running];
    }
    free(turn);
    return shim::failed;
}
extern "C" inline const char *shim_message() { return shim::message; }
