// The costates of one population within a step of exact time, backwards. mu = P(s)^T lambda(t_k + s) is constant between
// events. Everything is linear in mu, so `mu` is zero for neurons in a refractory period, and `held_mu` for all others.

namespace {

// What adds nothing to lambda between events.
struct NoSource {
    static constexpr bool adds = false;
    static scalar direction(int) { return 0; }
    static scalar feedback(int) { return 0; }
    static scalar change(int, int) { return 0; }
};
// Calls f with the reader that adds to lambda between events, and its dL/dr.
template <class F>
auto adding(const Readers<>&, const F& f) {
    return f(NoSource(), static_cast<const scalar*>(nullptr));
}
template <class F, class R, class... More>
auto adding(const Readers<R, More...>& readers, const F& f) {
    if constexpr (R::adds)
        return f(readers.first, readers.dr);
    else
        return adding(readers.rest, f);
}

template <class M, int N, bool Varies>
struct Costates : Spiking<M, N, Varies> {
    typedef Spiking<M, N, Varies> Base;
    using Base::n, Base::NP, Base::S, Base::BACK, Base::flow, Base::degree, Base::ends, Base::factor;
    using Base::offsets, Base::column_of, Base::of, Base::spikes, Base::trace;
    using typename Base::End, typename Base::table;

    Buffer<scalar> mu[n], held_mu[n], grad[M::learned + 1], feedback, jump, back_columns;
    Buffer<scalar> along;  // the gradient of an expanded row
    int64_t first_entry = 0, room = 0;

    void prepare() {
        Base::prepare();
        for (int i = 0; i < n; ++i) mu[i].zero(NP), held_mu[i].zero(NP);
        for (auto& b : grad) b.zero(NP);
        if (M::pushed >= 0) jump.zero(NP);
    }

