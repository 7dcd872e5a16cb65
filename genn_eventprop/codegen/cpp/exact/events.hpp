// Events of a trial in exact time, the log for the pass backwards, and who reads a population. A trial by Taylor series is one step.

namespace {

// An event of a step. kind: the number of a connection for an arrival; -1 - population for an own event, END_OF_PERIOD - population for
// the end of a refractory period, CHANGE + population where currents change. source: route of an arrival, neuron of an own event. index:
// number of the spike that arrives, of the own event, or of the end. instant: by Taylor series, events of one instant share it.
constexpr int END_OF_PERIOD = -1000000, CHANGE = 3000000;
struct LogEntry {
    double s;
    int32_t kind, source;
    int64_t index;
#ifndef CLOSED_FORMS
    int64_t instant;
#endif
};

// The first event of a group that is still to come: `which` lane or neuron of population `who`, -1 for an arrival.
struct Next {
    double when = std::numeric_limits<double>::infinity();
    int who = -1;
    int64_t which = -1;
};

// Spikes of a population that others computed, in order of time: those of a trial that are still to come in the step.
struct ObservedSpikes {
    const double* times = nullptr;
    const int32_t* neurons = nullptr;
    int64_t count = 0, next = 0;
    double until = 0;  // the end of the step; infinite in the last one
    double at() const { return next < count && times[next] < until ? times[next] : std::numeric_limits<double>::infinity(); }
};

// Where a trial could not go on.
struct Lost {
    int neuron = -1, state = -1;
    double at = 0;
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
    void push(double s, int32_t kind, int32_t source, int64_t index, [[maybe_unused]] int64_t instant = 0) {
        if (count == entries.size) entries.reserve(count + 1024);
        LogEntry& e = entries.data[count++];
        e.s = s, e.kind = kind, e.source = source, e.index = index;
#ifndef CLOSED_FORMS
        e.instant = instant;
#endif
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

// Lists of types, of which `each` calls a function with one of each.
template <class... T>
struct Types {};
template <class F, class... T>
inline void each(Types<T...>, [[maybe_unused]] const F& f) {
    (f(T()), ...);
}
template <class F>
inline void each_back(Types<>, const F&) {}
template <class F, class First, class... T>
inline void each_back(Types<First, T...>, const F& f) {
    each_back(Types<T...>(), f);
    f(First());
}
template <class P, class... T>
constexpr bool among(Types<T...>) {
    return (std::is_same_v<P, T> || ...);
}
// Populations that go through a step together have the number of their group.
template <class P, class... T>
constexpr int group_of(Types<P, T...>) {
    return P::group;
}

// The source of connections from the input.
struct Input {
    static constexpr int number = -1;
};

// What reads a population, each with its dL/dr.
template <class... R>
struct Readers {
    static constexpr bool reads = false;
    template <class F>
    void each(const F&) const {}
};
template <class R, class... More>
struct Readers<R, More...> {
    static constexpr bool reads = true;
    R& first;
    const scalar* dr;
    Readers<More...> rest;
    template <class F>
    void each(const F& f) const {
        f(first, dr), rest.each(f);
    }
};
template <class R, class... More>
Readers<R, More...> with(R& reader, const scalar* dr, const Readers<More...>& rest) {
    return {reader, dr, rest};
}

}  // namespace
