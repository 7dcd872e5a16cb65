// Lanes: the neurons of one population that may cross their threshold within a step of exact time. They are taken through
// the step event by event; crossings are found by bounds and root finding.

namespace {

// Length of an instant in ms: the uncertainty of times by rounding. Crossings within an instant of each other or of an
// arrival count as simultaneous and come before arrivals; otherwise rounding would decide which of several equal neurons
// inhibits the others.
inline double instant(double duration, double delta) { return sizeof(scalar) == 4 ? 0x1p-17 * delta : 0x1p-46 * duration; }

template <class M, int N, bool Varies>
struct Lanes : Neurons<M, N, Varies> {
    typedef Neurons<M, N, Varies> Base;
    using Base::n, Base::NP, Base::S, Base::FRONT, Base::flow, Base::curve, Base::rho, Base::degree, Base::delta, Base::x;
    using Base::low, Base::reach, Base::trace, Base::pending, Base::column_of, Base::add_up, Base::of, Base::collect;
    using Base::narrow, Base::reaches, Base::set_factors, Base::add, Base::together, Base::slack;
    using typename Base::Incoming, typename Base::table;

    struct Hit {
        double s;
        int lane;
    };
    static constexpr scalar UNKNOWN = scalar(-1e30);
    Buffer<int32_t> lane_neuron, found;
    Buffer<scalar> lane[n], base[n];  // y of a lane is their sum
    List<Hit> hits;  // if `known`: crossings before `until`, which is an instant after `next`, the next known event
    std::vector<char> unarmed;  // g has not been below zero since the reset, so the neuron cannot cross yet
    int lanes = 0, n_unarmed = 0;
    int64_t cursor = 0;  // number of pending arrivals that have been handled
    int64_t first_due = -1;  // the refractory period that ends next within the step, at `due`
    double now = 0, next = 0, until = 0, due = 0;
    bool known = false, keeps = false;  // keeps: whether the states at the start of every step are needed

    void prepare() {
        Base::prepare();
        for (int i = 0; i < n; ++i) lane[i].zero(NP + 16), base[i].zero(NP + 16);
        lane_neuron.zero(NP + 16), found.zero(NP + 16);
        unarmed.assign(N, 0);
    }
    // On entry x is the initial state.
    void begin(const Args& args) {
        for (int i = 0; i < n; ++i) low[i].zero(NP);
        if (keeps) trace.reserve((Span::steps(args) + 1) * n * NP);
        if constexpr (M::spiking) {
            n_unarmed = 0;
            for (int k = 0; k < N; ++k) {
                double state[n];
                for (int i = 0; i < n; ++i) state[i] = double(x[i].data[k]);
                unarmed[size_t(k)] = of(k).threshold(state) >= 0;
                n_unarmed += unarmed[size_t(k)];
            }
        }
    }
    void start() {
        Base::start();
        cursor = 0, lanes = 0, now = 0, known = false;
    }

    // Arrivals

    // The arrivals that are known at the start of the step.
    void absorb() {
        Base::absorb();
        make_lanes();
    }
    // An arrival in this step that was not known at its start. Crossings up to that time remain valid.
    void insert(Incoming a) {
        set_factors(a);
        pending.push();
        Incoming *first = pending.begin() + cursor, *last = pending.begin() + pending.count - 1;
        Incoming* at = std::upper_bound(first, last, a, [](const Incoming& x, const Incoming& y) { return x.s < y.s; });
        std::move_backward(at, last, last + 1);
        *at = a;
        if (known && a.s <= now) {  // crossings of this instant come first, later ones are searched again
            next = now, until = now + together;
            for (int64_t i = hits.count; i-- > 0;)
                if (hits[i].s > until) hits.drop(i);
        } else if (known && a.s < until) {
            known = false;
        }
        if (add(at, 1)) make_lanes();
    }

    // Lanes