    void clear_back() {
        for (int i = 0; i < n; ++i) mu[i].zero(NP), held_mu[i].zero(NP);
        for (auto& b : grad) b.zero(NP);
        if (M::spiking) feedback.zero(spikes.count);
    }
    // Lambda at T of a neuron in a refractory period is that of its mode.
    void begin_back() {
        if constexpr (M::modes > 1)
            for (const auto& h : this->held)
                for (int i = 0; i < n; ++i) held_mu[i][h.neuron] += mu[i][h.neuron], mu[i][h.neuron] = 0;
    }
    // At the end of a step: turns lambda into mu, in place, and adds what the step as a whole contributes to learned parameters.
    void retreat(int64_t at) {
        if constexpr (M::sets)  // at the end of the step
            for (int i = 0; i < n; ++i)
                if (M::anew[i]) mu[i].zero(NP), held_mu[i].zero(NP);
        retreat(at, flow[0], mu);
        if (M::modes > 1) retreat(at, flow[M::modes - 1], held_mu);
    }
    __attribute__((noinline)) void retreat(int64_t at, const Flow<M, table>& f, Buffer<scalar>* mu) {
        const scalar *end = M::dynamic ? trace + (at + 1) * n * NP : nullptr, *step = f.step;
        const Flow<M, table>* const flow = &f;
        each_lane(NP, [=](int k) {
            scalar a[n];
            for (int i = 0; i < n; ++i) a[i] = mu[i].data[k];
            for (int r = 0; r < M::dynamic; ++r) {
                scalar& g = grad[M::place[r]].data[k];
                for (int i = 0; i < n; ++i)
                    for (int j = 0; j <= n; ++j) g += a[i] * flow->dstep[r][(i * (n + 1) + j) * S + column_of(k)] * (j < n ? end[j * NP + k] : scalar(1));
            }
            for (int j = 0; j < n; ++j) {
                scalar by = 0;
                for (int i = 0; i < n; ++i)
                    if (M::coupled[i][j]) by += step[(i * (n + 1) + j) * S + column_of(k)] * a[i];
                mu[j].data[k] = a[j] + by;
            }
        });
    }
    // Factors of all events of a step: column c of event e is at [c * room + e], with a block for every mode and receptor.
    void open_step(const LogEntry* events, int64_t begin, int64_t count) {
        first_entry = begin;
        if constexpr (!Varies) {
            room = (count + 7) / 8 * 8;
            offsets.reserve(room), back_columns.reserve(room * BACK * M::receptors * M::modes);
            for (int64_t e = 0; e < room; ++e) offsets[e] = e < count ? events[e].s : 0.0;
            for (int mode = 0; mode < M::modes; ++mode)
                for (int r = 0; r < M::receptors; ++r)
                    horner_many<BACK>(
                        flow[mode].back[r], degree, offsets.data, count, back_columns.data + (mode * M::receptors + r) * BACK * room, room
                    );
        }
    }
    // Entry `e` of the log, an arrival through connection C: adds to the gradient of its weights, returns D.
    template <class C, class R>
    scalar undo_arrival(const Args& args, C c, scalar* gradient, const LogEntry& a, int64_t e, const R& readers) {
        const auto synapses = c.synapses(args);
        readers.each([&](auto& r, const scalar*) { r.at(*this, c.receptor, a.s); });
        scalar D = adding(readers, [&](const auto& reader, const scalar* dr) {
            if constexpr (std::decay_t<decltype(synapses)>::dense) {
                return arrived<C::trainable, C::hands>(gradient + a.source * synapses.stride, synapses.row(a.source), c.receptor, a.s, e - first_entry, reader, dr);
            } else {
                const Range reached = synapses.reached(a.source);
                if (C::trainable) along.reserve(NP), reached.clear(along);
                const scalar* weights = reached_row(synapses, reached, a.source);
                const scalar D = arrived<C::trainable, C::hands>(along.data, weights, c.receptor, a.s, e - first_entry, reader, dr, reached.from, reached.to);
                if constexpr (C::trainable) synapses.gather(a.source, along, gradient);
                return D;
            }
        });
        readers.each([&](auto& r, const scalar* dr) { D += r.kink(dr, e); });
        return D;
    }
    // The weights of a route where it has targets; the rest is left as it is.
    template <class Synapses>
    const scalar* reached_row(const Synapses& synapses, Range reached, int32_t route) {
        this->row.reserve(NP), reached.clear(this->row);
        return synapses.add_to(this->row, route);
    }
    void credit(int64_t spike, double D) { feedback[spike] += scalar(D); }
    // An arrival: adds the weight gradient to `slice_row` (if Grad) and gradients of learned parameters; returns D (if Feed).
    // The reader contributes dr times its own factors. from, to: range of the neurons reached, in whole vectors.
    template <bool Grad, bool Feed, class Reader>
    scalar arrived(scalar* slice_row, const scalar* row, int receptor, double s, int64_t e, const Reader& reader, const scalar* dr,
                   int from = 0, int to = Base::ALL) {
        scalar total = arrived_in<Grad, Feed>(0, mu, slice_row, row, receptor, s, e, reader, dr, from, to);
        if (M::modes > 1)
            total += arrived_in<Grad, Feed>(M::modes - 1, held_mu, slice_row, row, receptor, s, e, NoSource(), dr, from, to);
        return total;
    }
    template <bool Grad, bool Feed, class Reader>
    scalar arrived_in(int mode, const Buffer<scalar>* mu, scalar* slice_row, const scalar* row, int receptor, double s, int64_t e, const Reader& reader, const scalar* dr, int from, int to) {
        if constexpr (Varies) {
            this->template factors<BACK>(flow[mode].back[receptor], BACK, s);
            return sum_each(from, N < to ? N : to, [=, &reader](int k) {
                scalar q = Reader::adds ? dr[k] * reader.direction(k) : scalar(0), z = Reader::adds ? dr[k] * reader.feedback(k) : scalar(0);
                for (int i = 0; i < n; ++i) q += factor[i].data[k] * mu[i].data[k], z += factor[n + i].data[k] * mu[i].data[k];
                if (Grad) slice_row[k] += q;
                for (int r = 0; r < M::dynamic; ++r) {
                    scalar d = Reader::adds ? dr[k] * reader.change(r, k) : scalar(0);
                    for (int i = 0; i < n; ++i) d += factor[(2 + r) * n + i].data[k] * mu[i].data[k];
                    grad[M::place[r]].data[k] += row[k] * d;
                }
                return Feed ? row[k] * z : scalar(0);
            });
        } else {
            (void)s;
            const scalar* f = back_columns.data + (mode * M::receptors + receptor) * BACK * room + e;
            scalar q[n + 1], z[n + 1];
            for (int i = 0; i < n; ++i) q[i] = f[i * room], z[i] = f[(n + i) * room];
            q[n] = Reader::adds ? reader.direction(0) : scalar(0), z[n] = Reader::adds ? reader.feedback(0) : scalar(0);
            return sum_lanes(from, to, [=, &reader](int v) {
                vec a = {}, b = {};
                for (int r = 0; r < M::dynamic; ++r) {
                    vec d = {};
                    for (int i = 0; i < n; ++i) d += f[((2 + r) * n + i) * room] * load(mu[i].data + v);
                    if (Reader::adds) d += reader.change(r, 0) * load(dr + v);
                    scalar* g = grad[M::place[r]].data + v;
                    store(g, load(g) + d * load(row + v));
                }
                for (int i = 0; i < n; ++i) {
                    const vec m = load(mu[i].data + v);
                    a += q[i] * m, b += z[i] * m;
                }
                if (Reader::adds) a += q[n] * load(dr + v), b += z[n] * load(dr + v);
                if (Grad) store(slice_row + v, load(slice_row + v) + a);
                return Feed ? b * load(row + v) : vec{};
            });
        }
    }
    // The arrival of a spike that was not born, see `unborn`.
    template <class C, class Unborn, class R>
    scalar unborn_arrival(const Args& args, C c, const Unborn& a, int64_t step, int64_t, scalar* moved, const scalar* slope, const R& readers) {
        const auto synapses = c.synapses(args);
        readers.each([&](auto& r, const scalar* dr) { r.lend(*this, dr, step, a.s); });
        readers.each([&](auto& r, const scalar*) { r.at(*this, c.receptor, a.s); });
        const scalar change = adding(readers, [&](const auto& reader, const scalar* dr) {
            if constexpr (std::decay_t<decltype(synapses)>::dense) {
                return unborn(synapses.row(a.source), c.receptor, a.s, reader, dr, moved, slope);
            } else {
                const Range reached = synapses.reached(a.source);
                return unborn(reached_row(synapses, reached, a.source), c.receptor, a.s, reader, dr, moved, slope, reached.from, reached.to);
            }
        });
        readers.each([&](auto& r, const scalar*) { r.give_back(*this); });
        return change;
    }
    template <class Unborn, class R>
    void undo_to_candidate(const Args&, const Unborn&, const R&) {}
    // The arrival of a spike that was not born: the sum of weight times lambda . e over the neurons. With `moved` instead
    // that of each over its dL/dr, which is how much its readout would change.
    template <class Reader>
    scalar unborn(const scalar* row, int receptor, double s, const Reader& reader, const scalar* dr, scalar* moved,
                  const scalar* slope, int from = 0, int to = NP) {
        scalar total = 0;
        for (int mode = 0; mode < M::modes; ++mode) {
            const Buffer<scalar>* mu = mode ? held_mu : this->mu;
            double e[n];
            if constexpr (Varies)
                this->template factors<BACK>(flow[mode].back[receptor], n, s);
            else
                of(0).arrive(mode, receptor, s, e);
            for (int k = from; k < N && k < to; ++k) {
                scalar q = Reader::adds ? dr[k] * reader.direction(k) : scalar(0);
                for (int i = 0; i < n; ++i) q += (Varies ? factor[i].data[k] : scalar(e[i])) * mu[i].data[k];
                if (!moved)
                    total += row[k] * q;
                else if (slope[k] != 0)
                    moved[k] += row[k] * q / slope[k];
            }
        }
        return total;
    }
    // An own spike is event 0 of its model.
    struct EventSpike {
        int event;
        int64_t spike;
    };
    static EventSpike own_event(int64_t index) { return {0, index}; }
    // Returns dL/dt of an own spike, without lambda . a; extra: what readers add to lambda there.
    template <class R>
    scalar undo_to(const Args& args, const LogEntry& entry, double* extra, const R& readers) {
        scalar dl_dt = feedback[entry.index];
        readers.each([&](auto& r, const scalar* dr) { dl_dt += r.own_spike(*this, args, dr, entry.index, entry.source, entry.s, extra); });
        return dl_dt;
    }
    // An own spike: the jump of the model and its gradients of learned parameters. extra: what the reader adds to lambda there.
    void jumped(const Args& args, const LogEntry& entry, scalar dl_dt, const double* extra) {
        const int neuron = entry.source;
        const int64_t index = entry.index;
        const double s = entry.s;
        double before[n], after[n] = {}, v[n];
        int mode = 0;
        if constexpr (M::observed && M::modes > 1) mode = this->during[index];
        const Propagator<n> m = of(neuron).at(mode, s);
        for (int i = 0; i < n; ++i) before[i] = double(spikes.record[i + 1][index]);
        if (M::dynamic) M::reset(args, neuron, 0, before, after);
        take(M::modes > 1 ? held_mu : mu, neuron, v);
        const auto jumps = [&](double* lambda) {
            M::jumps(args, neuron, 0, mode, before, double(dl_dt), double(spikes.record[0][index]), lambda, grad);
            if (M::pushed >= 0) lambda[M::pushed < 0 ? 0 : M::pushed] += double(jump[neuron]);
        };
        of(neuron).undo_spike(mode, s, m, before, after, extra, v, jumps, learning(neuron));
        for (int i = 0; i < n; ++i) (mode ? held_mu : mu)[i].data[neuron] = scalar(v[i]);
    }
    // The end of a refractory period, see Derived.durations.
    void ended(int neuron, int64_t index, double s) {
        double v[n];
        const End& end = ends[index];
        take(mu, neuron, v);
        const double D = of(neuron).undo_end(s, end.x, v, learning(neuron));
        feedback[end.index] += scalar(D);
        if (M::duration >= 0) grad[M::duration < 0 ? 0 : M::duration].data[neuron] += scalar(D);
        for (int i = 0; i < n; ++i) held_mu[i].data[neuron] = scalar(v[i]);
    }
    // mu of a neuron, which leaves a mode.
    static void take(Buffer<scalar>* mu, int neuron, double* v) {
        for (int i = 0; i < n; ++i) v[i] = double(mu[i].data[neuron]), mu[i].data[neuron] = 0;
    }
    // Adds to a learned parameter of the dynamics.
    auto learning(int neuron) {
        return [this, neuron](int r, double by) { grad[M::place[r]].data[neuron] += scalar(by); };
    }
};

}  // namespace
