// The part of an engine that is the same for every network: its threads and recorded spikes. Compiled after host.hpp.
// POSIX threads by their C interface: <thread>, <mutex> and <condition_variable> take half a second to compile.
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <atomic>
#include <cstring>
#include <new>
#include <vector>
#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace {

// A pool of threads with a static schedule: task i of n always runs on thread i * threads / n.
class Pool {
  public:
    explicit Pool(int threads) : threads_(threads), workers_(size_t(threads)) {
        for (int t = 0; t < threads; ++t) workers_[size_t(t)].pool = this, workers_[size_t(t)].number = t;
        for (running_ = 1; running_ < threads; ++running_) {
            Worker& worker = workers_[size_t(running_)];
            if (pthread_create(&worker.thread, nullptr, &Pool::begin, &worker)) {  // too many: stop those that run
                end();
                throw std::bad_alloc();
            }
        }
    }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    ~Pool() { end(); }
    int threads() const { return threads_; }
    template <typename F>
    void run(int64_t n, void (*task)(void*, int64_t, int), void* context, F waiting) {
        call_ = task;
        context_ = context;
        n_ = n;
        pending_.store(threads_ - 1, std::memory_order_relaxed);
        if (threads_ > 1) next_generation(false);
        share(0);
        for (int spin = 0; pending_.load(std::memory_order_acquire) > 0; ++spin)
            if (spin > 2000) sched_yield(), waiting();
    }

  private:
    struct Worker {
        Pool* pool;
        int number;
        pthread_t thread;
    };
    static void* begin(void* worker) {
        static_cast<Worker*>(worker)->pool->loop(static_cast<Worker*>(worker)->number);
        return nullptr;
    }
    void next_generation(bool stop) {
        pthread_mutex_lock(&mutex_);
        stop_ = stop;
        generation_.fetch_add(1, std::memory_order_release);
        pthread_mutex_unlock(&mutex_);
        pthread_cond_broadcast(&wake_);
    }
    void end() {
        next_generation(true);
        for (int t = 1; t < running_; ++t) pthread_join(workers_[size_t(t)].thread, nullptr);
    }
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
                pthread_mutex_lock(&mutex_);
                while (generation_.load(std::memory_order_relaxed) == seen) pthread_cond_wait(&wake_, &mutex_);
                pthread_mutex_unlock(&mutex_);
            }
            ++seen;
            if (stop_) return;
            share(t);
            pending_.fetch_sub(1, std::memory_order_acq_rel);
        }
    }
    const int threads_;
    int running_ = 1;  // threads that run, this one among them
    std::vector<Worker> workers_;
    pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t wake_ = PTHREAD_COND_INITIALIZER;
    std::atomic<uint64_t> generation_{0};
    std::atomic<int> pending_{0};
    void (*call_)(void*, int64_t, int) = nullptr;
    void* context_ = nullptr;
    int64_t n_ = 0;
    bool stop_ = false;
};

struct Recording {
    std::vector<std::vector<int32_t>> neuron;
    std::vector<std::vector<double>> time;
    // Spikes on the grid: those of step k are start[k] .. start[k + 1].
    void keep(int64_t sample, const int32_t* neurons, const int32_t* start, int64_t n_steps, double dt) {
        neuron[size_t(sample)].assign(neurons, neurons + start[n_steps + 1]);
        auto& t = time[size_t(sample)];
        t.clear();
        for (int64_t k = 0; k <= n_steps; ++k) t.insert(t.end(), size_t(start[k + 1] - start[k]), double(k) * dt);
    }
    // Spikes with their times.
    void keep(int64_t sample, const int32_t* neurons, const double* times, int64_t count) {
        neuron[size_t(sample)].assign(neurons, neurons + count);
        time[size_t(sample)].assign(times, times + count);
    }
};

// PyEval_SaveThread, PyEval_RestoreThread, PyErr_CheckSignals.
struct Python {
    void* (*release)();
    void (*take)(void*);
    int (*handle_signals)();
};

// Signals of a batch. Python only notes them while C runs; their handlers run in its main thread, when that asks for it.
class Signals {
  public:
    explicit Signals(const Python& p) : python_(p) {}
    void begin() {
        caller_ = pthread_self(), looked_ = seconds();
        state_ = python_.release();
    }
    void end() {
        python_.take(state_);
        state_ = nullptr;
    }
    // Whether a handler has raised an exception, which Python finds when the batch returns. Handlers run in the thread that
    // has begun the batch, every half a second; elsewhere this does nothing.
    bool raised() {
        if (!state_ || !pthread_equal(pthread_self(), caller_)) return false;
        const double now = seconds();
        if (now < looked_ + 0.5) return false;
        python_.take(state_);
        const bool raised = python_.handle_signals() != 0;
        state_ = python_.release();
        looked_ = seconds();
        return raised;
    }

  private:
    static double seconds() {
        timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
    }
    const Python python_;
    void* state_ = nullptr;
    pthread_t caller_{};
    double looked_ = 0;
};

