// The interface of host.cpp to a network: threads, and a store for recorded spikes.
#include <cstdint>

struct Host {
    int threads = 0;
    // Calls task(context, i, t) for all i < n, on thread t = i * threads / n; returns when all are done.
    void (*run)(Host&, int64_t n, void (*task)(void* context, int64_t i, int t), void* context) = nullptr;
    // Makes room for the spikes of a batch. Here and below, false means out of memory.
    bool (*start_records)(Host&, int64_t batch) = nullptr;
    // Stores the spikes of a sample; those of step k are start[k] .. start[k + 1].
    bool (*keep_steps)(Host&, int population, int64_t sample, const int32_t* neurons, const int32_t* start,
                       int64_t n_steps, double dt) = nullptr;
    // Stores the spikes of a sample with their times.
    bool (*keep_times)(Host&, int population, int64_t sample, const int32_t* neurons, const double* times,
                       int64_t count) = nullptr;
    // What the network keeps between calls, and how to free it.
    void* network = nullptr;
    void (*drop)(void* network) = nullptr;
    // A batch runs without Python's lock, which its caller returns to now and then to handle signals.
    void (*begin)(Host&) = nullptr, (*end)(Host&) = nullptr, (*look)(Host&) = nullptr;
    int over = 0;  // nobody wants the rest of this batch

    struct Over {};
    // Trials call it every few steps.
    __attribute__((noinline, cold)) void poll() {
        look(*this);
        if (__atomic_load_n(&over, __ATOMIC_RELAXED)) throw Over();
    }
};
