// What populations with delta synapses need: rows of which only the positive weights count.

namespace {

// acc[0:N] += sum over r < n of the positive entries of base[index[r] * N : + N].
template <int N>
inline void add_positive_rows(scalar* __restrict acc, const scalar* __restrict base, const int32_t* __restrict index,
                              int64_t n) {
    for (int64_t r = 0; r < n; ++r) {
        const scalar* row = base + int64_t(index[r]) * N;
        INDEPENDENT for (int i = 0; i < N; ++i) acc[i] += row[i] > 0 ? row[i] : scalar(0);
    }
}

// out[r] += the positive entries of base[index[r] * N : + N] . q, r < n.
template <int N>
inline void dot_positive_rows(scalar* __restrict out, const scalar* __restrict base, const int32_t* __restrict index,
                              int64_t n, const scalar* __restrict q) {
    for (int64_t r = 0; r < n; ++r) {
        const scalar* row = base + int64_t(index[r]) * N;
        vec s = {};
        for (int i = 0; i < N; i += LANES) {
            const vec w = load(row + i);
            s += (w > 0 ? w : vec{}) * load(q + i);
        }
        out[r] += lane_sum(s);
    }
}

}  // namespace
