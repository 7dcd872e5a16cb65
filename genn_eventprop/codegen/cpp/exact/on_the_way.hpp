// Spikes through connections with individual delays.

namespace {

// Spikes on their way, by step of arrival.
struct OnTheWay {
    struct Due {
        double at;
        int64_t index;  // of the spike
        int32_t route;
        bool operator<(const Due& o) const { return at != o.at ? at < o.at : index != o.index ? index < o.index : route < o.route; }
    };
    std::vector<std::vector<Due>> steps;  // `first` and those that follow it, of `count`
    std::vector<Due> sorted, later;       // later: behind these
    std::vector<size_t> places;
    double duration = 0;
    int64_t now = 0, first = 0, count = 0;
    void clear(int64_t from, int64_t n, int64_t all, double T) {
        steps.resize(size_t(n)), later.clear();
        for (auto& step : steps) step.clear();
        duration = T, now = first = from, count = all;
    }
    double start(int64_t step) const { return start_of(step, count, duration); }
    // Arrivals after the end of the trial are dropped.
    void push(double at, int64_t index, int32_t route) {
        if (!(at < duration)) return;
        const size_t step = size_t(step_of(at, now, count, duration) - first);
        (step < steps.size() ? steps[step] : later).push_back({at, index, route});
    }
    // The arrivals of a step that are known at its start, sorted by time.
    const std::vector<Due>& take(int64_t step) {
        auto& due = steps[size_t(step - first)];
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
