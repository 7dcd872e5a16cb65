// Windows over an image: from every place that a source reaches, one row of weights to the channels there, which stand side
// by side. `modelling/connectivity/window_rows.py` says where the rows of a source are.

namespace {

// L numbers in a register.
template <int L>
struct Register {
    typedef scalar type __attribute__((vector_size(L * sizeof(scalar))));
    static scalar sum(type v) { return halves_sum<L * int(sizeof(scalar))>(v); }
};
template <>
struct Register<1> {
    typedef scalar type;
    static scalar sum(type v) { return v; }
};
template <int L>
inline typename Register<L>::type load_lanes(const scalar* p) {
    typename Register<L>::type v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

// Rows of W numbers, STRIDE apart in the weights: those of sources that stand side by side. The W columns are taken L at a
// time, what is left of them half as many.
template <int W, int STRIDE, int L = LANES>
struct Columns {
    static constexpr int V = W / L, U = V < UNROLL ? V : UNROLL, REST = W % L;
    typedef typename Register<L>::type lanes;
    typedef Columns<REST, STRIDE, (L > 1 ? L / 2 : 1)> Rest;

    // acc += part of the rows index[r] - first, r < n: they stay in registers meanwhile.
    template <Part P>
    static void add(scalar* __restrict acc, const scalar* __restrict base, const int32_t* __restrict index, int32_t first,
                    int64_t n) {
        if constexpr (V > 0) {
            for (int v = 0; v + U <= V; v += U) add_block<P, U>(acc + v * L, base + v * L, index, first, n);
            if constexpr (V % U) add_block<P, V % U>(acc + V / U * U * L, base + V / U * U * L, index, first, n);
        }
        if constexpr (REST > 0) Rest::template add<P>(acc + V * L, base + V * L, index, first, n);
    }
    template <Part P, int K>
    static void add_block(scalar* __restrict acc, const scalar* __restrict base, const int32_t* __restrict index,
                          int32_t first, int64_t n) {
        lanes s[K];
#pragma GCC unroll 16
        for (int u = 0; u < K; ++u) s[u] = load_lanes<L>(acc + u * L);
        for (int64_t r = 0; r < n; ++r) {
            const scalar* row = base + int64_t(index[r] - first) * STRIDE;
#pragma GCC unroll 16
            for (int u = 0; u < K; ++u) s[u] += part_of<P>(load_lanes<L>(row + u * L));
        }
        std::memcpy(acc, s, sizeof s);
    }

    // rows index[r] - first, r < n, += row.
    static void add_to(scalar* __restrict base, const scalar* __restrict row, const int32_t* __restrict index, int32_t first,
                       int64_t n) {
        if constexpr (V > 0) {
            for (int v = 0; v + U <= V; v += U) add_to_block<U>(base + v * L, row + v * L, index, first, n);
            if constexpr (V % U) add_to_block<V % U>(base + V / U * U * L, row + V / U * U * L, index, first, n);
        }
        if constexpr (REST > 0) Rest::add_to(base + V * L, row + V * L, index, first, n);
    }
    template <int K>
    static void add_to_block(scalar* __restrict base, const scalar* __restrict row, const int32_t* __restrict index,
                             int32_t first, int64_t n) {
        lanes s[K];
        std::memcpy(s, row, sizeof s);
        for (int64_t r = 0; r < n; ++r) {
            scalar* to = base + int64_t(index[r] - first) * STRIDE;
#pragma GCC unroll 16
            for (int u = 0; u < K; ++u) {
                const lanes sum = load_lanes<L>(to + u * L) + s[u];
                std::memcpy(to + u * L, &sum, sizeof sum);
            }
        }
    }

    // Sum over k < n of part of base[weight[k]:] . row[target[k]:].
    template <Part P>
    static scalar dot(const scalar* __restrict base, const int32_t* __restrict weight, const scalar* __restrict row,
                      const int32_t* __restrict target, int n) {
        scalar total = 0;
        if constexpr (V > 0) {
            lanes s[4] = {};
            for (int k = 0; k < n; ++k) {
                const scalar *w = base + weight[k], *q = row + target[k];
#pragma GCC unroll 16
                for (int v = 0; v < V; ++v) s[v % 4] += part_of<P>(load_lanes<L>(w + v * L)) * load_lanes<L>(q + v * L);
            }
            total = Register<L>::sum((s[0] + s[1]) + (s[2] + s[3]));
        }
        if constexpr (REST > 0) total += Rest::template dot<P>(base + V * L, weight, row + V * L, target, n);
        return total;
    }
};

// Which windows are over the pixels of an axis; see `Axis` in window_rows.py.
struct Axis {
    const int32_t *start, *target, *weight;
};

// IMAGE: pixels of a row of the source; DEPTH, WIDTH: sources and targets of a group; GROUPS; CELLS of a window.
template <int IMAGE, int DEPTH, int WIDTH, int GROUPS, int CELLS>
struct Windows {
    static constexpr int SOURCES = DEPTH, TARGETS = WIDTH;
    typedef Columns<WIDTH, WIDTH * GROUPS> Channels;
    Axis down, across;
    const scalar* weight;

    // The places under which a block is, and for each the row of weights of the block's first source. A block are the sources
    // of one pixel and group, number source / DEPTH.
    struct Places {
        int count = 0;
        int32_t target[CELLS], weight[CELLS];
    };
    void find(int32_t block, Places& p) const {
        const int32_t pixel = block / GROUPS, y = pixel / IMAGE, x = pixel % IMAGE, group = block % GROUPS * WIDTH;
        int n = 0;
        for (int32_t a = down.start[y]; a < down.start[y + 1]; ++a)
            for (int32_t b = across.start[x]; b < across.start[x + 1]; ++b, ++n) {
                p.target[n] = down.target[a] + across.target[b] + group;
                p.weight[n] = down.weight[a] + across.weight[b] + group;
            }
        p.count = n;
    }
    // f(places, first source, its number among `index`, how many) for the n sources, neighbours in a block together.
    template <typename F>
    void blocks(const int32_t* __restrict index, int64_t n, F f) const {
        Places places;
        for (int64_t r = 0, end; r < n; r = end) {
            const int32_t block = index[r] / DEPTH;
            for (end = r + 1; end < n && index[end] / DEPTH == block;) ++end;
            find(block, places);
            f(places, block * DEPTH, r, end - r);
        }
    }
    // Adds the weights of the n sources in `index` to the row of their targets.
    template <Part P>
    void add(scalar* __restrict row, const int32_t* __restrict index, int64_t n) const {
        blocks(index, n, [&](const Places& p, int32_t first, int64_t r, int64_t count) {
            for (int k = 0; k < p.count; ++k)
                Channels::template add<P>(row + p.target[k], weight + p.weight[k], index + r, first, count);
        });
    }
    // out[r] += weights of source index[r] . row.
    template <Part P>
    void dot(scalar* __restrict out, const int32_t* __restrict index, int64_t n, const scalar* __restrict row) const {
        blocks(index, n, [&](const Places& p, int32_t first, int64_t r, int64_t count) {
            for (int64_t i = r; i < r + count; ++i) {
                const scalar* of_source = weight + int64_t(index[i] - first) * WIDTH * GROUPS;
                out[i] += Channels::template dot<P>(of_source, p.weight, row, p.target, p.count);
            }
        });
    }
    // gradient += row, at the weights of the n sources.
    void gather(scalar* __restrict gradient, const int32_t* __restrict index, int64_t n, const scalar* __restrict row) const {
        blocks(index, n, [&](const Places& p, int32_t first, int64_t r, int64_t count) {
            for (int k = 0; k < p.count; ++k)
                Channels::add_to(gradient + p.weight[k], row + p.target[k], index + r, first, count);
        });
    }
};

}  // namespace
