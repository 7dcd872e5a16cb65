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

// Spikes on their way, by the step of their arrival.
struct OnTheWay {
    struct Due {
        double at;
        int64_t index;  // of the spike
        int32_t route;
        bool operator<(const Due& o) const { return at != o.at ? at < o.at : index != o.index ? index < o.index : route < o.route; }
    };
    std::vector<std::vector<Due>> steps;
    double duration = 0;
    int64_t now = 0;
    void clear(int64_t n, double T) {
        steps.resize(size_t(n));
        for (auto& step : steps) step.clear();
        duration = T, now = 0;
    }
    double start(int64_t step) const { return duration * double(step) / double(steps.size()); }
    // What arrives after the trial is lost.
    void push(double at, int64_t index, int32_t route) {
        if (!(at < duration)) return;
        const int64_t last = int64_t(steps.size()) - 1;
        int64_t k = int64_t(at / duration * double(steps.size()));
        k = k < now ? now : k > last ? last : k;
        while (k < last && at >= start(k + 1)) ++k;  // as far as rounding misplaced it
        while (k > now && at < start(k)) --k;
        steps[size_t(k)].push_back({at, index, route});
    }
    // The arrivals of a step that are known when it begins, in order.
    const std::vector<Due>& take(int64_t step) {
        auto& due = steps[size_t(step)];
        std::sort(due.begin(), due.end());
        return due;
    }
};

}  // namespace
