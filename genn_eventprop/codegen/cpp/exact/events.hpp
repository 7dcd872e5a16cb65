// Events within a step of exact time: arrivals, the log for the backward pass, and the flow of states between events.

namespace {

template <int n>
struct Arrival {
    double s;
    const scalar* row;
    int32_t connection, receptor, source;
    int64_t index;        // number of the spike in its list, -1 for input spikes
    scalar q[2 * n + 1];  // P(-s) e and the row dg P(s) of the threshold; unused if neurons have parameters of their own
    scalar held[2 * n + 1];  // the same for neurons in a refractory period
    int32_t first, end;      // the row is 0 for neurons outside, a range of whole vectors
    Arrival& set(double at, const scalar* weights, int32_t by, int32_t to, int32_t from, int64_t spike) {
        s = at, row = weights, connection = by, receptor = to, source = from, index = spike;
        first = 0, end = std::numeric_limits<int32_t>::max();
        return *this;
    }
    void within(int32_t from, int32_t to) { first = from, end = to; }
};

// Sorts arrivals by time; those of one instant keep their order. Merges of runs that double in length, since
// std::stable_sort takes an eighth of the time in which a network compiles.
template <typename T>
void sort_by_time(T* arrivals, int64_t count, Buffer<T>& other) {
    bool sorted = true;
    for (int64_t i = 1; sorted && i < count; ++i) sorted = !(arrivals[i].s < arrivals[i - 1].s);
    if (sorted) return;
    other.reserve(count);
    for (int64_t run = 1; run < count; run *= 2) {
        for (int64_t from = 0; from < count; from += 2 * run) {
            const int64_t middle = from + run < count ? from + run : count, to = from + 2 * run < count ? from + 2 * run : count;
            int64_t a = from, b = middle;
            for (int64_t k = from; k < to; ++k) {
                const bool first = a < middle && (b == to || !(arrivals[b].s < arrivals[a].s));
                other[k] = arrivals[first ? a++ : b++];
            }
        }
        std::memcpy(arrivals, other.data, size_t(count) * sizeof(T));
    }
}

// An event of a step. kind: the number of a connection for an arrival; for the i-th spiking population -1 - i for an own
// spike and END_OF_PERIOD - i for the end of a refractory period. index: number of the spike, or of the end.
constexpr int END_OF_PERIOD = -1000000;
struct LogEntry {
    double s;
    int32_t kind, source;
    int64_t index;
};

// A list whose memory is kept when it is cleared; push returns the new last element.
template <typename T>
struct List {
    Buffer<T> all;
    int64_t count = 0;
    T& push() {
        if (count == all.size) all.reserve(count + 64);
        return all.data[count++];
    }
    T& operator[](int64_t i) { return all.data[i]; }
    const T& operator[](int64_t i) const { return all.data[i]; }
    T* begin() { return all.data; }
    T* end() { return all.data + count; }
    // Removes element i; the last element moves into its place.
    void drop(int64_t i) { all.data[i] = all.data[--count]; }
};

struct Log {
    Buffer<LogEntry> entries;
    std::vector<int64_t> steps;  // where each step begins
    int64_t count = 0;
    void clear(int64_t n_steps) {
        count = 0;
        steps.assign(size_t(n_steps) + 1, 0);
    }
    void push(double s, int32_t kind, int32_t source, int64_t index) {
        if (count == entries.size) entries.reserve(count + 1024);
        entries.data[count++] = {s, kind, source, index};
    }
};

// When a step begins, of `count` steps in a trial.
inline double start_of(int64_t step, int64_t count, double duration) { return duration * double(step) / double(count); }
// The step that a time is in, of those from `first` on.
inline int64_t step_of(double at, int64_t first, int64_t count, double duration) {
    int64_t k = int64_t(at / duration * double(count));
    k = k < first ? first : k < count ? k : count - 1;
    while (k + 1 < count && at >= start_of(k + 1, count, duration)) ++k;  // corrects a step that rounding misplaced
    while (k > first && at < start_of(k, count, duration)) --k;
    return k;
}

// The flow between events in one mode, as tables; see plan/series.py.
template <class M, typename table>
struct Flow {
    const scalar *step, *step_rest, *dstep[M::dynamic + 1];
    const table *spike, *dspike[M::dynamic + 1], *arrive[M::receptors + 1], *back[M::receptors + 1];
    const double* A;
};

}  // namespace
