// One trial in exact time, forwards and backwards: the order of events, arrivals and delays, the log, births. Between two events the
// neurons of a population have a flow, closed forms (costates.hpp) or Taylor series (../general/pieces.hpp), and what only one of these
// asks for besides is in `Schedule`: steps.hpp or ../general/whole.hpp.
//
// P: a generated struct of each population, C: of each connection. A trial by Taylor series is a single step.

namespace {

// Populations: in the order of their groups.
template <class Work, class Groups, class Populations, class Connections>
struct Trial {
    const Args& args;
    Work& work;
    const int64_t sample;
    const int64_t from = args.offsets[args.samples[sample]], to = args.offsets[args.samples[sample] + 1];  // of the input spikes
    int64_t step = 0, instant = 0;
    double t_k = 0, t_end = 0;  // where the step begins and ends
    int64_t next[Work::connections + 1] = {};  // of every connection: the first spike of its source that has not been sent
    scalar* slice = nullptr;

    template <class F>
    void each_population(const F& f) {
        each(Populations(), f);
    }
    template <class F>
    void each_connection(const F& f) {
        each(Connections(), f);
    }
    // Calls f with the connection into P that has a number, if there is one.
    template <class P, class F>
    void through(int32_t number, P, const F& f) {
        each(Connections(), [&](auto c) {
            if constexpr (std::is_same_v<typename decltype(c)::Target, P>)
                if (number == c.number) f(c);
        });
    }
    // Whether an arrival reaches a neuron of P, and how.
    template <class P>
    bool reaches(P p, const LogEntry& a, int neuron, int& receptor, double& weight) {
        bool hit = false;
        through(a.kind, p, [&](auto c) { receptor = c.receptor, hit = c.synapses(args).weight_of(a.source, neuron, weight); });
        return hit;
    }
    template <class P>
    int give_up(P p) {
        work.lost = p.flow(work).lost;
        return 1 + P::number;
    }

    // Forwards

    // Returns 0, or 1 + the number of the population that could not go on.
    int forward() {
        begin();
        Schedule::begin(*this);
        if (const int lost = run()) return lost;
        Schedule::end(*this);
        if constexpr (Work::births)
            if (args.training) insert_unborn(*this);
        read_trial(args, work, sample);
        return 0;
    }
    void begin() {
        each_population([&](auto p) {
            p.initial(args, work);
            p.flow(work).begin(args, p.keeps && args.training);
            if constexpr (p.observed) p.flow(work).observed = p.observed_spikes(args, sample);
        });
        for (auto& log : work.log) log.clear(Schedule::steps(args));
        each(Connections(), [&](auto c) {
            next[c.number] = std::is_same_v<typename decltype(c)::Source, Input> ? from : 0;
            if constexpr (c.delayed) c.way(work).clear(Schedule::number(args, Schedule::first(args)), Schedule::steps(args), Schedule::all(args), Schedule::until(args));
        });
    }
    // All steps. Returns as `forward`.
    int run() {
        const int64_t first = Schedule::first(args), last = first + Schedule::steps(args);
        for (step = first; step < last; ++step) {
            if (step % 64 == 0) args.host->poll();
            t_k = Schedule::time_of(args, step), t_end = Schedule::time_of(args, step + 1);
            Schedule::enter(*this, false);
            int lost = 0;
            each(Groups(), [&](auto group) { lost = lost ? lost : advance(group); });
            if (lost) return lost;
        }
        return 0;
    }
    // Number of the step in the memory of a call.
    int64_t row() const { return step - Schedule::first(args); }
    // Takes the populations of a group through the step.
    template <class Group>
    int advance(Group group) {
        auto& log = work.log[group_of(group)];
        each(group, [&](auto p) {
            using P = decltype(p);
            auto& flow = p.flow(work);
            flow.start(row(), t_k);
            if constexpr (p.observed) flow.observed.until = t_end < args.duration ? t_end : std::numeric_limits<double>::infinity();
            if constexpr (p.driven)
                for (int64_t i = 0; i < p.changes(args); ++i) flow.change(p.change_time(args, i), CHANGE + p.number, i);
            each(Connections(), [&](auto c) {
                if constexpr (std::is_same_v<typename decltype(c)::Target, P>) due(c);
            });
            flow.absorb();
            Schedule::start(*this, p, log);
        });
        if (const int lost = events(group, log)) return lost;
        each(group, [&](auto p) { Schedule::over(*this, p, log); });
        each(group, [&](auto p) { p.flow(work).finish(args, row()); });
        log.steps[size_t(row()) + 1] = log.count;
        return 0;
    }
    // When a spike of its source would arrive through a connection, but for individual delays.
    template <class C>
    double arrives(C c, int64_t spike) {
        if constexpr (std::is_same_v<typename C::Source, Input>)
            return args.times[spike] + c.lag(args);
        else
            return C::Source::flow(work).spike_time[spike] + c.lag(args);
    }
    // The arrivals within the step of spikes that are known at its start.
    template <class C>
    void due(C c) {
        constexpr bool input = std::is_same_v<typename C::Source, Input>;
        auto& flow = C::Target::flow(work);
        const auto synapses = c.synapses(args);
        int64_t& i = next[C::number];
        int64_t end = to;
        if constexpr (C::delayed) c.way(work).now = Schedule::number(args, step);
        if constexpr (!input) end = C::Source::flow(work).spikes.count;
        for (; i < end && arrives(c, i) < t_end; ++i) {
            int32_t sender;
            if constexpr (input)
                sender = c.sender(args.channels[i]);
            else
                sender = C::Source::flow(work).spikes.neuron[i];
            if (sender < 0) continue;
            const int64_t index = input ? i - from : i;
            synapses.each_route(sender, [&](int32_t route) {
                const double at = arrives(c, i);
                if constexpr (C::delayed)
                    c.way(work).push(at + c.late(args, route), index, route);
                else
                    flow.pend(c, synapses, at - t_k > 0 ? at - t_k : 0.0, route, index);
            });
        }
        if constexpr (C::delayed)
            for (const auto& due : c.way(work).take(Schedule::number(args, step))) flow.pend(c, synapses, due.at - t_k > 0 ? due.at - t_k : 0.0, due.route, due.index);
    }
    // The events of the step in order of time; at equal times crossings come before arrivals.
    template <class Group>
    int events(Group group, Log& log) {
        for (;;) {
            const double due = Schedule::due(*this, group);
            int lost = 0;
            Next first;
            each(group, [&](auto p) {
                if (!lost && !p.flow(work).look(args, due, p.number, first)) lost = give_up(p);
            });
            if (lost) return lost;
            if (first.who < 0) return 0;
            if (first.which < 0) {
                Schedule::arrive(*this, group, first, log);
                continue;
            }
            each(group, [&](auto p) {
                if (p.number == first.who) lost = fire(group, p, first, log);
            });
            if (lost) return lost;
        }
    }
    // An own event or a spike that is given, and its arrivals at its own group within the step.
    template <class Group, class P>
    int fire(Group group, P p, const Next& first, Log& log) {
        auto& flow = p.flow(work);
        if constexpr (P::events) {
            const auto event = flow.fire(args, first, t_k, instant, work.guarded);
            log.push(flow.now, -1 - P::number, event.neuron, event.index, instant);
            if (flow.runs_away()) return give_up(p);
            Schedule::fired(*this, p, event, log);
            if (event.spike >= 0)
                each(Connections(), [&](auto c) {
                    if constexpr (std::is_same_v<typename decltype(c)::Source, P> && among<typename decltype(c)::Target>(Group())) send(c, event.neuron, event.spike, log);
                });
            ++instant;
        }
        return 0;
    }
    template <class C>
    void send(C c, int neuron, int64_t spike, Log& log) {
        const double now = C::Source::flow(work).now;
        const auto synapses = c.synapses(args);
        if (!C::delayed && !(arrives(c, spike) < t_end)) return;
        ++next[C::number];
        synapses.each_route(neuron, [&](int32_t route) {
            if constexpr (C::delayed) {
                const double late = c.late(args, route), at = arrives(c, spike) + late;
                if (at >= t_end)
                    c.way(work).push(at, spike, route);
                else
                    Schedule::insert(*this, c, synapses, now + late, route, spike, log);
            } else {
                Schedule::insert(*this, c, synapses, now + c.lag(args), route, spike, log);
            }
        });
    }

