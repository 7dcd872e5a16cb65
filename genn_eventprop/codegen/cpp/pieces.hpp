// Spikes of a piece of a recording, and of the steps before it.

namespace {

// Where the spikes of a step begin in a list that has those from step `first` on.
struct Rows {
    Buffer<int32_t> data;
    int64_t first = 0;
    void reserve(int64_t n) { data.reserve(n); }
    int32_t& operator[](int64_t step) { return data[step - first]; }
};

// Rows of `size` numbers whose row 0 would be `size` numbers before these: no row is read there.
template <typename T>
inline T* rows_before(T* rows, int64_t size) {
    return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(rows) - uintptr_t(size * int64_t(sizeof(T))));
}

// What a row says of the spikes of a step: bits, as many words; or `size` numbers, how many and the neurons in their order.
template <typename List>
inline void read_row(List& list, const uint32_t* bits, int words) {
    list.reserve(32 * words);
    for (int word = 0; word < words; ++word)
        for (uint32_t left = bits[word]; left; left &= left - 1) list.neuron[list.count++] = 32 * word + __builtin_ctz(left);
}
template <typename List>
inline void read_row(List& list, const int32_t* row, int) {
    list.reserve(row[0]);
    for (int32_t i = 1; i <= row[0]; ++i) list.neuron[list.count++] = row[i];
}
inline void put(uint32_t* bits, int32_t neuron) { bits[neuron / 32] |= uint32_t(1) << (neuron % 32); }
inline void put(int32_t* row, int32_t neuron) { row[++row[0]] = neuron; }

// The spikes of steps first - before .. first, from rows, as those of a list.
template <typename List, typename Row>
inline void load_spikes(List& list, const Row* row, int size, int64_t first, int64_t before) {
    list.start.first = first - before;
    list.count = 0;
    for (int64_t step = first - before; step <= first; ++step, row += size) {
        list.start[step] = int32_t(list.count);
        read_row(list, row, size);
    }
    list.start[first + 1] = int32_t(list.count);
}
// The spikes of steps first + 1 .. last as rows, behind those of the steps before.
template <typename List, typename Row>
inline void store_spikes(List& list, Row* row, int size, int64_t first, int64_t last, int64_t before) {
    row += (before + 1) * size;
    for (int64_t step = first + 1; step <= last; ++step, row += size)
        for (int64_t i = list.start[step]; i < list.start[step + 1]; ++i) put(row, list.neuron[i]);
}

}  // namespace
