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

// The slope of g as it is remembered: one that is 0, but for rounding, keeps the sign of the one before.
inline double turned(double slope, double least, double before) { return std::fabs(slope) > least ? slope : before > 0 ? least : -1; }

// Searches g between two events, a polynomial of degree m, for maxima: calls falls(g) if it falls from the start on, which makes a kink of the
// start where it rose before, and top(s, g) for maxima inside that may exceed `best`. least: slopes below are 0, but for rounding; before: the
// slope of g before the start, if it rose. Returns that before the end.
template <class Falls, class Top>
inline double each_candidate(const double* c, int m, double from, double to, double least, double before, const double& best, const Falls& falls, const Top& top) {
    double slope[DEGREE + 1];
    for (int p = 0; p < m; ++p) slope[p] = (p + 1) * c[p + 1];
    const double g = value_of(c, m, from), first = value_of(slope, m - 1, from), last = value_of(slope, m - 1, to);
    const double rising = turned(last, least, turned(first, least, before));
    if (std::fabs(first) <= least && std::fabs(last) <= least) return rising;
    if (last < -least ? first <= least : first < -least) falls(g);
    const double bend = bend_of(c, m, to), h = to - from, end = value_of(c, m, to);
    if (std::fmax(g, end) + 0.125 * bend * h * h <= best || std::fabs(first) > bend * h) return rising;
    bool at_rest = before <= 0 && std::fabs(first) <= least;  // then a maximum by rounding is none
    each_maximum(slope, m, from, to, [&](double s) {
        const double most = value_of(c, m, s);
        if (!at_rest || most - g > least * h) top(s, most);
        at_rest = false;
    });
    return rising;
}

// A time: the number of a step among all of a recording, and ms from its start.
struct Moment {
    int64_t step;
    double s;
};
struct Candidate : Moment {
    int32_t neuron;
    double hazard, change, rise;  // change: of L, to first order; rise: of a kink, the slope of g before it, else 0
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
    void born(const Log& log, const Args& args, const Candidate& b, int32_t kind, int64_t index) {
        insert(log, args, b, kind, b.neuron, index, [&](const LogEntry& e) { return e.s < b.s || (e.s == b.s && e.kind < 0); });
    }
    // An arrival of its spike comes behind all that happens in its instant; none if the trial is over then.
    void sent(const Log& log, const Args& args, const Candidate& b, double delay, double together, int32_t kind, int32_t route, int64_t index) {
        Moment m = b;
        const double at = Schedule::time_at(args, m.step) + m.s + delay;
        const int64_t to = delay > 0 ? step_of(at, m.step, Schedule::all(args), Schedule::until(args)) : m.step;
        m.s = to > m.step ? std::fmax(at - Schedule::time_at(args, to), 0.0) : m.s + delay, m.step = to;
        if (at < Schedule::until(args)) insert(log, args, m, kind, route, index, [&](const LogEntry& e) { return e.s <= m.s + together; });
    }
    // Nothing, if that is in another piece of a recording.
    template <class First>
    void insert(const Log& log, const Args& args, const Moment& at, int32_t kind, int32_t source, int64_t index, const First& first) {
        const int64_t row = at.step - Schedule::number(args, Schedule::first(args));
        if (row < 0 || row >= Schedule::steps(args)) return;
        const LogEntry *all_of = log.entries.data, *from = all_of + log.steps[size_t(row)], *to = all_of + log.steps[size_t(row) + 1];
        all.push() = {at, std::partition_point(from, to, first) - all_of, kind, source, index};
    }
    // The next one behind entry `e` of a step, if there is any left.
    const Unborn* next(int64_t step, int64_t e) {
        const bool some = left > 0 && all[left - 1].step == step && all[left - 1].position > e;
        return some ? &all[--left] : nullptr;
    }
};