struct Owner : Host {
    Owner(int n_threads, int populations, const Python& python)
        : pool(n_threads), recorded(size_t(populations)), signals(python) {
        threads = n_threads;
        run = [](Host& host, int64_t n, void (*task)(void*, int64_t, int), void* context) {
            of(host).pool.run(n, task, context, [&] { host.look(host); });
        };
        begin = [](Host& host) { host.over = 0, of(host).signals.begin(); };
        end = [](Host& host) { of(host).signals.end(); };
        look = [](Host& host) {
            if (of(host).signals.raised()) __atomic_store_n(&host.over, 1, __ATOMIC_RELAXED);
        };
        start_records = [](Host& host, int64_t batch) {
            return fits([&] {
                for (auto& r : of(host).recorded) r.neuron.resize(size_t(batch)), r.time.resize(size_t(batch));
            });
        };
        keep_steps = [](Host& host, int population, int64_t sample, const int32_t* neurons, const int32_t* start,
                        int64_t n_steps, double dt) {
            return fits([&] { of(host).recorded[size_t(population)].keep(sample, neurons, start, n_steps, dt); });
        };
        keep_times = [](Host& host, int population, int64_t sample, const int32_t* neurons, const double* times,
                        int64_t count) {
            return fits([&] { of(host).recorded[size_t(population)].keep(sample, neurons, times, count); });
        };
    }
    ~Owner() {
        if (drop) drop(network);
    }
    static Owner& of(Host& host) { return static_cast<Owner&>(host); }
    template <typename F>
    static bool fits(F action) {
        try {
            action();
        } catch (const std::bad_alloc&) {
            return false;
        }
        return true;
    }
    Pool pool;
    std::vector<Recording> recorded;
    Signals signals;
};

}  // namespace

extern "C" {

// Null if the system refuses the threads or the memory.
Host* host_create(int threads, int populations, const Python* python) {
    try {
        return new Owner(threads, populations, *python);
    } catch (...) {
        return nullptr;
    }
}

void host_destroy(Host* host) { delete static_cast<Owner*>(host); }

// Ends the batch that runs.
void host_stop(Host* host) { __atomic_store_n(&host->over, 1, __ATOMIC_RELAXED); }

int64_t host_recorded(Host* host, int population, int64_t sample) {
    return int64_t(Owner::of(*host).recorded[size_t(population)].neuron[size_t(sample)].size());
}

void host_copy_recorded(Host* host, int population, int64_t sample, int32_t* neuron, double* time) {
    const Recording& r = Owner::of(*host).recorded[size_t(population)];
    const auto& n = r.neuron[size_t(sample)];
    const auto& t = r.time[size_t(sample)];
    if (n.empty()) return;
    std::memcpy(neuron, n.data(), n.size() * sizeof(int32_t));
    std::memcpy(time, t.data(), t.size() * sizeof(double));
}

// Rounds n weights to float16: `half` gets their bits, `rounded` the same numbers as float32, where they are not null.
// Returns the bits of the largest size, in which infinity and nan come last. host: whose threads share the work, or null.
uint32_t host_round(Host* host, const float* weights, uint16_t* half, float* rounded, int64_t n) {
    constexpr int64_t CHUNK = 1 << 14;
    struct Call {
        const float* weights;
        uint16_t* half;
        float* rounded;
        int64_t n;
        std::atomic<uint32_t> largest{0};
    } call{weights, half, rounded, n};
    auto task = [](void* context, int64_t chunk, int) {
        Call& c = *static_cast<Call*>(context);
        const int64_t from = chunk * CHUNK, to = from + CHUNK < c.n ? from + CHUNK : c.n;
        uint32_t largest = 0;
        for (int64_t i = from; i < to; ++i) {
            uint32_t bits;
            std::memcpy(&bits, c.weights + i, sizeof bits);
            bits &= 0x7fffffffu;
            largest = bits > largest ? bits : largest;
        }
        int64_t i = from;
#if defined(__F16C__)  // the same conversions, eight at once
        for (; i + 8 <= to; i += 8) {
            const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(c.weights + i), _MM_FROUND_TO_NEAREST_INT);
            if (c.half) _mm_storeu_si128(reinterpret_cast<__m128i*>(c.half + i), half);
            if (c.rounded) _mm256_storeu_ps(c.rounded + i, _mm256_cvtph_ps(half));
        }
#endif
        for (; i < to; ++i) {
            const uint16_t half = half_of(c.weights[i]);
            if (c.half) c.half[i] = half;
            if (c.rounded) c.rounded[i] = float_of(half);
        }
        for (uint32_t known = c.largest; known < largest && !c.largest.compare_exchange_weak(known, largest);) {
        }
    };
    const int64_t chunks = (n + CHUNK - 1) / CHUNK;
    if (host && chunks > 1)
        host->run(*host, chunks, task, &call);
    else
        for (int64_t chunk = 0; chunk < chunks; ++chunk) task(&call, chunk, 0);
    return call.largest;
}

// Runs task(context, i) for i < n on the engine's threads; lets other generated code (optimisers) share them.
void host_parallel(Host* host, void (*task)(void*, int64_t), void* context, int64_t n) {
    struct Call {
        void (*task)(void*, int64_t);
        void* context;
    } call{task, context};
    host->run(*host, n, [](void* c, int64_t i, int) { static_cast<Call*>(c)->task(static_cast<Call*>(c)->context, i); }, &call);
}
}