    // Backwards

    void backward(scalar* gradients, bool first) {
        slice = gradients;
        if (first) std::memset(slice, 0, GRADIENT_SIZE * sizeof(scalar));
        each_population([&](auto p) { p.flow(work).clear_back(); });
        if constexpr (Work::births) begin_unborn(*this);
        begin_back(args, work, sample);
        each_population([&](auto p) { p.flow(work).begin_back(); });
        Schedule::begin_back(*this);
        run_back();
        end_back();
    }
    void run_back() {
        const int64_t first = Schedule::first(args);
        for (step = first + Schedule::steps(args) - 1; step >= first; --step) {
            if (step % 64 == 0) args.host->poll();
            Schedule::enter(*this, true);
            each_back(Groups(), [&](auto group) { retreat(group); });
        }
    }
    void end_back() {
        each_population([&](auto p) {
            p.initial_gradient(args, work);
            for (int i = 0; i < decltype(p)::Model::learned; ++i)
                for (int k = 0; k < p.size; ++k) slice[p.gradients[i] + k] += p.flow(work).grad[i].data[k];
        });
    }
    // The events of a group within the step, in reverse.
    template <class Group>
    void retreat(Group group) {
        auto& log = work.log[group_of(group)];
        const int64_t begin = log.steps[size_t(row())], end = log.steps[size_t(row()) + 1];
        each(group, [&](auto p) { Schedule::open(*this, p, log.entries.data + begin, begin, end - begin); });
        for (int64_t e = end - 1;; --e) {
            if constexpr (Work::births) undo_unborn(*this, group, e);
            if (e < begin) break;
            const LogEntry& entry = log.entries.data[e];
            Schedule::before(*this, group, entry.s, e);
            each(group, [&](auto p) {
                if (entry.kind == -1 - p.number) undo_own(p, entry);
                else Schedule::undo(*this, p, entry);
            });
            each(Connections(), [&](auto c) {
                if constexpr (among<typename decltype(c)::Target>(Group()))
                    if (entry.kind == c.number) undo_arrival(c, entry, e);
            });
        }
        each(group, [&](auto p) { Schedule::close(*this, p, begin); });
    }
    // The weight gradient of an arrival, and its D, which goes to the spike that caused it and to its delay.
    template <class C>
    void undo_arrival(C c, const LogEntry& a, int64_t e) {
        const double D = C::Target::flow(work).undo_arrival(args, c, slice + C::gradient, a, e, C::Target::readers(work));
        if constexpr (C::hands) c.hand_back(args, work, sample, slice, a, D);
    }
    template <class P>
    void undo_own(P p, const LogEntry& entry) {
        if constexpr (P::events) {
            auto& flow = p.flow(work);
            double extra[P::Model::n] = {};  // what readers add to lambda there
            scalar dl_dt = flow.undo_to(args, entry, extra, p.readers(work));
            const auto crossing = flow.own_event(entry.index);
            if (crossing.spike >= 0) p.said(args, work, sample, crossing.event, entry.source, crossing.spike, dl_dt);
            flow.jumped(args, entry, dl_dt, extra);
        }
    }
};

}  // namespace