// Once a trial is over: puts candidates, and the arrivals of their spikes, between the entries of the logs.
template <class Trial>
void insert_unborn(Trial& t) {
    auto& work = t.work;
    for (auto& unborn : work.unborn) unborn.all.count = 0;
    t.each_population([&](auto p) {
        if constexpr (p.born) {
            using P = decltype(p);
            const auto& all = p.births(work).all;
            for (int64_t index = 0; index < all.count; ++index) {
                work.unborn[p.group].born(work.log[p.group], t.args, all[index], BIRTH - p.number, index);
                t.each_connection([&](auto c) {
                    using Target = typename decltype(c)::Target;
                    if constexpr (std::is_same_v<typename decltype(c)::Source, P>)
                        c.synapses(t.args).each_route(all[index].neuron, [&](int32_t route) {
                            const double delay = c.delayed ? c.late(t.args, route) : c.lag(t.args), together = Target::flow(work).together;
                            work.unborn[Target::group].sent(work.log[Target::group], t.args, all[index], delay, together, UNBORN + c.number, route, index);
                        });
                });
            }
        }
    });
    for (auto& unborn : work.unborn) std::sort(unborn.all.begin(), unborn.all.end()), unborn.left = unborn.all.count;
}
// The two halves of a batch may run the second one again.
template <class Trial>
void begin_unborn(Trial& t) {
    for (auto& unborn : t.work.unborn) unborn.left = unborn.all.count;
    t.each_population([&](auto p) {
        if constexpr (p.born) {
            for (auto& b : p.births(t.work).all) b.change = 0;
            p.each_moved(t.work, [&](auto& rows, int64_t width) { rows.zero(p.births(t.work).all.count * width); });
        }
    });
}
// What comes behind entry `e` of the log of a group.
template <class Trial, class Group>
void undo_unborn(Trial& t, Group group, int64_t e) {
    auto& work = t.work;
    auto& unborn = work.unborn[group_of(group)];
    while (const Unborn* entry = unborn.next(Schedule::number(t.args, t.step), e)) {
        Schedule::record(t, group, entry->s);
        t.each_connection([&](auto c) {
            using C = decltype(c);
            if constexpr (among<typename C::Target>(Group()) && C::unborn)
                if (entry->kind == UNBORN + c.number) {
                    scalar* moved = c.moved(t.args, work, entry->index);
                    const auto readers = C::Target::readers(work);
                    const double change = C::Target::flow(work).unborn_arrival(t.args, c, *entry, t.step, unborn.left, moved, c.slope(work), readers);
                    if (!moved) C::Source::births(work).all[entry->index].change += change;
                }
        });
        each(group, [&](auto p) {
            if constexpr (p.born)
                if (entry->kind == BIRTH - p.number) undo_birth(t, p, *entry);
        });
    }
}
// The outer losses with the spike, then the jump of lambda. Of a maximum that is a kink, D is divided among the arrivals of its
// instant, in proportion to how much each changes the slope of g: the mean over all orders that they might have.
template <class Trial, class P>
void undo_birth(Trial& t, P p, const Unborn& entry) {
    auto& flow = p.flow(t.work);
    auto& births = p.births(t.work);
    const auto& b = births.all[entry.index];
    flow.undo_to_candidate(t.args, entry, p.readers(t.work));
    const double change = p.change(t.args, t.work, t.sample, b, entry.index);
    births.jump(flow, t.args, b, change);
    if (!(b.rise > 0)) return;
    const auto& log = t.work.log[P::group];
    const auto fall = [&](const LogEntry& a) {
        int receptor = 0;
        double weight = 0;
        return t.reaches(p, a, b.neuron, receptor, weight) ? births.fall(flow, t.args, b, receptor, weight, a.s) : 0.0;
    };
    const auto each_of_instant = [&](const auto& f) {
        for (int64_t i = entry.position; i < log.steps[size_t(t.row()) + 1] && log.entries.data[i].s <= b.s + flow.together; ++i) f(log.entries.data[i]);
    };
    double total = 0;
    each_of_instant([&](const LogEntry& a) { total += fall(a); });
    if (total < 0)
        each_of_instant([&](const LogEntry& a) {
            t.through(a.kind, p, [&](auto c) {
                if constexpr (c.hands) c.hand_back(t.args, t.work, t.sample, t.slice, a, b.hazard * change * b.rise * fall(a) / total);
            });
        });
}

}  // namespace
