// What a trial by closed forms asks for besides: readers, recorders and births follow it step by step.

namespace {

struct Schedule : Span {
    template <class Trial, class F>
    static void each_reader(Trial& t, const F& f) {
        t.each_population([&](auto p) { p.readers(t.work).each([&](auto& r, const scalar* dr) { f(p.flow(t.work), r, dr); }); });
    }
    template <class Trial>
    static void begin(Trial& t) {
        each_reader(t, [&](auto& flow, auto& r, const scalar*) { r.begin(flow, t.args, t.sample); });
        t.each_population([&](auto p) {
            if (t.args.recorded) p.recorder(t.work).begin(t.args, p.record(t.args), t.sample, false);
            if constexpr (p.born)
                if (t.args.training) p.births(t.work).begin(t.args);
        });
    }
    template <class Trial>
    static void enter(Trial& t, bool back) {
        each_reader(t, [&](auto& flow, auto& r, const scalar*) { r.enter(flow, t.args, t.step, back); });
        if (t.args.recorded) t.each_population([&](auto p) { p.recorder(t.work).enter(t.args, t.step); });
    }
    template <class Trial, class P>
    static void start(Trial& t, P p, Log& log) {
        auto& flow = p.flow(t.work);
        p.readers(t.work).each([&](auto& r, const scalar*) {
            r.start(flow);
            r.absorb(flow, flow.pending.begin(), flow.pending.count, log.count);
        });
        if (t.args.recorded) p.recorder(t.work).start(flow);
        if constexpr (P::born)
            if (t.args.training) p.births(t.work).start(flow);
        if constexpr (!P::events)
            for (const auto& a : flow.pending) log.push(a.s, a.connection, a.source, a.index);
    }
    template <class Trial, class Group>
    static double due(Trial&, Group) {
        return 0;  // every population knows its own arrivals
    }
    // The next arrival, or the end of a refractory period.
    template <class Trial, class Group>
    static void arrive(Trial& t, Group group, const Next& first, Log& log) {
        each(group, [&](auto p) {
            if constexpr (p.events)
                if (p.number == first.who) p.flow(t.work).take_next(log, END_OF_PERIOD - p.number);
        });
    }
    template <class Trial, class P, class Event>
    static void fired(Trial& t, P p, const Event& event, Log&) {
        auto& flow = p.flow(t.work);
        p.readers(t.work).each([&](auto& r, const scalar*) { r.jump(flow, event.neuron, flow.now, event.before, event.after); });
    }
    template <class Trial, class C, class Synapses>
    static void insert(Trial& t, C c, const Synapses& synapses, double at, int32_t route, int64_t spike, Log& log) {
        auto& flow = C::Target::flow(t.work);
        typename std::decay_t<decltype(flow)>::Incoming a;
        flow.fill(a, c, synapses, at, route, spike);
        C::Target::readers(t.work).each([&](auto& r, const scalar*) { r.absorb(flow, &a, 1, log.count); });
        flow.insert(a);
    }
    // Once a step is over, and before its end becomes the start of the next one.
    template <class Trial, class P>
    static void over(Trial& t, P p, Log& log) {
        auto& flow = p.flow(t.work);
        p.readers(t.work).each([&](auto& r, const scalar*) {
            if constexpr (std::decay_t<decltype(r)>::follows) {
                follow(t, p, r, log);
                r.advance(flow, t.args, t.args.delta, log.count);
            }
        });
        if (t.args.recorded) record_step(t, p, log);
        if constexpr (P::born)
            if (t.args.training) p.births(t.work).scan(flow, t.args, log, number(t.args, t.step), t.row(), END_OF_PERIOD - P::number);
    }
    // Copies of states for the host, which few trials are asked for.
    template <class Trial, class P>
    [[gnu::noinline, gnu::cold]] static void record_step(Trial& t, P p, const Log& log) {
        follow(t, p, p.recorder(t.work), log);
        p.recorder(t.work).advance(p.flow(t.work), t.args, t.args.delta, log.count);
    }
    // Takes a reader of a population through a completed step, by its log.
    template <class Trial, class P, class Reader>
    static void follow(Trial& t, P p, Reader& r, const Log& log) {
        auto& flow = p.flow(t.work);
        for (int64_t e = log.steps[size_t(t.row())]; e < log.count; ++e) {
            const LogEntry& entry = log.entries.data[e];
            const int neuron = entry.source;
            if constexpr (P::events) {
                if (entry.kind == -1 - P::number) {
                    double before[Reader::n], after[Reader::n];
                    r.advance(flow, t.args, entry.s, e);
                    r.around(flow, t.args, neuron, entry.index, before, after);
                    r.spikes(flow, t.args, neuron, entry.index, entry.s, before, after);
                    r.go_on(flow, neuron, Reader::M - 1, entry.s, after);
                }
                if constexpr (P::Model::modes > 1)
                    if (entry.kind == END_OF_PERIOD - P::number) r.advance(flow, t.args, entry.s, e), r.release(flow, neuron, entry.s);
            }
            t.through(entry.kind, p, [&](auto c) {
                const scalar* weights = flow.whole_row(c.synapses(t.args), entry.source);
                r.advance(flow, t.args, entry.s, e);
                r.arrives(flow, t.args, c.receptor, weights, entry.s, e);
                r.arrive(flow, c.receptor, weights, entry.s);
            });
        }
    }
    template <class Trial>
    static void end(Trial& t) {
        t.each_population([&](auto p) {
            if (t.args.recorded) p.recorder(t.work).advance(p.flow(t.work), t.args, std::numeric_limits<double>::infinity(), 0);  // what rounding leaves
            if constexpr (p.born)
                if (t.args.training) p.births(t.work).finish();
        });
    }