    __attribute__((noinline)) void make_lanes() {
        if constexpr (!M::spiking || M::observed) return;
        const int64_t count = find_crossed<N>(found, reach);
        for (int64_t i = 0; i < count; ++i) open_lane(found[i]);
        if (n_unarmed)
            for (int k = 0; k < N; ++k)
                if (unarmed[size_t(k)] && reach.data[k] > scalar(-1e29)) open_lane(k);
    }
    void open_lane(int neuron) {
        const int l = lanes++;
        double by[n];
        for (int i = 0; i < n; ++i) by[i] = double(low[i].data[neuron]);
        lane_neuron[l] = neuron;
        collect(0, neuron, 0, cursor, by);
        for (int i = 0; i < n; ++i) base[i][l] = x[i].data[neuron], lane[i][l] = scalar(by[i]);
        reach.data[neuron] = UNKNOWN;
    }
    // The lane of a neuron whose spike is given, by which alone it may become one.
    int lane_of(int neuron) {
        int l = 0;
        while (l < lanes && lane_neuron[l] != neuron) ++l;
        if (l == lanes) open_lane(neuron);
        return l;
    }
    // Closes lane l; the last lane moves into its place.
    void close_lane(int l) {
        const int last = --lanes;
        lane_neuron[l] = lane_neuron[last];
        for (int i = 0; i < n; ++i) lane[i][l] = lane[i][last], base[i][l] = base[i][last];
        for (auto& h : hits)
            if (h.lane == last) h.lane = l;
    }
    void reach_lanes(const Incoming& a) {
        if constexpr (Varies) {
            double q[n];
            for (int l = 0; l < lanes; ++l) {
                of(lane_neuron[l]).arrive(0, a.receptor, a.s, q);
                for (int i = 0; i < n; ++i) lane[i][l] += scalar(q[i] * double(a.row[lane_neuron[l]]));
            }
        } else if (LANES == 1 || narrow(a)) {
            const Incoming* const arrival = &a;
            each_lane(lanes, [=](int l) {
                const Incoming& a = *arrival;
                const int k = lane_neuron.data[l];
                if (!reaches(a, k)) return;
                for (int i = 0; i < n; ++i)
                    if (M::reached[i]) lane[i].data[l] += a.q[i] * a.row[k];
            });
        } else {
            for (int from = 0; from < lanes; from += LANES) {  // whole vectors: lanes behind the last one hold stale neurons
                const int32_t* __restrict neuron = lane_neuron.data + from;
                scalar w[LANES];
                for (int l = 0; l < LANES; ++l) w[l] = a.row[neuron[l]];
                for (int i = 0; i < n; ++i) {
                    if (!M::reached[i]) continue;
                    scalar* __restrict state = lane[i].data + from;
                    for (int l = 0; l < LANES; ++l) state[l] += a.q[i] * w[l];
                }
            }
        }
    }
    bool period_ends_first() const { return M::modes > 1 && first_due >= 0 && !(pending_at() < due - together); }
    double pending_at() const { return cursor < pending.count ? pending[cursor].s : std::numeric_limits<double>::infinity(); }
    // Time of the next known event, an arrival or the end of a refractory period; infinity if there is none.
    double known_at() const { return period_ends_first() ? due : pending_at(); }
    // Adds the next arrival to the lanes; all other neurons have it already.
    void take_arrival() {
        const Incoming& a = pending[cursor];
        now = a.s;
        reach_lanes(a);
        ++cursor;
        known = false;
    }
    // Sets row to dg P(s) and its constant term, of neurons that share their parameters.
    void row_of_g(double s, scalar* row) const {
        double at[n + 1];
        horner<n + 1>(rho, 0, degree, s, at);
        for (int i = 0; i <= n; ++i) row[i] = scalar(at[i]);
    }
    vec y_of(int i, int from) const { return load(base[i].data + from) + load(lane[i].data + from); }
    // g of a vector of lanes; row: dg P(s) and its constant term.
    vec g_of(int from, const scalar* row) const {
        vec g = vec{} + row[n];
        for (int i = 0; i < n; ++i) g += row[i] * y_of(i, from);
        return g;
    }
    // Crossings

    // Finds crossings from now until an instant after the next known event. g is below zero now; with |g''| <= bend its largest
    // value inside an interval of length h exceeds that at the end by at most bend h^2 / 2. A closer bound, by g at both ends, is
    // not worth its search.
    void look_ahead() {
        if (known) return;
        known = true;
        const bool last = std::isinf(known_at());
        next = last ? delta : known_at(), until = next + together;
        hits.count = 0;
        const scalar half = scalar(0.5 * (next - now) * (next - now)) + slack;
        if constexpr (Varies) {
            double row[n + 1];
            for (int l = 0; l < lanes; ++l) {
                const int k = lane_neuron[l];
                horner<n + 1, S>(rho, k, degree, next, row);
                scalar g = scalar(row[n]), bend = curve[n * S + column_of(k)];
                for (int i = 0; i < n; ++i) {
                    const scalar v = base[i].data[l] + lane[i].data[l];
                    g += scalar(row[i]) * v, bend += curve[i * S + column_of(k)] * (v < 0 ? -v : v);
                }
                if (g + bend * half >= 0 || unarmed[size_t(k)]) solve(l);
            }
        } else {
            scalar made[n + 1];
            const bool arrives = !last && !period_ends_first();
            if (!arrives) row_of_g(next, made);
            const scalar* row = arrives ? pending[cursor].q + n : made;
            for (int from = 0; from < lanes; from += LANES) {
                vec bend = vec{} + curve[n];
                for (int i = 0; i < n; ++i) {
                    const vec v = y_of(i, from);
                    bend += curve[i] * larger(v, -v);
                }
                unsigned mask = not_negative(g_of(from, row) + bend * half) & (lanes - from < LANES ? (1u << (lanes - from)) - 1u : ~0u);
                if (n_unarmed)
                    for (int l = 0; l < LANES && from + l < lanes; ++l) mask |= unsigned(unarmed[size_t(lane_neuron.data[from + l])]) << l;
                for (; mask; mask &= mask - 1) solve(from + __builtin_ctz(mask));
            }
        }
    }
    // Adds the crossing of a lane before `until` to hits. Inlined at every call, this and `make_lanes` would take a tenth of the time in
    // which a network compiles.
    __attribute__((noinline)) void solve(int l) {
        const int neuron = lane_neuron[l];
        double c[DEGREE + 1], v[n], from = now;
        for (int i = 0; i < n; ++i) v[i] = add_up(base[i][l], lane[i][l]);
        const double bend = of(neuron).bend(v);
        of(neuron).powers(v, c);
        if (unarmed[size_t(neuron)]) {
            from = armed_from(c, degree, from, until, bend, 1e-15 * delta);
            if (from < 0) return;
            unarmed[size_t(neuron)] = 0, --n_unarmed;
        }
        const double s = first_crossing(c, degree, from, until, bend);
        if (s >= 0) hits.push() = {s, l};
    }
    // Index in hits of the first crossing (the lowest neuron among simultaneous ones), -1 if there is none.
    int64_t first_hit() {
        const auto earlier = [&](const Hit& a, const Hit& b) { return a.s < b.s || (a.s == b.s && lane_neuron[a.lane] < lane_neuron[b.lane]); };
        return hits.count ? std::min_element(hits.begin(), hits.begin() + hits.count, earlier) - hits.begin() : -1;
    }
};

}  // namespace
