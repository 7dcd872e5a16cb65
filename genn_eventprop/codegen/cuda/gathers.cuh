// Gradients of weights, delays and neuron parameters, over the spikes of all samples. A warp alone makes a number or 32 of
// them, so that nothing is atomic and no sample has a gradient in memory.
//
// `G` is what `gathers.py` prints of a connection, for one parameter of it:
//
//     t                                   the struct `Trial`
//     sent(), spikes(sample, source, start, count)
//                                         when spikes were sent, and which of these times are those of a source
//     delay(synapse), ONE_DELAY           steps from a spike to its arrival; whether all synapses of a source have the same
//     value(row, delay, synapse, leads)   what a spike that arrives in a row adds, of the rows of all samples; leads: this
//                                         is the first synapse of its number
//     gradient(k), adding(), RESULT       the result; whether it is added to what is there; its number among the results
//     SLICES, parts()                     of numbers with many synapses: each is cut into slices, a warp each, since few
//                                         numbers would leave most of the card idle; and the sums of slices
//
// and what each function says that it needs besides.

struct Synapse {
    int32_t source, n;  // n: the target
    int64_t w;          // of the weight
};

// Calls spike(at, row, left) for every spike of a source in every sample, 32 at a time, one a lane: the step `at` at which
// it was sent, its `row` among the steps of all samples, -1 where a lane has none, and how many spikes are left.
//
// First the lanes look up how many spikes 32 samples have; then the spikes of all of these, the last one of a sample first,
// are divided among the lanes, since most samples have only a few.
template <class G, class Spike> __device__ inline void each_spike(const G &g, int32_t source, int lane, Spike spike) {
    for (int64_t first = 0; first < g.t->batch; first += 32) {
        int64_t start = 0;
        int count = 0;
        if (first + lane < g.t->batch) g.spikes(first + lane, source, start, count);
        const int last = warp_scan(count), every = __shfl_sync(EVERY, last, 31);
        for (int base = 0; base < every; base += 32) {
            const int k = base + lane, whose = sample_of(last, k);
            const int64_t place = __shfl_sync(EVERY, start + last - 1, whose) - k;
            const int32_t at = k < every ? g.sent()[place] : NEVER;
            const int64_t row = k < every ? (first + whose) * g.t->n_steps + at : -1;
            spike(at, row, every - base);
        }
    }
}

// All lanes look at each spike of a source, `FLIGHT` at a time since each waits for memory, and add to `total` what it does
// through their own synapse, if `mine`. Where all lanes have one delay, the lane of the spike says where it arrives.
template <class G>
__device__ inline void add_together(const G &g, Synapse synapse, bool mine, int lane, real &total) {
    const int64_t n_steps = g.t->n_steps, delay = g.delay(synapse);
    each_spike(g, synapse.source, lane, [&](const int32_t at, const int64_t row, const int left) {
        const int64_t arrival = row >= 0 && at + delay < n_steps ? row + delay : -1;
        for (int some = 0; some < 32 && some < left; some += FLIGHT) {
            real x[FLIGHT];
#pragma unroll
            for (int j = 0; j < FLIGHT; ++j) {
                int64_t r;
                if (G::ONE_DELAY) {
                    r = __shfl_sync(EVERY, arrival, some + j);
                } else {
                    const int64_t of = __shfl_sync(EVERY, row, some + j), step = __shfl_sync(EVERY, at, some + j);
                    r = of >= 0 && step + delay < n_steps ? of + delay : -1;
                }
                x[j] = mine && r >= 0 ? g.value(r, delay, synapse, false) : (real)0;
            }
#pragma unroll
            for (int j = 0; j < FLIGHT; ++j) total += x[j];
        }
    });
}

// Each lane adds what its spike does through the warp's synapse.
template <class G>
__device__ inline void add_apart(const G &g, Synapse synapse, bool leads, int lane, real &total) {
    const int64_t delay = g.delay(synapse);
    each_spike(g, synapse.source, lane, [&](const int32_t at, const int64_t row, int) {
        if (row >= 0 && at + delay < g.t->n_steps) total += g.value(row + delay, delay, synapse, leads);
    });
}

// Result number k, from lanes that have its total.
template <class G> __device__ inline void put(const G &g, int64_t k, real total) {
    g.gradient(k) = total;
    note_unfinite(g.t, G::RESULT, total);
}

// The same of a slice, whose sum `add_slices` adds to those of the others.
template <class G> __device__ inline void put_slice(const G &g, int64_t k, int slice, real total) {
    if constexpr (G::SLICES == 1)
        put(g, k, g.adding() ? total + g.gradient(k) : total);
    else
        g.parts()[k * G::SLICES + slice] = total;
}

