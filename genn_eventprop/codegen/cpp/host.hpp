// What a network has of host.cpp: threads, and a store for spikes.
#include <cstdint>

struct Host {
    int threads = 0;
    // task(context, i, t) for i < n, i on thread t = i * threads / n; returns when all are done.
    void (*run)(Host&, int64_t n, void (*task)(void* context, int64_t i, int t), void* context) = nullptr;
    // Room for the spikes of a batch. false, here and below: out of memory.
    bool (*start_records)(Host&, int64_t batch) = nullptr;
    // The spikes of a sample: those of step k are start[k] .. start[k + 1].
    bool (*keep_steps)(Host&, int population, int64_t sample, const int32_t* neurons, const int32_t* start,
                       int64_t n_steps, double dt) = nullptr;
    // The spikes of a sample, with times of their own.
    bool (*keep_times)(Host&, int population, int64_t sample, const int32_t* neurons, const double* times,
                       int64_t count) = nullptr;
    // What the network keeps between calls, and how it is dropped.
    void* network = nullptr;
    void (*drop)(void* network) = nullptr;
};
