// What a trial by Taylor series asks for besides: it is one step; readers go through the pieces of the whole trial.

namespace {

struct Schedule {
    static int64_t first(const Args&) { return 0; }
    static int64_t steps(const Args&) { return 1; }
    static int64_t all(const Args&) { return 1; }
    static int64_t number(const Args&, int64_t step) { return step; }
    static double time_of(const Args& args, int64_t step) { return step ? args.duration : 0.0; }
    static double time_at(const Args& args, int64_t number) { return time_of(args, number); }
    static double until(const Args& args) { return args.duration; }
    template <class Trial>
    static void begin(Trial&) {}
    template <class Trial>
    static void enter(Trial&, bool) {}
    template <class Trial, class P>
    static void start(Trial&, P, Log&) {}
    // When the next arrival or given spike in a group is due, or the end of the trial: nothing that is known happens to its neurons before.
    template <class Trial, class Group>
    static double due(Trial& t, Group group) {
        double due = t.args.duration;
        each(group, [&](auto p) {
            const auto& flow = p.flow(t.work);
            due = std::fmin(due, std::fmin(flow.arrival_at(), flow.observed.at()));
        });
        return due;
    }
    // All arrivals of an instant: everything is added before any threshold is tested.
    template <class Trial, class Group>
    static void arrive(Trial& t, Group group, const Next& first, Log& log) {
        each(group, [&](auto p) {
            auto& flow = p.flow(t.work);
            flow.take(first.when);
            const auto each_target = [&](const Due& d, const auto& f) {
                t.through(d.kind, p, [&](auto c) { c.synapses(t.args).each_target(d.source, flow.row, [&](int k, scalar weight, int64_t) { f(c, k, weight); }); });
            };
            for (const Due& d : flow.arriving) {
                each_target(d, [&](auto, int k, scalar) { flow.touch(k, t.instant); });
                if (d.kind >= CHANGE) flow.touch_all(t.instant);
            }
            flow.cut_touched(t.args, first.when);
            for (const Due& d : flow.arriving) {
                if constexpr (p.driven)
                    if (d.kind >= CHANGE) p.set_currents(t.args, t.work, t.sample, d.source);
                each_target(d, [&](auto c, int k, scalar weight) { flow.add(t.args, c.receptor, k, double(weight)); });
                log.push(first.when, d.kind, d.source, d.index, t.instant);
            }
            flow.start_touched(first.when, t.instant);
        });
        ++t.instant;
    }
    template <class Trial, class P, class Event>
    static void fired(Trial& t, P p, const Event& event, Log& log) {
        auto& flow = p.flow(t.work);
        if constexpr (P::Model::any_moved)
            if (flow.events[event.index].why == ARRIVAL)
                flow.divide(t.args, event.index, log, [&](const LogEntry& a, int& receptor, double& weight) { return t.reaches(p, a, event.neuron, receptor, weight); });
    }
    template <class Trial, class C, class Synapses>
    static void insert(Trial& t, C c, const Synapses&, double at, int32_t route, int64_t spike, Log&) {
        C::Target::flow(t.work).insert(c, at, route, spike);
    }
    template <class Trial, class P>
    static void over(Trial&, P, Log&) {}
    template <class Trial>
    static void end(Trial& t) {
        t.each_population([&](auto p) {
            if constexpr (p.born)  // which cuts pieces: what reads them gives the same bits in a run forwards alone
                if (t.args.training || decltype(p.readers(t.work))::reads) p.births(t.work).search(p.flow(t.work), t.args);
        });
        t.each_population([&](auto p) {
            auto& flow = p.flow(t.work);
            const auto readers = p.readers(t.work);
            if constexpr (decltype(p.readers(t.work))::reads) {
                flow.path.clear(p.size), flow.find_path(flow.path);
                readers.each([&](auto& r, const scalar*) { r.look(flow, t.args, t.sample, flow.path); });
                for (bool again = true; again;) {
                    flow.split(t.args, flow.path);
                    again = false;
                    readers.each([&](auto& r, const scalar*) { again |= r.read(flow, t.args, t.sample, flow.path); });
                }
                const auto reach = [&](const LogEntry& a, int k, int& receptor, double& weight) { return t.reaches(p, a, k, receptor, weight); };
                readers.each([&](auto& r, const scalar*) { r.divide(flow, t.args, t.work.log[p.group], reach); });
            }
        });
        if (t.args.recorded)
            t.each_population([&](auto p) {
                p.flow(t.work).record(t.args, p.record(t.args), t.sample);
                p.flow(t.work).record_states(t.args);
            });
    }

    template <class Trial>
    static void begin_back(Trial& t) {
        t.each_population([&](auto p) {
            if (t.args.recorded) p.flow(t.work).record(t.args, p.record(t.args), t.sample);
            p.readers(t.work).each([&](auto& r, const scalar* dr) { r.begin_back(p.flow(t.work), dr); });
        });
    }
    template <class Trial, class P>
    static void open(Trial& t, P p, const LogEntry*, int64_t, int64_t count) {
        p.flow(t.work).arrival_extra.zero(count + 1);
    }
    template <class Trial, class Group>
    static void before(Trial&, Group, double, int64_t) {}
    template <class Trial, class Group>
    static void record(Trial&, Group, double) {}
    // dL/du is lambda_u where u is set; nothing that happened before has an influence on it.
    template <class Trial, class P>
    static void undo(Trial& t, P p, const LogEntry& entry) {
        if constexpr (P::driven)
            if (entry.kind == CHANGE + P::number) {
                auto& flow = p.flow(t.work);
                flow.touch_all(entry.instant), flow.retreat(t.args, entry.instant, p.readers(t.work));
                p.by_currents(t.args, t.work, t.sample, entry.source);
            }
    }
    // To the start of the trial.
    template <class Trial, class P>
    static void close(Trial& t, P p, int64_t) {
        auto& flow = p.flow(t.work);
        flow.touch_all(-3), flow.retreat(t.args, -3, p.readers(t.work)), flow.finish_back();
    }
};

}  // namespace