// No two synapses share a number: a lane has a synapse of the warp's source. A source has `PARTS` warps; a row longer than
// these have lanes is gone through in tiles. Synapses of a source have numbers from begin(source) to end(source), which is
// read again for each: kept in a register it makes others spill.
template <class G> __device__ inline void gather_synapses(const G &g, int64_t item, int lane) {
    const int32_t source = (int32_t)(item / G::PARTS);
    for (int32_t first = g.begin(source) + (int32_t)(item % G::PARTS) * 32; first < g.end(source); first += G::PARTS * 32) {
        const bool mine = first + lane < g.end(source);
        const Synapse synapse = g.synapse(source, mine ? first + lane : first);
        real total = mine && g.adding() ? g.gradient(synapse.w) : (real)0;
        add_together(g, synapse, mine, lane, total);
        if (mine) put(g, synapse.w, total);
    }
}

// Synapses that share a number, those from start(number) on: a warp takes one after the other.
template <class G> __device__ inline void gather_groups(const G &g, int64_t item, int lane) {
    const int64_t group = item / G::SLICES;
    const int slice = (int)(item % G::SLICES), begin = g.start(group), end = g.start(group + 1);
    real total = 0;
    for (int k = begin + slice; k < end; k += G::SLICES) add_apart(g, g.synapse(k), k == begin, lane, total);
    total = warp_sum(total);
    if (lane == 0) put_slice(g, group, slice, total);
}

// The same for windows, where every place of a window has a synapse with the weight: the lanes of a warp have the weights of
// a row, side by side in the adjoint too; of short rows, that are not `WIDE`, one each, and the lanes the spikes.
//
// Weights are numbered (cell of the window, channel of the source within its group, channel of the target): a row is the
// channels of one group of the target, ROW of them, which one spike of the source moves together. Source and target have
// lines and columns of channels, HEIGHT x WIDTH x C_IN and PLACES / COLUMNS x COLUMNS x C_OUT; a group of the source DEPTH.
template <class G> __device__ inline void gather_windows(const G &g, int64_t item, int lane) {
    constexpr int GROUPS = G::C_OUT / G::ROW;
    const int slice = (int)(item % G::SLICES), row = (int)(item / G::SLICES / G::TILES);
    const int column = (G::WIDE ? 32 : 1) * (int)(item / G::SLICES % G::TILES) + (G::WIDE ? lane : 0);
    const int group = row % GROUPS, depth = row / GROUPS % G::DEPTH, cell = row / GROUPS / G::DEPTH;
    const bool mine = column < G::ROW;
    const int o = group * G::ROW + (mine ? column : 0);
    const int64_t w = ((int64_t)cell * G::DEPTH + depth) * G::C_OUT + o;
    real total = 0;
    for (int32_t place = slice; place < G::PLACES; place += G::SLICES) {
        const int32_t y = place / G::COLUMNS * G::STRIDE_Y + cell / G::KERNEL * G::DILATION_Y - G::PADDING_Y;
        const int32_t x = place % G::COLUMNS * G::STRIDE_X + cell % G::KERNEL * G::DILATION_X - G::PADDING_X;
        if (y < 0 || y >= G::HEIGHT || x < 0 || x >= G::WIDTH) continue;
        const Synapse synapse{(y * G::WIDTH + x) * G::C_IN + group * G::DEPTH + depth, place * G::C_OUT + o, w};
        if constexpr (G::WIDE)
            add_together(g, synapse, mine, lane, total);
        else
            add_apart(g, synapse, false, lane, total);
    }
    if constexpr (!G::WIDE) total = warp_sum(total);
    if (G::WIDE ? mine : lane == 0) put_slice(g, w, slice, total);
}

// The sums of slices, in order.
template <class G> __device__ inline void add_slices(const G &g, int64_t item, int lane) {
    const int64_t k = item * 32 + lane;
    if (k >= G::NUMBERS) return;
    real total = g.adding() ? g.gradient(k) : (real)0;
    for (int slice = 0; slice < G::SLICES; ++slice) total += g.parts()[k * G::SLICES + slice];
    put(g, k, total);
}

// The gradient of a parameter of neurons, `size` numbers of each sample.
template <class T, class Of, class Into>
__device__ inline void sum_neurons(const T *t, Of of, Into into, int size, int64_t item, int lane) {
    const int64_t n = 32 * item + lane;
    if (n < size) sum_samples(t, into, n, [&](int64_t sample, real &total) { total += of[sample * size + n]; });
}
