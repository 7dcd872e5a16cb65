// The part of an engine that is the same for every network: its threads and recorded spikes. Compiled after host.hpp.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace {

// A pool of threads with a static schedule: task i of n always runs on thread i * threads / n.
class Pool {
  public:
    explicit Pool(int threads) : threads_(threads) {
        try {
            for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { loop(t); });
        } catch (...) {  // too many threads: stop those that run, since destroying a running one ends the process
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
    void run(int64_t n, void (*task)(void*, int64_t, int), void* context) {
        call_ = task;
        context_ = context;
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

struct Owner : Host {
    Owner(int n_threads, int populations) : pool(n_threads), recorded(size_t(populations)) {
        threads = n_threads;
        run = [](Host& host, int64_t n, void (*task)(void*, int64_t, int), void* context) {
            of(host).pool.run(n, task, context);
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
};

}  // namespace

extern "C" {

// Null if the system refuses the threads or the memory.
Host* host_create(int threads, int populations) {
    try {
        return new Owner(threads, populations);
    } catch (...) {
        return nullptr;
    }
}

void host_destroy(Host* host) { delete static_cast<Owner*>(host); }

int64_t host_recorded(Host* host, int population, int64_t sample) {
    return int64_t(Owner::of(*host).recorded[size_t(population)].neuron[size_t(sample)].size());
}

void host_copy_recorded(Host* host, int population, int64_t sample, int32_t* neuron, double* time) {
    const Recording& r = Owner::of(*host).recorded[size_t(population)];
    const auto& n = r.neuron[size_t(sample)];
    const auto& t = r.time[size_t(sample)];
    std::copy(n.begin(), n.end(), neuron);
    std::copy(t.begin(), t.end(), time);
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
