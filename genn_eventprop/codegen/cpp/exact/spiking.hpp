// Own spikes and refractory periods of one population in exact time. After a spike a neuron is `held`, with P and c of the
// refractory mode, until its period ends and it becomes a lane again.

namespace {

// The most spikes of a population in a step; more end the trial. No step is longer than the shortest time constant. The work
// grows with the square of this number: 200 per neuron, but no more than 1,000 in all, or 20 per neuron of a large population.
constexpr int64_t runaway(int64_t neurons) { return std::max(std::min(200 * neurons, int64_t(1000)), 20 * neurons); }

template <class M, int N, bool Varies>
struct Spiking : Lanes<M, N, Varies> {
    typedef Lanes<M, N, Varies> Base;
    using Base::n, Base::delta, Base::x, Base::low;
    using Base::moved, Base::reach, Base::pending, Base::column_of, Base::growth, Base::add_up, Base::split, Base::of;
    using Base::collect, Base::together, Base::lane, Base::base;
    using Base::lane_neuron, Base::lanes, Base::hits, Base::unarmed, Base::n_unarmed, Base::cursor;
    using Base::first_due, Base::due, Base::now, Base::until, Base::known, Base::UNKNOWN;
    using Base::known_at, Base::close_lane, Base::solve, Base::keeps, Base::keep_state;

    Spikes<n + 1> spikes;
    Buffer<double> spike_time;
    int64_t spikes_in_step = 0;
    ObservedSpikes observed;
    Buffer<int8_t> during;  // the modes in which observed spikes came

    // A neuron in a refractory period. from: the first pending arrival that y does not contain yet. until: ms.
    struct Held {
        int neuron;
        int64_t from, index;  // index: number of the spike
        double until, y[n];
    };
    struct End {
        int64_t index;
        double x[n];
    };
    List<Held> held;
    List<End> ends;
    double begun = 0;  // t_k of this step
    Lost lost;

    void begin(const Args& args, bool keep) {
        spikes_in_step = spikes.count = held.count = ends.count = 0, keeps = keep;
        Base::begin(args);
    }
    void start(int64_t row, double t_k) {
        if (keeps) keep_state(row);
        if constexpr (M::sets)
            for (int i = 0; i < n; ++i)
                if (M::anew[i]) x[i].zero(Base::NP), low[i].zero(Base::NP);
        Base::start();  // with the bound by states that begin anew, and not by the currents of the step before
        begun = t_k;
        spikes_in_step = 0;
        if constexpr (M::modes > 1) {
            for (auto& h : held) {
                h.from = 0, reach.data[h.neuron] = UNKNOWN;
                for (int i = 0; i < n; ++i) h.y[i] = add_up(x[i].data[h.neuron], low[i].data[h.neuron]);
            }
            look_for_due();
        }
    }
    void finish(const Args& args, int64_t row) {
        Base::finish();
        if constexpr (M::modes > 1)
            for (auto& h : held) {
                collect(1, h.neuron, h.from, pending.count, h.y);
                for (int i = 0; i < n; ++i) {
                    const double to = h.y[i] + growth(i, h.y, column_of(h.neuron), 1);
                    split(to, x[i].data[h.neuron], low[i].data[h.neuron]);
                }
            }
        if (keeps && row + 1 == Span::steps(args)) keep_state(row + 1);
    }

    // Events

    // The first one of the population comes first in its group if `first` is later. False: the trial cannot go on.
    bool look(const Args&, double, int who, Next& first) {
        if constexpr (M::observed) {
            const double at = std::fmax(observed.at() - begun, now);
            if (std::isfinite(at) && at <= known_at() + (M::late ? -together : together)) {
                if (at < first.when || (at == first.when && first.which < 0)) first = {at, who, 0};
            } else if (known_at() < first.when) {
                first = {known_at(), who, -1};
            }
        } else if constexpr (M::spiking) {
            this->look_ahead();
            const int64_t hit = this->first_hit();
            if (hit >= 0) {
                const double at = hits[hit].s;
                if (at < first.when || (at == first.when && first.which < 0)) first = {at, who, hit};
            } else if (known_at() < first.when) {
                first = {known_at(), who, -1};
            }
        }
        return true;
    }
    // The next arrival, or the end of a refractory period.
    void take_next(Log& log, int32_t end_of_period) {
        if (M::modes > 1 && this->period_ends_first()) {
            const int neuron = release();
            log.push(now, end_of_period, neuron, ends.count - 1);
        } else {
            const auto& a = pending[cursor];
            log.push(a.s, a.connection, a.source, a.index);
            this->take_arrival();
        }
    }
    bool runs_away() const { return spikes_in_step > runaway(N); }

    // Refractory periods