    template <class Trial>
    static void begin_back(Trial& t) {
        each_reader(t, [&](auto& flow, auto& r, const scalar* dr) { r.begin_back(flow, dr); });
        if (t.args.recorded) t.each_population([&](auto p) { p.recorder(t.work).begin(t.args, p.record(t.args), t.sample, true); });
    }
    template <class Trial, class P>
    static void open(Trial& t, P p, const LogEntry* entries, int64_t begin, int64_t count) {
        auto& flow = p.flow(t.work);
        flow.retreat(t.row());
        flow.open_step(entries, begin, count);
    }
    // What happens behind entry `e` of the log, at s.
    template <class Trial, class Group>
    static void before(Trial& t, Group group, double s, int64_t e) {
        record(t, group, s);
        each(group, [&](auto p) {
            p.readers(t.work).each([&](auto& r, const scalar* dr) { r.before(p.flow(t.work), dr, t.step, e); });
        });
    }
    // Records the adjoints at all times of the step behind `after`; what else adds to them has its turn before.
    template <class Trial, class Group>
    static void record(Trial& t, Group group, double after) {
        if (t.args.recorded) record_all(t, group, after);
    }
    template <class Trial, class Group>
    [[gnu::noinline, gnu::cold]] static void record_all(Trial& t, Group group, double after) {
        each(group, [&](auto p) {
            auto& recorder = p.recorder(t.work);
            auto& flow = p.flow(t.work);
            for (; recorder.behind(after); --recorder.next) {
                p.readers(t.work).each([&](auto& r, const scalar* dr) { r.down_to(flow, dr, t.step, recorder.s); });
                recorder.adjoints(flow);
                p.readers(t.work).each([&](auto& r, const scalar* dr) { r.add_to(flow, dr, recorder.s, recorder.row(recorder.n)); });
            }
        });
    }
    template <class Trial, class P>
    static void undo(Trial& t, P p, const LogEntry& entry) {
        if constexpr (P::Model::modes > 1)
            if (entry.kind == END_OF_PERIOD - P::number) p.flow(t.work).ended(entry.source, entry.index, entry.s);
    }
    template <class Trial, class P>
    static void close(Trial& t, P p, int64_t begin) {
        before(t, Types<P>(), -1.0, begin - 1);
        p.readers(t.work).each([&](auto& r, const scalar* dr) { r.leave(p.flow(t.work), dr, t.row()); });
    }
};

}  // namespace
