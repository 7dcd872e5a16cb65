// Spikes in trials on the grid: those of the input as they arrive, those of a step as a list, and their rows of weights.
// `T` is the struct `Trial`; arrays have types of their own where code runs on a CPU.

// The spikes of an input, of which a connection takes those of a step: a window of 32 of them, a spike a lane, and the
// window after it, which is on its way.
struct InputWindow {
    int64_t next;  // number of the first spike of the window
    int32_t at, channel, at_after, channel_after;
    uint32_t now;  // lanes whose spikes arrive at the step: `count` from `first` on, as spikes are in order
    int first, count;

    // Asks for a window, as the one after.
    template <class T> __device__ void ask(const T *t, int64_t start, int64_t to) {
        const int64_t e = start + threadIdx.x % 32;
        at_after = e < to ? t->steps[e] : NEVER;
        channel_after = e < to ? t->channels[e] : 0;
    }
    // The window after it, which is there by now; asks for the one behind that.
    template <class T> __device__ void advance(const T *t, int64_t to) {
        next += 32;
        at = at_after;
        channel = channel_after;
        ask(t, next + 32, to);
    }
    // The first window of spikes `from` ... `to` - 1 of the data set: advance() from one of nothing before it.
    template <class T> __device__ void begin(const T *t, int64_t from, int64_t to) {
        ask(t, from, to);
        next = from - 32;
        advance(t, to);
    }
    // Leaves out windows all of whose spikes come before a step.
    template <class T> __device__ void skip(const T *t, int64_t to, int64_t step) {
        while (__shfl_sync(EVERY, at, 31) < step) advance(t, to);
    }
    // Finds the spikes of the window that were sent at `step`.
    __device__ void find(int64_t step) {
        now = __ballot_sync(EVERY, at == (int32_t)step);
        first = lowest(now);
        count = __popc(now);
    }
    // Whether the window after it may have spikes of the step too.
    __device__ bool goes_on() const { return now >> 31; }
    // Of spike number `k` that arrives now.
    __device__ int32_t source(int k) const { return __shfl_sync(EVERY, channel, first + k); }
};

// Turns a row of bits, WORDS words of 32 neurons, into the list of these neurons and their number `sent`, in one warp: a
// lane takes a word, and a scan over the warp says how many bits the words before it have. There is no atomic counter,
// whose order would differ from run to run, and no barrier between warps. word(v, v / 32) is asked for in every lane.
template <int WORDS, class List, class Count, class Word>
__device__ inline void list_bits(List list, Count sent, Word word) {
    const int lane = threadIdx.x % 32;
    int before = 0;
#pragma unroll
    for (int base = 0; base < WORDS; base += 32) {
        const int v = base + lane;
        uint32_t rest = word(v, base / 32);
        const int last = warp_scan(__popc(rest));
        int place = before + last - __popc(rest);
        for (; rest; rest &= rest - 1) list[place++] = (uint16_t)(32 * v + lowest(rest));
        before += __shfl_sync(EVERY, last, 31);
    }
    if (lane == 0) *sent = before;
}

// Calls spike(channel) for every spike of an input that was sent at `step`, in order.
template <class T, class Spike>
__device__ inline void each_arrival(InputWindow &input, const T *t, int64_t to, int64_t step, Spike spike) {
    for (input.find(step);; input.find(step)) {
        for (int at = 0; at < input.count; ++at) spike(input.source(at));
        if (!input.goes_on()) return;
        input.advance(t, to);
    }
}

// The rows of weights from spikes to the neurons of a thread through a dense connection, TOGETHER of them: a step is a chain
// of loads that wait for memory, some 300 cycles each, so that rows are asked for before any is added.
//
// POST: neurons of the target, of which a thread has one in THREADS. PRE: sources, the channels from FIRST on; 0: all.
// weight(source, neuron); arrive(neuron, i, w): adds a weight to the sums of neuron, number i of its thread.
template <int POST, int TOGETHER, int FIRST, int PRE, class Weight, class Arrive> struct Rows {
    static constexpr int SLOTS = (POST + THREADS - 1) / THREADS, ROWS = TOGETHER;
    Weight weight;
    Arrive arrive;
    real of[ROWS * SLOTS];

    // Asks for a row without waiting for it; zeros if it is not there: a branch around a load would make the next one wait.
    __device__ void ask(int j, bool there, int32_t channel) {
        const int64_t source = channel - FIRST;
        const bool mine = there && (PRE == 0 || (source >= 0 && source < PRE));
        each_neuron<POST>([&](int32_t neuron, int i) { of[j * SLOTS + i] = mine ? weight(source, neuron) : (real)0; });
    }
    __device__ void add(int j) {
        each_neuron<POST>([&](int32_t neuron, int i) { arrive(neuron, i, of[j * SLOTS + i]); });
    }
};
template <int POST, int TOGETHER, int FIRST, int PRE, class Weight, class Arrive>
__device__ inline Rows<POST, TOGETHER, FIRST, PRE, Weight, Arrive> rows(Weight weight, Arrive arrive) {
    return {weight, arrive};
}

// What connections do together that take the same spikes, `count` of them, of which source(k) is number k: they ask for as
// many rows each, from spike number `start` on, add those that they have asked for, or do both as long as there are spikes.
template <class Source, class R, class... More>
__device__ inline void ask(int start, int count, Source source, R &rows, More &...more) {
#pragma unroll
    for (int j = 0; j < R::ROWS; ++j) {
        const bool there = start + j < count;
        const int32_t channel = source(start + j);
        rows.ask(j, there, channel), (more.ask(j, there, channel), ...);
    }
}
template <class R, class... More> __device__ inline void add(R &rows, More &...more) {
#pragma unroll
    for (int j = 0; j < R::ROWS; ++j) rows.add(j), (more.add(j), ...);
}
template <class Source, class R, class... More>
__device__ inline void add_from(int start, int count, Source source, R &rows, More &...more) {
    for (int k = start; k < count; k += R::ROWS) {
        ask(k, count, source, rows, more...);
        add(rows, more...);
    }
}

// The first rows of the spikes of an input, which is at those that were sent at `step`; and, once they have been asked for,
// the rows of all of them.
template <class R> __device__ inline void ask_first(const InputWindow &input, R &rows) {
    ask(0, input.count, [&](int k) { return input.source(k); }, rows);
}
template <class T, class R>
__device__ inline void add_arrivals(InputWindow &input, const T *t, int64_t to, int64_t step, R &rows) {
    const auto source = [&](int k) { return input.source(k); };
    add(rows);
    add_from(R::ROWS, input.count, source, rows);
    while (input.goes_on()) {
        input.advance(t, to);
        input.find(step);
        add_from(0, input.count, source, rows);
    }
}

// What a loss of every step is, `so_far` and the sum over the steps from `first` to before `end` of what each(step, sum) adds to its sum;
// threads share the steps, and the first one, which alone has the total, adds their sums in the order of the warps.
template <class Sums, class Each>
__device__ inline double sum_steps(int64_t first, int64_t end, double so_far, Sums sums, Each each) {
    double running = 0;
    for (int64_t step = first + threadIdx.x; step < end; step += THREADS) each(step, running);
    running = warp_sum(running);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = running;
    __syncthreads();
    if (threadIdx.x == 0)
        for (int w = 0; w < THREADS / 32; ++w) so_far += sums[w];
    return so_far;
}
