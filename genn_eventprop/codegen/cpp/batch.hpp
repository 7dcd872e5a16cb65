// Runs a whole batch in one call. Slices of samples are distributed over threads; one thread processes a slice, in order.

namespace {

constexpr int NO_MEMORY = -1;  // stands in place of the population

// What a network keeps between calls.
struct Engine {
    Host& host;
    Work* const work;  // one per thread
    Work* trials = nullptr;  // one per sample: what the forward half of a batch leaves to the backward half
    int64_t n_trials = 0;
    Buffer<Work*> slots;  // of pieces of a recording
    int64_t n_slots = 0;
    Trouble trouble;
    explicit Engine(Host& h) : host(h), work(new Work[size_t(h.threads)]) {}
    ~Engine() {
        for (int64_t i = 0; i < n_slots; ++i) delete slots[i];
        delete[] work, delete[] trials;
    }
    Work& slot(int64_t number) {
        for (; n_slots <= number; ++n_slots) slots.reserve(n_slots + 1), slots[n_slots] = new Work;
        return *slots[number];
    }
    void keep(int64_t samples) {
        if (samples <= n_trials) return;
        delete[] trials;
        trials = nullptr, n_trials = 0;
        trials = new Work[size_t(samples)];
        n_trials = samples;
    }
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
};

// Hands the spikes of a trial over to the host; returns false if out of memory.
bool keep_spikes(Host& host, const Args& args, Work& work, int64_t sample);

// Fills in when and where the trial of `trouble` diverged.
void locate(const Args& args, Work& work, Trouble& trouble);

// Outer loss of one trial: hands over readouts and loss, sets dL/dr divided by the batch, and lambda_V at T of silent outputs.
void outer_loss(const Args& args, Work& work, int64_t sample);

constexpr int OVER = -1;  // what a batch returns that nobody wanted to its end
constexpr int64_t SPIKES = 3;  // a call that only hands over the spikes of the trials that a forward half has left

int run_batch(Engine& engine, const Args& args) {
    if (args.half == FORWARDS && !PIECES) engine.keep(args.batch);
    if (args.record && !engine.host.start_records(engine.host, args.batch)) return 1;
    if (args.half == SPIKES) {
        for (int64_t sample = 0; sample < args.batch; ++sample)
            if (!keep_spikes(engine.host, args, engine.trials[sample], sample)) return 1;
        return 0;
    }
    Buffer<Trouble> troubles;  // one per slice
    troubles.reserve(args.n_slices);
    for (int64_t slice = 0; slice < args.n_slices; ++slice) troubles[slice] = Trouble();
    // Slice s begins at sample s * whole_batch / whole_slices of the whole batch; this call starts with first_slice.
    auto start = [&](int64_t slice) { return (args.first_slice + slice) * args.whole_batch / args.whole_slices; };
    auto task = [&](int64_t slice, int thread) {
        try {
            const NoDenormals fast;
            const int64_t begin = start(slice) - start(0), end = start(slice + 1) - start(0);
            if (args.half != BACKWARDS) args.guarded[slice] = 0;
            for (int64_t sample = begin; sample < end; ++sample) {
                Work& work = PIECES ? engine.slot(args.slot) : args.half == WHOLE ? engine.work[size_t(thread)] : engine.trials[sample];
                if (args.half != BACKWARDS) {
                    work.prepare(args);
                    work.guarded = 0;
                    if (const int population = forward(args, work, sample)) {
                        troubles[slice].population = population;
                        troubles[slice].sample = sample;
                        return;
                    }
                    args.guarded[slice] += work.guarded;
                    if (args.record && !keep_spikes(engine.host, args, work, sample)) throw std::bad_alloc();
                }
                const bool back = args.training && args.half != FORWARDS;
                // the trial of a forward half runs backwards in the memory of the thread, which is in its cache; its states are traded in and back
                Work& near = PIECES ? work : engine.work[size_t(thread)];
                if (back) near.prepare_back(args);
                if (args.half == BACKWARDS && !PIECES) work.trade(near);
                outer_loss(args, work, sample);
                try {
                    if (back) backward(args, work, sample, args.slices + slice * GRADIENT_SIZE, sample == begin && !PIECES);
                } catch (const Trouble& trouble) {  // of Taylor series
                    troubles[slice] = trouble, troubles[slice].sample = sample;
                }
                if (args.half == BACKWARDS && !PIECES) work.trade(near);
                if (troubles[slice].population) return;
            }
        } catch (const std::bad_alloc&) {
            troubles[slice].population = NO_MEMORY;
        } catch (const Host::Over&) {  // as the other slices are, or will be
        }
    };
    on_threads(engine.host, args.n_slices, task);
    if (engine.host.over) return OVER;
    for (int64_t slice = 0; slice < args.n_slices; ++slice)
        if (troubles[slice].population == NO_MEMORY) return 1;
    for (int64_t slice = 0; slice < args.n_slices; ++slice) {
        Trouble& trouble = troubles[slice];
        if (trouble.population) {  // the first failing sample, whatever the number of threads
            // a piece of a recording says where it stopped, a whole trial is run again
            if (trouble.step < 0) locate(args, PIECES ? engine.slot(args.slot) : engine.work[0], trouble);
            engine.trouble = trouble;
            return 1 + trouble.population;
        }
    }
    if (args.training && args.half != FORWARDS)
        reduce_slices(
            args.gradient, args.slices, GRADIENT_SIZE, args.n_slices, args.first_slice, args.whole_slices, engine.host);
    return 0;
}

}  // namespace

extern "C" {

// Allocates what the network keeps between calls. 0: done, 1: out of memory.
int eventprop_attach(Host* host) {
    try {
        host->network = new Engine(*host);
    } catch (const std::bad_alloc&) {
        return 1;
    }
    host->drop = [](void* network) { delete static_cast<Engine*>(network); };
    return 0;
}

// Returns 0 on success, 1 if out of memory, 2 + i if population i diverged (with exact spike times, the i-th spiking one),
// OVER if it was stopped: by a signal handler that has raised an exception, or by host_stop. Called with Python's lock.
int eventprop_run(Host* host, void* const* arrays, const double* numbers, const int64_t* integers) {
    host->begin(*host);
    int status = OVER;
    try {
        Args args = unpack(arrays, numbers, integers);
        args.host = host;
        status = run_batch(*static_cast<Engine*>(host->network), args);
    } catch (const std::bad_alloc&) {
        status = 1;
    } catch (const Host::Over&) {
    }
    host->end(*host);
    return status;
}

// Sample, step, state and neuron of the trial that failed in eventprop_run; -1 where unknown.
void eventprop_trouble(Host* host, int64_t* out) {
    const Trouble& t = static_cast<Engine*>(host->network)->trouble;
    out[0] = t.sample, out[1] = t.step, out[2] = t.state, out[3] = t.neuron;
}
}

namespace {
