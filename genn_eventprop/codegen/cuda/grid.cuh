// Spikes in trials on the grid: those of the input as they arrive, those of a step as a list. `T` is the struct `Trial`;
// arrays have types of their own where code runs on a CPU.

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
