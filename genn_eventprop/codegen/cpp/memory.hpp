// Memory that grows, and the spikes of a trial; `cuda` compiles this text too.

namespace {

// Memory aligned for vectors. It grows and keeps its contents; no exception crosses the C interface.
template <typename T>
struct Buffer {
    T* data = nullptr;
    int64_t size = 0;
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { std::free(data); }
    void reserve(int64_t n) {
        if (n > size) grow(n);
    }
    [[gnu::cold, gnu::noinline]] void grow(int64_t n) {
        n = n > 2 * size ? n : 2 * size;
        void* fresh = nullptr;
        if (posix_memalign(&fresh, 64, (size_t(n) * sizeof(T) + 63) / 64 * 64)) no_memory();
        if (size) std::memcpy(fresh, data, size_t(size) * sizeof(T));
        std::free(data);
        data = static_cast<T*>(fresh);
        size = n;
    }
    void zero(int64_t n) {
        reserve(n);
        if (n > 0) std::memset(data, 0, size_t(n) * sizeof(T));
    }
    void trade(Buffer& other) { std::swap(data, other.data), std::swap(size, other.size); }
    T& operator[](int64_t i) { return data[i]; }
    operator T*() { return data; }
};

// `count` sources of a connection, from `index` on.
struct Sources {
    const int32_t* index;
    int64_t count;
};

// The spikes of one population in one trial: those of step k are start[k] .. start[k + 1]. There are none at step 0.
template <int Records, typename Starts = Buffer<int32_t>>
struct Spikes {
    Buffer<int32_t> neuron;
    Starts start;
    Buffer<scalar> record[Records > 0 ? Records : 1];
    int64_t count = 0;
    // Room for `extra` more spikes, and for one vector that find_crossed may write beyond them.
    void reserve(int64_t extra) {
        if (count + extra + 16 <= neuron.size) return;
        neuron.reserve(count + extra + 16);
        for (int r = 0; r < Records; ++r) record[r].reserve(neuron.size);
    }
    // Those of steps first .. last - 1.
    Sources all(int64_t first, int64_t last) {
        if (first < 1) first = 1;
        if (first >= last) return {neuron, 0};
        return {neuron + start[first], start[last] - start[first]};
    }
    Sources at(int64_t step) { return all(step, step + 1); }
    // f(step, those of the step), step by step.
    template <bool LAST_FIRST, typename F>
    void each(int64_t first, int64_t last, F f) {
        if (first < 1) first = 1;
        for (int64_t i = 0; i < last - first; ++i) {
            const int64_t step = LAST_FIRST ? last - 1 - i : first + i;
            f(step, at(step));
        }
    }
};

}  // namespace
