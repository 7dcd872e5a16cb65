// Sums of rows that take only the positive or only the negative weights, or powers of them.
#include "parts.hpp"

namespace {

// part[0:N] += sum over r < n of the entries of one sign of base[index[r] * N : + N].
template <Part P, int N, typename Row>
inline void add_part_rows(scalar* __restrict part, const Row* __restrict base, const int32_t* __restrict index, int64_t n) {
    for (int64_t r = 0; r < n; ++r) {
        const Row* row = base + int64_t(index[r]) * N;
        INDEPENDENT for (int i = 0; i < N; ++i) part[i] += part_of<P>(scalar(row[i]));
    }
}

// acc[0:N] += sum over r < n of base[index[r] * N : + N], part[0:N] += the sum of the entries of one sign.
template <Part P, int N, typename Row>
inline void add_rows_and_part(scalar* __restrict acc, scalar* __restrict part, const Row* __restrict base,
                              const int32_t* __restrict index, int64_t n) {
    constexpr int V = N / LANES, U = V < UNROLL / 2 ? V : UNROLL / 2;
    for (int v = 0; n && v < V; v += U) {
        const int u_end = V - v < U ? V - v : U;
        vec s[U] = {}, p[U] = {};
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u)
            if (u < u_end) s[u] = load(acc + (v + u) * LANES), p[u] = load(part + (v + u) * LANES);
        for (int64_t r = 0; r < n; ++r) {
            const Row* row = base + int64_t(index[r]) * N + v * LANES;
#pragma GCC unroll 8
            for (int u = 0; u < U; ++u) {
                if (u >= u_end) break;
                const vec w = load(row + u * LANES);
                s[u] += w;
                p[u] += part_of<P>(w);
            }
        }
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u)
            if (u < u_end) store(acc + (v + u) * LANES, s[u]), store(part + (v + u) * LANES, p[u]);
    }
}

// out[r] += the entries of one sign of base[index[r] * N : + N] . q, r < n.
template <Part P, int N, typename Row>
inline void dot_part_rows(scalar* __restrict out, const Row* __restrict base, const int32_t* __restrict index,
                          int64_t n, const scalar* __restrict q) {
    for (int64_t r = 0; r < n; ++r) {
        const Row* row = base + int64_t(index[r]) * N;
        vec s = {};
        for (int i = 0; i < N; i += LANES) s += part_of<P>(load(row + i)) * load(q + i);
        out[r] += lane_sum(s);
    }
}

// What connectivity.hpp has for tables, for rows of dense weights: acc[0:N] += parts of the rows in `index`, and
// out[r] += part of row index[r] . q.
template <Part P, int N, typename Row>
inline void scatter_rows(scalar* __restrict acc, const Row* __restrict base, const int32_t* __restrict index, int64_t n) {
    if constexpr (P == ALL)
        add_rows<N>(acc, base, index, n);
    else
        add_part_rows<P, N>(acc, base, index, n);
}
template <Part P, int N, typename Row>
inline void gather_dots(scalar* __restrict out, const Row* __restrict base, const int32_t* __restrict index, int64_t n,
                        const scalar* __restrict q) {
    if constexpr (P == ALL)
        dot_rows<N>(out, base, index, n, q);
    else
        dot_part_rows<P, N>(out, base, index, n, q);
}

}  // namespace
