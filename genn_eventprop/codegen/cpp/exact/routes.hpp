// Tables of synapses, and individual delays, in exact time. A route is the synapses of one source that share a delay. It is
// an arrival of its own, and its row of weights is expanded to all neurons for as long as it is needed.

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
            if (posix_memalign(&fresh, 64, NP * sizeof(scalar))) throw std::bad_alloc();
            all.push_back({static_cast<scalar*>(fresh), {0, NP}});
        }
        Row& row = all[used++];
        row.written.clear(row.data);
        row.written = reached;
        return row.data;
    }
    Range last() const { return all[used - 1].written; }
};

// A row of zeros, valid until the next one is asked for.
template <int NP>
inline scalar* cleared(Buffer<scalar>& row) {
    row.zero(NP);
    return row;
}

// The synapses of a connection, sorted by route. place: index of the weight, and of its gradient.
struct Table {
    const int32_t *first, *target, *place;  // first: of a route
    const scalar* weight;
    Range reached(int32_t route) const {  // targets are sorted
        return {target[first[route]] / LANES * LANES, target[first[route + 1] - 1] / LANES * LANES + LANES};
    }
    const scalar* row(int32_t route, scalar* out) const {
        for (int32_t s = first[route]; s < first[route + 1]; ++s) out[target[s]] += weight[place[s]];
        return out;
    }
    // Writes only where the route has targets; the rest is left as it is.
    const scalar* row_in(Range reached, int32_t route, scalar* out) const {
        reached.clear(out);
        return row(route, out);
    }
    void gather(int32_t route, const scalar* along, scalar* gradient) const {
        for (int32_t s = first[route]; s < first[route + 1]; ++s) gradient[place[s]] += along[target[s]];
    }
};

// Spikes on their way, by step of arrival.
struct OnTheWay {
    struct Due {
        double at;
        int64_t index;  // of the spike
        int32_t route;
        bool operator<(const Due& o) const { return at != o.at ? at < o.at : index != o.index ? index < o.index : route < o.route; }
    };
    std::vector<std::vector<Due>> steps;
    std::vector<Due> sorted;
    std::vector<size_t> places;
    double duration = 0;
    int64_t now = 0;
    void clear(int64_t n, double T) {
        steps.resize(size_t(n));
        for (auto& step : steps) step.clear();
        duration = T, now = 0;
    }
    double start(int64_t step) const { return start_of(step, int64_t(steps.size()), duration); }
    // Arrivals after the end of the trial are dropped.
    void push(double at, int64_t index, int32_t route) {
        if (!(at < duration)) return;
        steps[size_t(step_of(at, now, int64_t(steps.size()), duration))].push_back({at, index, route});
    }
    // The arrivals of a step that are known at its start, sorted by time.
    const std::vector<Due>& take(int64_t step) {
        auto& due = steps[size_t(step)];
        const size_t bins = due.size() / 4;  // bins of equal width, each with few arrivals to sort
        if (bins > 1) {
            const double from = start(step), scale = double(bins) / (start(step + 1) - from);
            const auto bin = [&](double at) {
                const double b = (at - from) * scale;  // rounding may misplace an arrival on a border
                return b < 0 ? size_t(0) : b < double(bins) ? size_t(b) : bins - 1;
            };
            places.assign(bins + 1, 0), sorted.resize(due.size());
            for (const Due& d : due) ++places[bin(d.at) + 1];
            for (size_t b = 0; b < bins; ++b) places[b + 1] += places[b];
            for (const Due& d : due) sorted[places[bin(d.at)]++] = d;
            due.swap(sorted);
            for (size_t b = 0, first = 0; b < bins; first = places[b++])
                std::sort(due.begin() + int64_t(first), due.begin() + int64_t(places[b]));
        } else {
            std::sort(due.begin(), due.end());
        }
        return due;
    }
};

}  // namespace
