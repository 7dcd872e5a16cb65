// Tables of synapses, and delays that are values, in exact time. A route is the synapses of one source that share a delay:
// an arrival of its own, whose row of weights is spread over all neurons for as long as it is needed.

namespace {

// Rows of weights of the arrivals of a step, which stay where they are.
template <int NP>
struct Rows {
    std::vector<scalar*> all;
    size_t used = 0;
    Rows() = default;
    Rows(const Rows&) = delete;
    Rows& operator=(const Rows&) = delete;
    ~Rows() {
        for (scalar* row : all) std::free(row);
    }
    scalar* take() {
        if (used == all.size()) {
            void* fresh = nullptr;
            if (posix_memalign(&fresh, 64, NP * sizeof(scalar))) throw std::bad_alloc();
            all.push_back(static_cast<scalar*>(fresh));
        }
        std::memset(all[used], 0, NP * sizeof(scalar));
        return all[used++];
    }
};

// A row of zeros that stays until the next one is asked for.
template <int NP>
inline scalar* cleared(Buffer<scalar>& row) {
    row.zero(NP);
    return row;
}

// Where the synapses of a connection are; place: of their weights, and of the gradients of these.
struct Table {
    const int32_t *first, *target, *place;  // first: of a route
    const scalar* weight;
    const scalar* row(int32_t route, scalar* out) const {
        for (int32_t s = first[route]; s < first[route + 1]; ++s) out[target[s]] += weight[place[s]];
        return out;
    }
    void gather(int32_t route, const scalar* along, scalar* gradient) const {
        for (int32_t s = first[route]; s < first[route + 1]; ++s) gradient[place[s]] += along[target[s]];
    }
};

// Spikes on their way, the next arrival first.
struct OnTheWay {
    struct Due {
        double at;
        int64_t index;  // of the spike
        int32_t route;
        bool operator<(const Due& o) const {  // the first is the largest
            return at != o.at ? at > o.at : index != o.index ? index > o.index : route > o.route;
        }
    };
    std::vector<Due> heap;
    void push(double at, int64_t index, int32_t route) {
        heap.push_back({at, index, route});
        std::push_heap(heap.begin(), heap.end());
    }
    Due pop() {
        std::pop_heap(heap.begin(), heap.end());
        const Due first = heap.back();
        heap.pop_back();
        return first;
    }
    bool before(double t) const { return !heap.empty() && heap.front().at < t; }
};

}  // namespace
