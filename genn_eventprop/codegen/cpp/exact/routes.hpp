// The synapses of a connection, and individual delays, in exact time. A route is the synapses of one source that share a delay. It is
// an arrival of its own; of what is not `dense` its row of weights is expanded to all neurons for as long as it is needed.
//
// Of every kind: each_route(source, f(route)); each_target(route, row, f(neuron, weight, place)), where row is room for an expanded one;
// weight_of(route, neuron, w), which adds the weight and says whether there is a synapse. N neurons, NP with padding.

namespace {

// Range of neurons that something reaches, extended to whole vectors.
struct Range {
    int from, to;
    void clear(scalar* row) const { std::memset(row + from, 0, size_t(to - from) * sizeof(scalar)); }
};

// Expanded rows of weights of the arrivals of a step; their addresses do not change. Only what the last use wrote is not zero.
template <int NP>
struct Rows {
    struct Row {
        scalar* data;
        Range written;
    };
    std::vector<Row> all;
    size_t used = 0;
    Rows() = default;
    Rows(const Rows&) = delete;
    Rows& operator=(const Rows&) = delete;
    ~Rows() {
        for (Row& row : all) std::free(row.data);
    }
    scalar* take(Range reached) {
        if (used == all.size()) {
            void* fresh = nullptr;
            if (posix_memalign(&fresh, 64, NP * sizeof(scalar))) no_memory();
            all.push_back({static_cast<scalar*>(fresh), {0, NP}});
        }
        Row& row = all[used++];
        row.written.clear(row.data);
        row.written = reached;
        return row.data;
    }
};

// A matrix of weights with rows of STRIDE numbers: a route is a source.
template <int N, int STRIDE>
struct Dense {
    static constexpr bool dense = true, gathers = false;
    static constexpr int64_t stride = STRIDE;
    const scalar* weight;
    template <class F>
    void each_route(int32_t source, const F& f) const {
        f(source);
    }
    const scalar* row(int32_t route) const { return weight + route * stride; }
    template <class F>
    void each_target(int32_t route, Buffer<scalar>&, const F& f) const {
        for (int k = 0; k < N; ++k) f(k, row(route)[k], route * stride + k);
    }
    bool weight_of(int32_t route, int neuron, double& w) const {
        w += double(row(route)[neuron]);
        return true;
    }
};

// Synapses, sorted by route. place: index of the weight, and of its gradient.
struct Table {
    static constexpr bool dense = false, gathers = false;
    const int32_t *start, *first, *target, *place;  // start: of the routes of a source; first: of the synapses of a route
    const scalar* weight;
    template <class F>
    void each_route(int32_t source, const F& f) const {
        for (int32_t route = start[source]; route < start[source + 1]; ++route) f(route);
    }
    template <class F>
    void each_target(int32_t route, Buffer<scalar>&, const F& f) const {
        for (int32_t s = first[route]; s < first[route + 1]; ++s) f(target[s], weight[place[s]], int64_t(place[s]));
    }
    bool weight_of(int32_t route, int neuron, double& w) const {
        bool hit = false;
        for (int32_t s = first[route]; s < first[route + 1]; ++s)
            if (target[s] == neuron) w += double(weight[place[s]]), hit = true;
        return hit;
    }
    Range reached(int32_t route) const {  // targets are sorted
        return {target[first[route]] / LANES * LANES, target[first[route + 1] - 1] / LANES * LANES + LANES};
    }
    const scalar* add_to(scalar* out, int32_t route) const {
        for (int32_t s = first[route]; s < first[route + 1]; ++s) out[target[s]] += weight[place[s]];
        return out;
    }
    void gather(int32_t route, const scalar* along, scalar* gradient) const {
        for (int32_t s = first[route]; s < first[route + 1]; ++s) gradient[place[s]] += along[target[s]];
    }
};

}  // namespace