    void look_for_due() {
        first_due = -1, due = delta;
        for (int64_t i = 0; i < held.count; ++i) {
            const double at = held[i].until - begun, s = at > now ? at : now;
            if (s < due || (s == due && first_due >= 0 && held[i].neuron < held[first_due].neuron)) due = s, first_due = i;
        }
    }
    // Begins the refractory period of a neuron whose state after the spike is `after`.
    void hold(const Args& args, int neuron, int64_t index, const double* after) {
        Held& h = held.push();
        h.neuron = neuron, h.from = cursor, h.index = index, h.until = begun + now + M::lasts(args, neuron, 1);
        of(neuron).at(M::modes - 1, now).from_state(after, h.y);
        look_for_due();
    }
    // Ends a refractory period: the neuron becomes a lane. Returns the neuron.
    int release() {
        const int64_t which = first_due;
        Held h = held[which];
        now = due;
        double at[n], more[n] = {};
        collect(1, h.neuron, h.from, cursor, h.y);
        End& end = ends.push();
        end.index = h.index;
        of(h.neuron).at(M::modes - 1, now).to_state(h.y, end.x);
        of(h.neuron).at(0, now).from_state(end.x, at);
        const int l = lanes++;
        lane_neuron[l] = h.neuron;
        collect(0, h.neuron, cursor, pending.count, more);
        for (int i = 0; i < n; ++i) {
            split(at[i], base[i][l], lane[i][l]);
            split(at[i], x[i].data[h.neuron], low[i].data[h.neuron]);
            moved[i].data[h.neuron] = scalar(more[i]);
        }
        held.drop(which);
        look_for_due();
        known = false;
        return h.neuron;
    }

    // An own spike, with the states around it.
    struct Event {
        int neuron;
        int64_t index, spike;  // its number, twice
        double before[n], after[n];
    };
    // Sends one; a spike that is given may come within a refractory period, which begins anew.
    Event fire(const Args& args, const Next& first, double t_k, int64_t, int64_t& guarded) {
        Event event;
        double *before = event.before, *after = event.after;
        const double s = now = std::fmin(first.when, known_at());
        int l = -1, neuron;
        int64_t period = -1;
        if constexpr (M::observed) {
            neuron = observed.neurons[observed.next++];
            for (period = held.count - 1; period >= 0 && held[period].neuron != neuron;) --period;
            if (period < 0) l = this->lane_of(neuron);
        } else {
            l = hits[first.which].lane, neuron = lane_neuron[l];
            hits.drop(first.which);
        }
        event.neuron = neuron;
        const auto cell = of(neuron);
        const int mode = period < 0 ? 0 : M::modes - 1;
        const auto m = cell.at(mode, s);
        double v[n];
        if (period < 0)
            for (int i = 0; i < n; ++i) v[i] = add_up(base[i][l], lane[i][l]);
        else
            std::memcpy(v, held[period].y, sizeof v), collect(mode, neuron, held[period].from, cursor, v);
        m.to_state(v, before);
        M::reset(args, neuron, 0, before, after);
        const int64_t index = event.index = event.spike = spikes.count;
        spikes.reserve(1);
        spike_time.reserve(index + 1);
        spikes.neuron[index] = neuron;
        spike_time[index] = std::fmin(M::observed ? observed.times[observed.next - 1] : t_k + s, Span::until(args));
        double gdot = mode ? 0.0 : cell.slope(before);  // g rests in a refractory period
        const double least = M::observed ? args.slope_floor : 0.0;  // the slope at a crossing is known
        if (!(gdot > 0) || gdot < least) ++guarded, gdot = least;
        spikes.record[0][index] = gdot > 0 ? scalar(1 / gdot) : scalar(0);
        for (int i = 0; i < n; ++i) spikes.record[i + 1][index] = scalar(before[i]);
        ++spikes.count;
        ++spikes_in_step;
        const double g = cell.threshold(after), rest = until - now;
        if (g >= 0) unarmed[size_t(neuron)] = 1, ++n_unarmed;
        if (M::modes > 1) {
            if (M::observed) during.reserve(index + 1), during[index] = int8_t(mode);
            if (period < 0) close_lane(l);
            else held.drop(period);
            hold(args, neuron, index, after);
            if (due < until) known = false;
            return event;
        }
        for (int i = 0; i < n; ++i) {
            const double jump = m.jump(i, before, after);
            scalar &high = x[i].data[neuron], &rest = low[i].data[neuron], &later = moved[i].data[neuron];
            split(add_up(base[i][l], lane[i][l]) + jump, base[i][l], lane[i][l]);
            split(add_up(high, rest) + double(later) + jump, high, rest);  // so that later arrivals add to a small number
            later = 0;
        }
        if (rest > 0) {
            for (int i = 0; i < n; ++i) v[i] = double(base[i][l] + lane[i][l]);
            if (g + rest * (std::fmax(cell.slope(after), 0.0) + 0.5 * cell.bend(v) * rest) >= 0) solve(l);
        }
        return event;
    }
};

}  // namespace
