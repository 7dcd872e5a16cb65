// A piece of a recording, forwards or backwards, and what crosses from one to the next.
//
// Forwards that is the states and the spikes that a later piece still needs, which are renumbered from 0 on: those in transit, and those
// in whose refractory period a neuron is. Backwards it is their gradients, and the costates. What a loss has read of an interval goes on
// within it, and at its end is kept for its way back.

namespace {

// Reads or writes bytes one after the other, as far as there is room, and counts them.
struct Archive {
    char* data;
    int64_t room;
    bool reads;
    int64_t bytes = 0;
    void raw(void* x, int64_t n) {
        if (n > 0 && bytes + n <= room) reads ? std::memcpy(x, data + bytes, size_t(n)) : std::memcpy(data + bytes, x, size_t(n));
        bytes += n;
    }
    template <class... T>
    void values(T&... x) {
        (raw(&x, sizeof x), ...);
    }
    template <class T>
    void some(T* x, int64_t n) {
        raw(x, n * int64_t(sizeof(T)));
    }
    template <class T>
    void all(List<T>& list) {
        values(list.count);
        list.all.reserve(list.count);
        some(list.all.data, list.count);
    }
    template <class T>
    void all(std::vector<T>& list) {
        int64_t n = int64_t(list.size());
        values(n);
        list.resize(size_t(n));
        some(list.data(), n);
    }
};

template <class Trial>
struct Piece {
    Trial t;
    const Args& args = t.args;
    typedef std::remove_reference_t<decltype(t.work)> Work;
    static constexpr int POPULATIONS = Work::populations;
    static constexpr bool input(Input) { return true; }
    template <class P>
    static constexpr bool input(P) {
        return false;
    }

    Archive archive(int64_t* data, bool reads) const { return {reinterpret_cast<char*>(data), 8 * args.crossing_room, reads}; }
    // Says how much room was needed.
    void wrote(int which, const Archive& a) { args.crossing_size[which] = (a.bytes + 7) / 8; }

    int forward() {
        const bool first = Span::begins_all(args);
        t.begin();
        Archive before = archive(args.crossing_state, true);
        t.each_population([&](auto p) {
            t.work.carried[p.number] = 0;
            if constexpr (decltype(p)::Model::spiking) std::memset(p.counts(args), 0, p.size * sizeof(int32_t));
        });
        if (!first) cross(before);
        t.each_connection([&](auto c) {
            if constexpr (input(typename decltype(c)::Source()))
                while (!first && t.next[c.number] < t.to && t.arrives(c, t.next[c.number]) < Span::time_of(args, args.first_step)) ++t.next[c.number];
        });
        Schedule::begin(t);
        if (!first) births(before);
        if (args.first_step == 0) begin_interval(args, t.work, t.sample);
        else read(before);
        if (const int lost = t.run()) return lost;
        if (Span::ends_all(args)) Schedule::end(t);
        read_trial(args, t.work, t.sample);
        if (args.closes) end_interval(args, t.work, t.sample);
        Archive after = archive(args.crossing_state, false), back = {nullptr, 0, false};
        cross(after), births(after), read(after), wrote(0, after);
        cross_back(back, false), births_back(back, false), read(back), wrote(1, back);
        args.crossing_size[3] = bytes() / 8;
        return 0;
    }
    // Of this piece, until it has run backwards, about: of long lists malloc has given what is used, of others all.
    int64_t bytes() {
        int64_t found = 0;
        for (const auto& log : t.work.log) found += (log.count + log.count / 16) * int64_t(sizeof(LogEntry)) + int64_t(log.steps.size() * sizeof(int64_t));
        t.each_population([&](auto p) {
            auto& flow = p.flow(t.work);
            const int64_t row = flow.NP * int64_t(sizeof(scalar));
            found += flow.trace.size * int64_t(sizeof(scalar)) + 24 * flow.n * row;
            if constexpr (decltype(p)::Model::spiking) found += flow.spikes.neuron.size * (12 + (flow.n + 2) * int64_t(sizeof(scalar))) + flow.ends.all.size * int64_t(sizeof(flow.ends[0]));
        });
        t.each_population([&](auto p) {
            if constexpr (p.born) found += p.births(t.work).all.all.size * int64_t(sizeof(p.births(t.work).all[0]));
        });
        t.each_connection([&](auto c) {
            if constexpr (c.delayed)
                for (const auto& due : t.work.way[c.number].steps) found += int64_t(sizeof due + due.capacity() * sizeof(due[0]));
        });
        Schedule::each_reader(t, [&](auto&, auto& r, const scalar*) { found += r.bytes(); });
        return found;
    }
    void backward(scalar* gradients) {
        t.slice = gradients;
        t.each_population([&](auto p) { p.flow(t.work).clear_back(); });
        Archive later = archive(args.crossing_back, true), closed = archive(args.crossing_read, true);
        if constexpr (Work::births) begin_unborn(t);
        t.each_population([&](auto p) {
            if constexpr (p.born) p.births(t.work).find_open(Span::number(args, args.first_step));
        });
        if (!Span::ends_all(args)) cross_back(later, true), births_back(later, true);
        if constexpr (Work::births) insert_unborn(t);
        read(args.closes ? closed : later);
        begin_back();
        t.each_population([&](auto p) { p.flow(t.work).begin_back(); });
        Schedule::begin_back(t);
        t.run_back();
        if (Span::begins_all(args)) return t.end_back();
        Archive back = archive(args.crossing_back, false);
        cross_back(back, false), births_back(back, false), read(back);
    }
    // Keeps what losses have read of an interval, and dL/dr.
    void close() {
        Archive a = archive(args.crossing_read, false);
        read(a), wrote(2, a);
    }

