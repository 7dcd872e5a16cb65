// A whole batch in one call: slices of samples over threads, each slice processed whole by one thread, in order.

namespace {

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
    // Spikes with times of their own.
    void keep(int64_t sample, const int32_t* neurons, const double* times, int64_t count) {
        neuron[size_t(sample)].assign(neurons, neurons + count);
        time[size_t(sample)].assign(times, times + count);
    }
};

// The trial that could not be run: population (from 1, 0: none), sample of the batch; where known step, state, neuron.
struct Trouble {
    int population = 0;
    int64_t sample = -1, step = -1, state = -1, neuron = -1;
};

struct Engine {
    explicit Engine(int threads) : pool(threads), work(size_t(threads)) {}
    Pool pool;
    std::vector<Work> work;
    std::vector<Recording> recorded;
    Trouble trouble;
};

void keep_spikes(Engine& engine, const Args& args, Work& work, int64_t sample);

// Fills in when and where the trial of `trouble` went wrong.
void locate(const Args& args, Work& work, Trouble& trouble);

// Outer loss of one trial: prediction, loss, dL/dr / batch in work.dr, lambda_V at T in work.last.
void outer_loss(const Args& args, Work& work, int64_t sample);

int run_batch(Engine& engine, const Args& args) {
    if (args.record)
        for (auto& r : engine.recorded) {
            r.neuron.resize(size_t(args.batch));
            r.time.resize(size_t(args.batch));
        }
    std::atomic<bool> no_memory{false};
    std::vector<Trouble> troubles(size_t(args.n_slices));
    // Slice s of the whole batch begins at sample s * whole_batch / whole_slices of it; ours begin with first_slice.
    auto start = [&](int64_t slice) { return (args.first_slice + slice) * args.whole_batch / args.whole_slices; };
    auto task = [&](int64_t slice, int thread) {
        try {
            const NoDenormals fast;
            Work& work = engine.work[size_t(thread)];
            work.prepare(args);
            work.guarded = 0;
            const int64_t begin = start(slice) - start(0), end = start(slice + 1) - start(0);
            for (int64_t sample = begin; sample < end; ++sample) {
                if (const int population = forward(args, work, sample)) {
                    troubles[size_t(slice)].population = population;
                    troubles[size_t(slice)].sample = sample;
                    return;
                }
                outer_loss(args, work, sample);
                if (args.record) keep_spikes(engine, args, work, sample);
                if (args.training) backward(args, work, sample, args.slices + slice * GRADIENT_SIZE, sample == begin);
            }
            args.guarded[slice] = work.guarded;
        } catch (const std::bad_alloc&) {
            no_memory.store(true);
        }
    };
    engine.pool.run(args.n_slices, task);
    if (no_memory.load()) return 1;
    for (Trouble& trouble : troubles)
        if (trouble.population) {  // of the first such sample, whatever the number of threads
            locate(args, engine.work[0], trouble);
            engine.trouble = trouble;
            return 1 + trouble.population;
        }
    if (args.training)
        reduce_slices(
            args.gradient, args.slices, GRADIENT_SIZE, args.n_slices, args.first_slice, args.whole_slices, engine.pool);
    return 0;
}

}  // namespace

extern "C" {

void* eventprop_create(int threads, int populations) {
    try {
        Engine* engine = new Engine(threads);
        engine->recorded.resize(size_t(populations));
        return engine;
    } catch (...) {
        return nullptr;
    }
}

void eventprop_destroy(void* engine) { delete static_cast<Engine*>(engine); }

// 0: done, 1: out of memory, 2 + i: the i-th population (with exact spike times: of the spiking ones) ran away.
int eventprop_run(void* engine, void* const* arrays, const double* numbers, const int64_t* integers) {
    return run_batch(*static_cast<Engine*>(engine), unpack(arrays, numbers, integers));
}

// sample, step, state, neuron of the trial because of which eventprop_run failed, -1 where not known.
void eventprop_trouble(void* engine, int64_t* out) {
    const Trouble& t = static_cast<Engine*>(engine)->trouble;
    out[0] = t.sample, out[1] = t.step, out[2] = t.state, out[3] = t.neuron;
}

int64_t eventprop_recorded(void* engine, int population, int64_t sample) {
    return int64_t(static_cast<Engine*>(engine)->recorded[size_t(population)].neuron[size_t(sample)].size());
}

void eventprop_copy_recorded(void* engine, int population, int64_t sample, int32_t* neuron, double* time) {
    const Recording& r = static_cast<Engine*>(engine)->recorded[size_t(population)];
    const auto& n = r.neuron[size_t(sample)];
    const auto& t = r.time[size_t(sample)];
    std::copy(n.begin(), n.end(), neuron);
    std::copy(t.begin(), t.end(), time);
}

// Runs task(context, i) for i < n on the engine's threads; lets other generated code (optimisers) share them.
void eventprop_parallel(void* engine, void (*task)(void*, int64_t), void* context, int64_t n) {
    auto call = [&](int64_t i, int) { task(context, i); };
    static_cast<Engine*>(engine)->pool.run(n, call);
}
}

namespace {
