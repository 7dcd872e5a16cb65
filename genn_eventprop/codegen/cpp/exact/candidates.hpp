// Spikes that are about to be born, what trials by closed forms and by Taylor series share; docs/spike_birth.md has the mathematics.
#include <algorithm>
#include <tuple>

namespace {

// Kinds of entries in a log, beside those of events: the candidate `index` of the i-th spiking population is BIRTH - i, and an
// arrival of its spike through connection c is UNBORN + c.
constexpr int BIRTH = -2000000, UNBORN = 1000000;

// The hazard of a threshold with noise of this width at a maximum g below it, see adjoint/birth.py.
inline double hazard_of(double g, double width) {
    const double u = -g / width;
    return std::sqrt(2 / 3.14159265358979323846) * std::exp(-0.5 * u * u) / (width * std::erfc(-u * std::sqrt(0.5)));
}

// A time: a step, and ms from its start. Trials by Taylor series have no steps; theirs are in step 0.
struct Moment {
    int64_t step;
    double s;
};
struct Candidate : Moment {
    int32_t neuron;
    double hazard, change, rise;  // change: of L, to first order; rise: of a kink, the slope of g before it, else 0
};

// Those of a log between which something comes, in order of time.
template <class Entry>
struct Entries {
    const Entry* all;
    int64_t from, to;
};

// What is not in a log: a candidate, or the arrival of a spike that was not born.
struct Unborn : Moment {
    int64_t position;  // of the first entry of the log behind it
    int32_t kind, source;
    int64_t index;
    bool operator<(const Unborn& o) const {
        // forwards, candidates of an instant come before the arrivals of their spikes; connections are in order
        return std::tie(step, position, s, kind, index, source) < std::tie(o.step, o.position, o.s, o.kind, o.index, o.source);
    }
};

// Backwards these have their turns between the entries of the log of a group.
struct UnbornLog {
    List<Unborn> all;
    int64_t left = 0;  // those that have not had their turn
    // A candidate comes ahead of the arrivals of its instant.
    template <class Log>
    void born(const Log& log, const Candidate& b, int32_t kind, int64_t index) {
        insert(log, b, kind, b.neuron, index, [&](const auto& e) { return time_of(e) < b.s || (time_of(e) == b.s && e.kind < 0); });
    }
    // An arrival of its spike comes behind all that happens in its instant.
    template <class Log>
    void sent(const Log& log, const Args& args, const Candidate& b, double delay, double together, int32_t kind, int32_t route, int64_t index) {
        Moment at = b;
        if (later(log, args, at, delay)) insert(log, at, kind, route, index, [&](const auto& e) { return time_of(e) <= at.s + together; });
    }
    template <class Log, class First>
    void insert(const Log& log, const Moment& at, int32_t kind, int32_t source, int64_t index, const First& first) {
        const auto in = entries(log, at.step);
        all.push() = {at, std::partition_point(in.all + in.from, in.all + in.to, first) - in.all, kind, source, index};
    }
    // The next one behind entry `e` of a step, if there is any left.
    const Unborn* next(int64_t step, int64_t e) {
        const bool some = left > 0 && all[left - 1].step == step && all[left - 1].position > e;
        return some ? &all[--left] : nullptr;
    }
};

}  // namespace