    // What losses have read so far.
    void read(Archive& a) {
        cross_read(args, t.work, a);
        Schedule::each_reader(t, [&](auto&, auto& r, const scalar*) { r.cross(a); });
    }
    void cross(Archive& a) {
        int64_t base[POPULATIONS + 1] = {};  // how many own spikes are left behind; the last one is of the input
        a.values(t.work.guarded);
        t.each_population([&](auto p) {
            auto& flow = p.flow(t.work);
            for (int i = 0; i < flow.n; ++i) a.some(flow.x[i].data, flow.NP), a.some(flow.low[i].data, flow.NP);
            if constexpr (decltype(p)::Model::spiking) {
                a.all(flow.unarmed), a.values(flow.n_unarmed), a.all(flow.held), a.some(p.counts(args), p.size);
                int64_t first = a.reads ? 0 : first_needed(p), count = flow.spikes.count - first;
                t.work.needed[p.number] = first;
                a.values(first, count);
                if (a.reads) {
                    flow.spikes.reserve(count), flow.spike_time.reserve(count);
                    flow.spikes.count = t.work.carried[p.number] = count, base[p.number] = first, first = 0;
                    for (auto& h : flow.held) h.index -= base[p.number];
                }
                a.some(flow.spikes.neuron.data + first, count), a.some(flow.spike_time.data + first, count);
            }
        });
        t.each_connection([&](auto c) {
            typedef typename decltype(c)::Source Source;
            const int64_t behind = base[input(Source()) ? POPULATIONS : Source::number];
            if constexpr (!input(Source())) a.values(t.next[c.number]), t.next[c.number] -= behind;
            if constexpr (c.delayed) {
                auto& way = t.work.way[c.number];
                a.all(way.later);
                if (!a.reads) return;
                const auto all = std::move(way.later);
                way.later.clear();
                for (const auto& due : all) way.push(due.at, due.index - behind, due.route);
            }
        });
    }
    // The first own spike of a population that a later piece needs.
    template <class P>
    int64_t first_needed(P p) {
        auto& flow = p.flow(t.work);
        int64_t first = flow.spikes.count;
        for (const auto& h : flow.held) first = std::min(first, h.index);
        t.each_connection([&](auto c) {
            if constexpr (std::is_same_v<typename decltype(c)::Source, P>) {
                first = std::min(first, t.next[c.number]);
                if constexpr (c.delayed)
                    for (const auto& due : t.work.way[c.number].later) first = std::min(first, due.index);
            }
        });
        return first;
    }
    // Spikes that are about to be born.
    void births([[maybe_unused]] Archive& a) {
        t.each_population([&](auto p) {
            if constexpr (p.born)
                if (args.training) p.births(t.work).cross(a, p.flow(t.work), [&](const auto& b) { return on_the_way(p, b); });
        });
    }
    // Whether the spike of a candidate would arrive in a later piece.
    template <class P, class Candidate>
    bool on_the_way(P, const Candidate& b) {
        bool some = false;
        t.each_connection([&](auto c) {
            if constexpr (std::is_same_v<typename decltype(c)::Source, P>)
                c.synapses(args).each_route(b.neuron, [&](int32_t route) {
                    some |= Span::time_at(args, b.step) + b.s + (c.delayed ? c.late(args, route) : c.lag(args)) >= Span::time_of(args, args.last_step);
                });
        });
        return some;
    }
    // What arrivals in later pieces have said of candidates, and whether those that were open are the candidates of their intervals.
    void births_back([[maybe_unused]] Archive& a, [[maybe_unused]] bool arrives) {
        t.each_population([&](auto p) {
            if constexpr (p.born) {
                auto& births = p.births(t.work);
                const auto said = [&](int64_t index) {
                    a.values(births.all[index].change);
                    p.each_moved(t.work, [&](auto& rows, int64_t width) { a.some(rows.data + index * width, width); });
                };
                if (!a.data) {  // the most that there may be
                    int64_t size = sizeof(double);
                    p.each_moved(t.work, [&](auto&, int64_t width) { size += width * int64_t(sizeof(scalar)); });
                    a.bytes += (births.carried + p.size) * size + p.size * int64_t(sizeof(int64_t));
                    return;
                }
                if (arrives)
                    for (int64_t index : births.leaving) said(index);
                else
                    for (int64_t index = 0; index < births.carried; ++index) said(index);
                for (int k = 0; k < p.size; ++k) {
                    int64_t index = arrives ? -1 : births.was_open[k], last = index >= 0;
                    a.values(last);
                    if (!last) continue;
                    if (arrives) {
                        index = births.take_open(k);
                        p.each_moved(t.work, [&](auto& rows, int64_t width) { rows.reserve((index + 1) * width); });
                        if (births.all[index].step < Span::number(args, args.first_step)) births.was_open[k] = index;
                    }
                    said(index);
                }
            }
        });
    }
    // arrives: what the next piece has left, whose first spikes are the last ones here.
    void cross_back(Archive& a, bool arrives) {
        t.each_population([&](auto p) {
            auto& flow = p.flow(t.work);
            for (int i = 0; i < flow.n; ++i) a.some(flow.mu[i].data, flow.NP), a.some(flow.held_mu[i].data, flow.NP);
            for (int i = 0; i < decltype(p)::Model::learned; ++i) a.some(flow.grad[i].data, flow.NP);
            if constexpr (decltype(p)::Model::pushed >= 0) a.some(flow.jump.data, flow.NP);
            if constexpr (decltype(p)::Model::spiking) {
                const int64_t first = arrives ? t.work.needed[p.number] : 0, count = arrives ? flow.spikes.count - first : t.work.carried[p.number];
                flow.feedback.reserve(first + count), a.some(flow.feedback.data + first, count);
            }
        });
        t.each_population([&](auto p) {
            if constexpr (p.regularised) a.some(p.regular(t.work).data, p.flow(t.work).NP);
        });
    }
    // Jumps at own spikes and lambda, where an interval ends. Regularisers count over the whole recording: jumps by them are set at its end
    // and begin every interval, whose losses add to them.
    void begin_back() {
        const auto copy = [&](bool keep) {
            t.each_population([&](auto p) {
                if constexpr (p.regularised) {
                    auto &jump = p.flow(t.work).jump, &regular = p.regular(t.work);
                    std::memcpy(keep ? regular.data : jump.data, keep ? jump.data : regular.data, p.flow(t.work).NP * sizeof(scalar));
                }
            });
        };
        if (Span::ends_all(args)) regularise(args, t.work, t.sample), copy(true);
        if (args.closes) copy(false), begin_back_of_interval(args, t.work, t.sample);
    }
};

}  // namespace
