// Neurons whose equations may be any: a trajectory is a sequence of pieces, each a Taylor polynomial from its start on, as long as
// its last two coefficients stay within the tolerance. A piece ends early where something happens to its neuron: an arrival, an own
// event, the end of a timed mode. Other neurons' pieces go on, so that neurons of one population do not wait for each other.
//
// Forwards, pieces are made ahead of time, up to the next known arrival; whatever comes before cuts them. Backwards, states and
// costates are expanded together around the end of a piece, where both are known.
//
// M: the generated model, n states, E own events.

namespace {

// What a piece began with; what caused an own event. CANDIDATE: a spike that is about to be born.
enum Why : int8_t { START, RENEWAL, ARRIVAL, OWN_EVENT, END_OF_MODE, CANDIDATE };

// An arrival that is due, or a change of currents. number: the order in which they were sent. all: whether it reaches every neuron.
struct Due {
    double at;
    int32_t kind, source;
    int64_t index;
    bool all;
    int64_t number;
    bool operator<(const Due& o) const { return at != o.at ? at < o.at : number < o.number; }
};

// The arrivals of a population: those known when its trial begins, sorted, and those that its own group causes, a heap.
struct Queue {
    std::vector<Due> outside, inside;
    size_t next = 0;
    int64_t sent = 0;
    static bool later(const Due& a, const Due& b) { return b < a; }
    void clear() { outside.clear(), inside.clear(), next = 0, sent = 0; }
    void add(Due d) {
        d.number = sent++;
        outside.push_back(d);
    }
    void sort() { std::sort(outside.begin(), outside.end()); }
    void push(Due d) {
        d.number = sent++;
        inside.push_back(d);
        std::push_heap(inside.begin(), inside.end(), later);
    }
    bool empty() const { return next == outside.size() && inside.empty(); }
    bool inside_first() const { return !inside.empty() && (next == outside.size() || inside.front() < outside[next]); }
    const Due& front() const { return inside_first() ? inside.front() : outside[next]; }
    void drop() {
        if (!inside_first()) return (void)++next;
        std::pop_heap(inside.begin(), inside.end(), later);
        inside.pop_back();
    }
};

// The pieces of every neuron of a population that is read, in order, and where they are cut for that.
struct Path {
    std::vector<std::vector<int64_t>> of;
    std::vector<std::vector<double>> each;  // cuts of single neurons
    std::vector<double> every;              // of all
    bool aligned = false;                   // whether pieces of all neurons begin and end together
    void clear(int neurons) {
        of.assign(size_t(neurons), {}), each.assign(size_t(neurons), {});
        every.clear(), aligned = false;
    }
    void halve(int k, double a, double b) { each[size_t(k)].push_back(0.5 * (a + b)); }
};
constexpr double RESOLVED = 1e-11, FINEST = 1e-7;  // of densities along a piece; pieces are not halved below, in parts of the trial

constexpr double SHORTEST = 1e-200;  // a piece may not be shorter, in parts of the trial
constexpr int STANDSTILL = 10000;   // pieces in a row that are shorter than the rounding of their time end the trial
constexpr int LEAST = 4;            // order of a series
constexpr int RUNAWAY = 200;        // more events per neuron within 1 ms end the trial
constexpr int HALVINGS = 40;        // of a piece whose adjoint is not resolved

template <class M, int N>
struct Pieces {
    typedef M model;
    static constexpr int n = M::n, E = M::events, NP = (N + 15) / 16 * 16, FIRST = E + M::kinks, ROOM = FIRST + M::most_exponents > 0 ? FIRST + M::most_exponents : 1;
    struct Piece {
        double start, end, mode_end;  // mode_end: when its timed mode ends
        double span;  // its length, which may be below the rounding of times: at 20 mV AdEx rises by delta_t in 10^-14 ms
        int64_t before, instant;      // the piece before it; the event that began it
        int32_t neuron, armed, signs;  // one bit for each event whose g has been below zero since it happened last; signs of kinks
        int16_t mode;
        int8_t why, order, crossed;  // order: of its series; crossed: event behind which g is still zero, but for rounding; -1 for none
        double x[n], last[n];  // states at its start, after what began it; and at its end
    };
    struct OwnEvent {
        double at, gdot, x[n];  // x: before the event
        int32_t neuron, event, mode;
        int64_t spike, cause;  // number of the spike, -1 if it sent none; of the own event, or the instant of the arrivals, that caused it
        int8_t why;            // what caused it at once; RENEWAL: its flow did
        int64_t first, shares;  // of the arrivals that caused it
    };
    struct Share {
        int64_t happening;
        double part;
    };

    Buffer<scalar> x[n], mu[n], grad[M::learned + 1], jump;
    Spikes<n + 1> spikes;
    Buffer<double> spike_time, feedback;  // feedback: of own events, dL/dt by what each caused
    List<Piece> pieces;
    List<OwnEvent> events;
    List<Share> shares;
    Buffer<int64_t> current, free;  // the piece of every neuron; pieces that were taken back
    int64_t n_free = 0;
    Buffer<double> until, crossing, mode_end, guess, coefficients, now_x[n], lambda[n], carry, arrival_extra;
    Buffer<double> crossing_span, units;  // from the start of the piece to the crossing; of the time in `coefficients`
    Buffer<int32_t> event, mode, armed, todo, touched, lanes, standstill;
    Buffer<int32_t> failure;  // the series that could not be followed, of every neuron; -1 for none
    Buffer<int8_t> made, exact;  // made: the series of the current piece is there; exact: and its coefficients are of that piece
    Buffer<int64_t> seen;
    unsigned rounds = 0;  // of integration
    int n_touched = 0, order = 0;  // order: of series, that follows from the tolerance
    double together = 0, tolerance = 0, longest = 0, finest = 0, end_of_trial = 0, end_of_time = 0;
    Lost lost;
    double now = 0, horizon = 0;  // of the last own event; of the next arrival in the group
    Queue queue;
    ObservedSpikes observed;
    std::vector<Due> arriving;  // arrivals of one instant
    Buffer<int64_t> event_of;   // number of the own event that sent a spike
    Buffer<scalar> row, along;  // an expanded row of weights, and its gradient
    Path path;                  // of a population that is read

    void prepare() {
        for (int i = 0; i < n; ++i) x[i].zero(NP), mu[i].zero(NP), now_x[i].zero(NP), lambda[i].zero(NP);
        for (auto& b : grad) b.zero(NP);
        if (M::pushed >= 0) jump.zero(NP);
        current.zero(NP), until.zero(NP), crossing.zero(NP), mode_end.zero(NP), guess.zero(NP), carry.zero(NP);
        event.zero(NP), mode.zero(NP), armed.zero(NP), todo.zero(NP), touched.zero(NP), lanes.zero(NP), made.zero(NP), exact.zero(NP);
        standstill.zero(NP), failure.zero(NP), crossing_span.zero(NP), units.zero(NP);
        seen.zero(NP), coefficients.zero(int64_t(n) * TERMS * NP);
    }

    // Forwards

    // On entry x is the initial state.
    void begin(const Args& args, bool) {
        pieces.count = events.count = shares.count = spikes.count = n_free = 0;
        order = int(args.order), tolerance = args.tolerance, longest = 1.2 * std::exp((std::log(tolerance) + std::lgamma(order + 2.0)) / (order + 1));
        together = args.duration * 0x1p-46;
        finest = args.duration * 0x1p-36, end_of_trial = args.duration, end_of_time = args.duration + 2 * together, n_touched = 0, lost = Lost();
        for (int k = 0; k < N; ++k) {
            mode[k] = 0, mode_end[k] = infinite(), armed[k] = 0, seen[k] = failure[k] = -1;
            for (int i = 0; i < n; ++i) now_x[i][k] = double(x[i][k]);
            start(k, 0.0, -1, -1, START);
            guess[k] = std::fmin(1.0, lasts_at_most(args, k));
        }
    }
    void start(int64_t, double) { queue.clear(); }
    // An arrival at T or later does not happen.
    template <class C, class Synapses>
    void pend(C c, const Synapses&, double at, int32_t route, int64_t index) {
        if (at < end_of_trial) queue.add({at, c.number, route, index, c.all, 0});
    }
    void change(double at, int32_t kind, int64_t number) {
        if (at < end_of_trial) queue.add({at, kind, int32_t(number), number, true, 0});
    }
    void absorb() { queue.sort(); }
    template <class C>
    void insert(C c, double at, int32_t route, int64_t spike) {
        if (at < end_of_trial) queue.push({at, c.number, route, spike, c.all, 0});
    }
    double arrival_at() const { return queue.empty() ? infinite() : queue.front().at; }
    // Whether the spike of a neuron is given for this very time: what follows is not needed, and may be no number.
    bool leaves_at(int k, double at) const {
        for (int64_t i = observed.next; i < observed.count && observed.times[i] <= at; ++i)
            if (observed.neurons[i] == k) return true;
        return false;
    }
    // The first own event of the population, or that there are arrivals at `due`, comes first in its group if `first` is later. False: the
    // trial cannot go on. due: of the next arrival in the group, or the end of the trial.
    bool look(const Args& args, double due, int who, Next& first) {
        const bool arrives = arrival_at() == due;
        if (!advance(args, due, due >= end_of_trial || (arrives && queue.front().all))) return false;
        double at = 0;
        horizon = due;
        const int k = E ? this->first(at) : -1;
        if (k >= 0 && at <= due + together) {
            if (first.which < 0 || at < first.when) first = {at, who, k};
        } else if (M::late ? observed.at() == due && !arrives : observed.at() <= due + together) {  // as a crossing, but behind what may cause it
            if (first.which < 0 || observed.at() < first.when) first = {observed.at(), who, N};
        } else if (arrives && first.who < 0) {
            first = {due, who, -1};
        }
        return true;
    }
    // Moves the arrivals of one instant from the queue to `arriving`.
    void take(double at) {
        for (arriving.clear(); !queue.empty() && queue.front().at <= at + together; queue.drop()) arriving.push_back(queue.front());
    }
    // What a piece lasts at most by how fast a small change of its first state changes: at rest the series of the states last for ever,
    // that of lambda does not.
    double lasts_at_most(const Args& args, int k) const {
        const Piece& p = pieces[current.data[k]];
        return longest / M::change_rate(args, k, p.mode, p.x);
    }
    // The unit of time of series that are to reach to h: 1, but of the order of h where powers of h would be no numbers.
    double unit_of(double h) const { return h < finest && h > 0 ? std::ldexp(1.0, std::ilogb(h)) : 1.0; }
    static double infinite() { return std::numeric_limits<double>::infinity(); }
    // Begins a piece from now_x.
    void start(int k, double at, int64_t before, int64_t instant, Why why) {
        int64_t number;
        if (n_free) {
            number = free[--n_free];
        } else {
            number = pieces.count;
            pieces.push();
        }
        Piece& p = pieces[number];
        p.start = p.end = at, p.span = 0, p.mode_end = mode_end[k], p.before = before, p.instant = instant;
        p.neuron = k, p.armed = armed[k], p.signs = 0, p.mode = int16_t(mode[k]), p.why = why, p.order = int8_t(order), p.crossed = -1;
        for (int i = 0; i < n; ++i) p.x[i] = p.last[i] = now_x[i][k];
        current[k] = number, until[k] = at, crossing[k] = infinite(), made[k] = exact[k] = 0;
    }
    // Makes pieces until all reach `horizon` or have an own event before. False if the tolerance cannot be met. ends: whether something
    // happens to every neuron at the horizon, so that no piece goes on beyond.
    bool advance(const Args& args, double horizon, bool ends) {
        int count = 0;
        for (int k = 0; k < N; ++k) todo[count] = k, count += wants(k, horizon);
        while (count) {
            poll(args);
            int left = 0;
            for (int m = 0; m < M::modes; ++m) {
                int same = 0;
                for (int i = 0; i < count; ++i) {
                    const int k = todo[i];
                    if (made[k] && (M::modes == 1 || m == 0)) go_on(args, k, horizon);  // in its next mode
                    lanes[same] = k, same += mode[k] == m && !made[k];
                }
                const bool failed = any_lane((same + SIDE - 1) / SIDE, [=, &args](int i) {
                    const int from = i * SIDE;
                    return !expand(args, m, lanes.data + from, same - from < SIDE ? same - from : SIDE, true, ends ? horizon : infinite());
                });
                if (failed) return lost = failed_first(), false;
            }
            for (int i = 0; i < count; ++i) {
                const int k = todo[i];
                todo[left] = k, left += wants(k, horizon);
            }
            count = left;
        }
        return true;
    }
    // Of the neurons that could not go on.
    Lost failed_first() const {
        int k = 0;
        while (failure.data[k] < 0) ++k;
        return {k, failure.data[k], pieces[current.data[k]].start};
    }
    void poll(const Args& args) {
        if (++rounds % 16 == 0) args.host->poll();
    }
    bool wants(int k, double horizon) const {
        if (crossing.data[k] < infinite()) return false;
        if (!made.data[k] || until.data[k] < horizon) return true;
        return M::modes > 1 && until.data[k] == mode_end.data[k] && until.data[k] <= horizon + together && until.data[k] < end_of_trial;
    }
    // Begins the piece after one that is at its end.
    void go_on(const Args& args, int k, double horizon) {
        const Piece& p = pieces[current[k]];
        double at = p.end;
        for (int i = 0; i < n; ++i) now_x[i][k] = p.last[i];
        Why why = RENEWAL;
        if (M::modes > 1 && at == mode_end[k]) {
            if (at > horizon) pieces[current[k]].end = at = horizon;
            mode[k] = M::then(mode[k]), why = END_OF_MODE;
            const double lasts = M::lasts(args, k, mode[k]);
            mode_end[k] = lasts < 0 ? infinite() : at + lasts;
        }
        start(k, at, current[k], -1, why);
    }
    // The series of states and thresholds along the current pieces of neurons in one mode; each: which neurons.
    void follow(const Args& args, int m, const int32_t* lane, int count, int32_t* each, octet (*c)[TERMS], octet (*g)[TERMS], int top, octet& unit) {
        octet q[M::numbers], sign[M::kinks + 1];
        for (int l = 0; l < SIDE; ++l) {
            each[l] = lane[l < count ? l : 0], unit[l] = unit_of(guess[each[l]]);
            Piece& p = pieces[current[each[l]]];
            if (M::kinks > 0) M::signs_of(args, each[l], m, p.x, p.signs), set_signs(p, l, sign);
            for (int i = 0; i < n; ++i) c[i][0][l] = p.x[i];
        }
        M::numbers_of(args, each, q);
        M::flow(m, q, sign, unit, c, g, top);
    }
    // The order that pieces need which end at a known time, closer than their series reach; `order` or more if they need that. The
    // terms of a series with the last ones at the tolerance after `guess` fall by as much as follows from that.
    int order_until(const int32_t* lane, int count, double known) {
        double part = 0;  // of `guess` that a piece lasts
        for (int l = 0; l < count; ++l) {
            const Piece& p = pieces[current[lane[l]]];
            const double h = known - p.start, far = guess[lane[l]];
            if (!(h > 0 && h < 0.8 * far) || p.why == OWN_EVENT || p.why == END_OF_MODE || known > mode_end[lane[l]]) return order;
            part = std::fmax(part, h / far);
        }
        const double fall = std::log(tolerance);
        const int to = 2 + int(std::ceil(fall / (std::log(part) + fall / (order - 1))));
        return to < LEAST ? LEAST : to;
    }
    // The series of neurons in one mode, how far they reach, and whether they cross. known: when all of these pieces end at the latest.
    bool expand(const Args& args, int m, const int32_t* lane, int count, bool search, double known) {
        octet c[n][TERMS], g[ROOM][TERMS], length, unit;  // length: in units, as all that is put into a series
        int32_t each[SIDE];
        bool leaves[SIDE];  // by an own event at its start, behind which the series is not needed and may be no number
        // with absolute values a piece may end before; births go through series of one order
        int top = known < infinite() && M::kinks == 0 && !M::births ? order_until(lane, count, known) : order;
        bool ends = top < order;
        if (ends) {
            follow(args, m, lane, count, each, c, g, top, unit);
            for (int l = 0; l < SIDE; ++l) length[l] = known + 2 * together - pieces[current[each[l]]].start;
            length /= unit;
            for (int l = 0; l < count; ++l) leaves[l] = at_once(each[l], m, g, l, unit[l]);
            ends = suffices(args, m, c, g, each, count, leaves, length, unit, top);
        }
        for (bool again = false; !ends;) {
            follow(args, m, lane, count, each, c, g, top = order, unit);
            for (int l = 0; l < SIDE; ++l) length[l] = std::fmin(2 * guess[each[l]], end_of_time - pieces[current[each[l]]].start);
            length /= unit;
            for (int l = 0; l < count; ++l) leaves[l] = search && at_once(each[l], m, g, l, unit[l]);
            if (!search || limit(m, c, g, each, count, leaves, length, unit)) break;
            if (again) return false;
            again = true;  // what arrived may have brought a neuron to where another unit is called for
            for (int l = 0; l < count; ++l) guess[each[l]] = std::fmin(guess[each[l]], lasts_at_most(args, each[l])), failure[each[l]] = -1;
        }
        for (int l = 0; search && !ends && l < count; ++l) {  // no need to look at pieces that do not grow
            const bool other = pieces[current[each[l]]].why == END_OF_MODE;
            if (length[l] * unit[l] > guess[each[l]] || other) length[l] = std::fmin(length[l], lasts_at_most(args, each[l]) / unit[l]);
        }
        if (!ends) {  // where what is known comes, nothing else is asked for
            const bool neighbours = count == SIDE && each[SIDE - 1] - each[0] == SIDE - 1;  // lanes are in order
            for (int i = 0; i < n; ++i)
                for (int j = 0; j <= order; ++j) {
                    double* to = coefficients.data + (int64_t(i) * TERMS + j) * NP;
                    if (neighbours)
                        std::memcpy(to + each[0], &c[i][j], sizeof c[i][j]);
                    else
                        for (int l = 0; l < count; ++l) to[each[l]] = c[i][j][l];
                }
            for (int l = 0; l < count; ++l) exact[each[l]] = 1, units[each[l]] = unit[l];
        }
        if (!search) return true;
        octet most[ROOM], stop = {}, within = {};  // within: where an own event is looked for
        const octet per = 1.0 / unit;              // a power of 2, too
        for (int l = 0; l < count; ++l) {
            const int k = each[l];
            Piece& p = pieces[current[k]];
            if (!leaves[l] && !ends) guess[k] = length[l] * unit[l];
            const double last = ends ? known : std::fmin(mode_end[k], end_of_time);
            until[k] = std::fmin(p.start + length[l] * unit[l], last);
            // the difference of two times is exact, and belongs to them; but where it would be rounding
            stop[l] = until[k] < last && length[l] * unit[l] < 4 * together ? length[l] : (until[k] - p.start) * per[l];
            within[l] = ends ? length[l] : stop[l], p.order = int8_t(top);
        }
        for (int e = 0; e < E; ++e) {  // a bound on g: what lowers it is left out
            octet b = {};
            for (int j = top; j >= 1; --j) b = (b + larger(g[e][j], octet{})) * within;
            most[e] = b + g[e][0];
        }
        for (int l = 0; l < count; ++l) {
            const int k = each[l];
            for (int e = 0; e < E; ++e) {
                if (e == M::observed_event || !M::possible(e, m)) {  // g may fall below zero all the same: a later mode may have the event
                    if (!(armed[k] >> e & 1) && sinks(l, g[e], within[l], pieces[current[k]].crossed == e, top)) armed[k] |= 1 << e;
                    continue;
                }
                if (most[e][l] < 0)
                    armed[k] |= 1 << e;
                else
                    cross(k, e, l, g[e], within[l], unit[l], top);
            }
            if (M::kinks > 0) {
                const double before = until[k];
                for (int j = 0; j < M::kinks; ++j) until[k] = std::fmin(until[k], bends(k, j, l, g[E + j], stop[l], unit[l], top));
                if (until[k] < before) stop[l] = (until[k] - pieces[current[k]].start) * per[l];
                if (crossing[k] > until[k]) crossing[k] = infinite();
            }
            if (crossing[k] <= until[k]) until[k] = crossing[k], stop[l] = crossing_span[k] * per[l];
        }
        octet end[n];
        for (int i = 0; i < n; ++i) end[i] = value_at(c[i], top, stop);
        for (int l = 0; l < count; ++l) {
            Piece& p = pieces[current[each[l]]];
            p.end = until[each[l]], p.span = stop[l] * unit[l], made[each[l]] = 1;
            for (int i = 0; i < n; ++i) p.last[i] = stop[l] > 0 ? end[i][l] : p.x[i];
            int32_t& times = standstill[each[l]] = p.end > p.start ? 0 : standstill[each[l]] + 1;
            if (times > STANDSTILL) return fails(each[l], 0);
        }
        return true;
    }
    // Shortens `length` until the last two terms of every state are within the tolerance of the largest of its first three, and those of
    // every threshold that is not linear in them, and no exponent changes by more than its series can follow. Lengths are halved in two
    // steps, so that a small change of a parameter rarely changes them.
    bool limit(int m, const octet (*c)[TERMS], const octet (*g)[TERMS], const int32_t* each, int count, const bool* leaves, octet& length, const octet& unit) {
        octet h = length, top, below;
        constexpr double STEP = 0.70710678118654752;
        const double by = std::pow(STEP, order - 1);
        octet high = to_power(h, order - 1);
        for (;;) {
            bool good = true;
            for (int i = 0; i < n + E + M::kinks; ++i) {
                if (i >= n && i < n + E && !M::bent(i - n)) continue;
                const octet* s = i < n ? c[i] : g[i - n];
                const octet size = largest_of_first(s, h) * tolerance;
                below = lanes_fabs(s[order - 1]) * high, top = lanes_fabs(s[order]) * high * h;
                const octet later = lower_half(s, h);
                for (int l = 0; l < count; ++l)
                    if (!leaves[l] && !(top[l] <= size[l] && below[l] <= size[l]) && !rests(later[l], size[l], std::fmax(top[l], below[l]))) {
                        length[l] = -1, good = false;
                        if (h[l] * unit[l] < SHORTEST * end_of_time || !std::isfinite(h[l])) return fails(each[l], i < n ? i : 0);
                    }
            }
            for (int i = 0; good && i < M::exponents(m); ++i) {
                const octet* u = g[FIRST + i];
                const octet change = change_of(u, order, h), last = larger(lanes_fabs(u[order - 1]), lanes_fabs(u[order]) * h) * high;
                for (int l = 0; l < count; ++l)
                    if (!leaves[l] && !(change[l] <= 0.75 * order && last[l] <= 10 * tolerance)) {
                        length[l] = -1, good = false;
                        if (h[l] * unit[l] < SHORTEST * end_of_time || !std::isfinite(h[l])) return fails(each[l], 0);
                    }
            }
            if (good) break;
            for (int l = 0; l < SIDE; ++l)
                if (length[l] < 0) h[l] *= STEP, high[l] *= by, length[l] = h[l];
        }
        return true;
    }
    // By how much a series changes at most. Term k of exp(u) is at most (change of u)^k / k! of exp(u_0): all that follow the last ones are
    // at most twice as large as long as u changes by less than 3/4 of the order. Where it changes by more the last ones tell nothing.
    static octet change_of(const octet* u, int order, octet h) {
        octet sum = lanes_fabs(u[order]) * h;
        for (int j = order - 1; j >= 1; --j) sum = (sum + lanes_fabs(u[j])) * h;
        return sum;
    }
    // The same for pieces with a series of order `top` that end at a known time: whether they may be that long. Where they may be far
    // longer, the next one is told so.
    bool suffices(const Args& args, int m, const octet (*c)[TERMS], const octet (*g)[TERMS], const int32_t* each, int count, const bool* leaves, const octet& h, const octet& unit, int top) {
        const octet high = to_power(h, top - 1);
        octet least = octet{} + infinite();  // least: how far the last terms are below what is allowed
        for (int i = 0; i < n + E; ++i) {
            if (i >= n && !M::bent(i - n)) continue;
            const octet* s = i < n ? c[i] : g[i - n];
            const octet size = largest_of_first(s, h) * tolerance;
            const octet below = lanes_fabs(s[top - 1]) * high, last = lanes_fabs(s[top]) * high * h;
            const octet room = size / (larger(below, last) + 1e-300);
            least = -larger(-room, -least);
            for (int l = 0; l < count; ++l)
                if (!leaves[l] && !(last[l] <= size[l] && below[l] <= size[l])) return false;
        }
        for (int i = 0; i < M::exponents(m); ++i) {
            const octet change = change_of(g[FIRST + i], top, h);
            for (int l = 0; l < count; ++l)
                if (!leaves[l] && !(change[l] <= 0.75 * top)) return false;
        }
        for (int l = 0; l < count; ++l) {
            const int k = each[l];
            if (leaves[l] || guess[k] > 4 * h[l] * unit[l] || !(least[l] > double(int64_t(1) << top / 2))) continue;
            guess[k] = std::fmin(1.4142135623730951 * guess[k], lasts_at_most(args, k));
        }
        return true;
    }
    // Whether the first three terms vanish to the tolerance beside the next ones, as of a state at rest that follows the square of
    // another one: no length would be short enough for what is measured by them. The next ones are the measure then.
    bool rests(double most, double size, double last) const { return size <= tolerance * tolerance * most && last <= tolerance * most; }
    // The largest of the first three terms.
    static octet largest_of_first(const octet* s, octet h) { return larger(larger(lanes_fabs(s[0]), lanes_fabs(s[1]) * h), lanes_fabs(s[2]) * h * h); }
    // The largest of the next ones.
    octet lower_half(const octet* s, octet h) const {
        octet most = {}, power = h * h * h;
        for (int j = 3; j <= order / 2; ++j, power *= h) most = larger(lanes_fabs(s[j]) * power, most);
        return most;
    }
    bool at_once(int k, int m, const octet (*g)[TERMS], int l, double unit) const {
        if (M::observed_event >= 0 && leaves_at(k, pieces[current.data[k]].start)) return true;
        for (int e = 0; e < E; ++e)
            if (e != M::observed_event && g[e][0][l] >= 0 && (armed.data[k] >> e & 1) && M::possible(e, m) && !passes(k, g[e], l, unit)) return true;
        return false;
    }
    // Whether g falls through zero in the very instant of an own event: of two events with opposite thresholds the second does not undo
    // the first, whatever sign rounding gives it. (The g of that event itself is not armed.)
    bool passes(int k, const octet* g, int l, double unit) const {
        return pieces[current.data[k]].why == OWN_EVENT && g[0][l] + g[1][l] * (together / unit) < 0;
    }
    bool fails(int k, int state) {
        failure[k] = state;
        return false;
    }
    // Where g, not below zero at the beginning of a piece, falls below it; `stop` or more if it does not.
    double falls(double* c, double stop, double bend, int top) const {
        for (int j = 0; j <= top; ++j) c[j] = -c[j];
        double s = c[0] >= 0 ? 0.0 : first_crossing(c, top, 0.0, stop, bend);
        for (int j = 0; j <= top; ++j) c[j] = -c[j];
        if (s < 0) return stop;
        for (double tiny = 1e-15 * stop + 1e-300; s < stop && value_of(c, top, s) >= 0; tiny *= 2) s += tiny;
        return s;
    }
    // Whether g falls below zero, or begins there; crossed: it has just come from there, and a sign at the start is rounding.
    bool sinks(int l, const octet* g, double stop, bool crossed, int top) const {
        double c[TERMS];
        for (int j = 0; j <= top; ++j) c[j] = g[j][l];
        if (crossed) c[0] = std::fabs(c[0]);
        return c[0] < 0 || falls(c, stop, bend_of(c, top, stop), top) < stop;
    }
    // The first crossing of event e within a piece that may have one.
    void cross(int k, int e, int l, const octet* g, double stop, double unit, int top) {
        double c[TERMS], s = 0;
        for (int j = 0; j <= top; ++j) c[j] = g[j][l];
        if (pieces[current[k]].crossed == e) c[0] = std::fabs(c[0]);  // else the crossing that was would be found again
        const double bend = bend_of(c, top, stop);
        if (c[0] >= 0) {
            if ((armed[k] >> e & 1) && !passes(k, g, l, unit)) return crosses(k, e, 0);  // at once
            s = falls(c, stop, bend, top);
            if (s >= stop) return;
        }
        armed[k] |= 1 << e;
        s = first_crossing(c, top, s, stop, bend);
        if (s >= 0) crosses(k, e, s * unit);
    }
    // The series of a piece end where the argument of an absolute value changes its sign.
    double bends(int k, int j, int l, const octet* u, double stop, double unit, int top) {
        double c[TERMS], s = 0;
        const Piece& p = pieces[current[k]];
        const double sign = p.signs >> j & 1 ? -1 : 1;
        for (int i = 0; i <= top; ++i) c[i] = -sign * u[i][l];
        for (double tiny = 1e-9 * stop; s < stop && value_of(c, top, s) >= 0; tiny *= 2) s += tiny;
        s = s < stop ? first_crossing(c, top, s, stop, bend_of(c, top, stop)) : -1;
        return s < 0 ? infinite() : p.start + s * unit;
    }
    static void set_signs(const Piece& p, int l, octet* sign) {
        for (int j = 0; j < M::kinks; ++j) sign[j][l] = p.signs >> j & 1 ? -1.0 : 1.0;
    }
    void crosses(int k, int e, double after) {
        const double at = pieces[current[k]].start + after;
        if (at < crossing[k]) crossing[k] = at, crossing_span[k] = after, event[k] = e;
    }
    // The first own event, -1 for none; `when` is its time.
    int first(double& when) const {
        int best = -1;
        when = infinite();
        for (int k = 0; k < N; ++k)
            if (crossing.data[k] < when || (crossing.data[k] == when && best >= 0 && event.data[k] < event.data[best])) when = crossing.data[k], best = k;
        return best;
    }
    // Cuts the trajectory of a neuron at a time: sets now_x, and ends its piece there.
    void cut(const Args& args, int k, double at) {
        while (pieces[current[k]].start > at) {  // pieces that were made ahead of time
            const Piece& p = pieces[current[k]];
            const int64_t before = p.before;
            armed[k] = p.armed;
            free.reserve(n_free + 1);
            free[n_free++] = current[k];
            current[k] = before, exact[k] = 0;
            mode[k] = pieces[before].mode, mode_end[k] = pieces[before].mode_end;
        }
        Piece& p = pieces[current[k]];
        const double s = at == p.end ? p.span : at - p.start;
        if (at == p.end || !(s > 0)) {
            for (int i = 0; i < n; ++i) now_x[i][k] = s > 0 ? p.last[i] : p.x[i];
        } else {
            if (!exact[k]) expand(args, mode[k], &k, 1, false, infinite());
            for (int i = 0; i < n; ++i) {
                const double* c = coefficients.data + int64_t(i) * TERMS * NP + k;
                double v = c[int64_t(order) * NP];
                for (int j = order - 1; j >= 0; --j) v = v * (s / units[k]) + c[int64_t(j) * NP];
                now_x[i][k] = v;
            }
        }
        for (int e = 0; e < E; ++e) {  // g that falls below zero after the cut has armed nothing yet
            double now[n];
            for (int i = 0; i < n; ++i) now[i] = now_x[i][k];
            const bool crossed = p.crossed == e;
            if (!((armed[k] & ~p.armed) >> e & 1) || (!crossed && M::threshold(args, k, e, p.x) < 0) || M::threshold(args, k, e, now) < 0) continue;
            octet c[n][TERMS], g[ROOM][TERMS], unit;
            int32_t each[SIDE];
            follow(args, mode[k], &k, 1, each, c, g, order, unit);
            if (!(s > 0 && sinks(0, g[e], s / unit[0], crossed, order))) armed[k] &= ~(1 << e);
        }
        for (int i = 0; i < n; ++i) p.last[i] = now_x[i][k];
        p.end = at, p.span = s > 0 ? s : 0.0;
    }
    // An own event. index: its number; spike: that of the spike that it sent, -1 for none.
    struct Event {
        int neuron;
        int64_t index, spike;
    };
    // Its reset and the change of its mode. A crossing may follow the next arrival within rounding, and then comes before.
    Event fire(const Args& args, const Next& next, double, int64_t instant, int64_t& guarded) {
        const bool is_observed = next.which == N;
        const int k = is_observed ? observed.neurons[observed.next++] : int(next.which), e = is_observed ? M::observed_event : event[k];
        const double at = now = std::fmin(next.when, horizon);
        bool at_once = crossing[k] <= pieces[current[k]].start;
        cut(args, k, at);
        double before[n], after[n];
        for (int i = 0; i < n; ++i) before[i] = now_x[i][k];
        if (is_observed) at_once = caused(args, k, before);
        const int8_t why = pieces[current[k]].why;
        const int64_t began = pieces[current[k]].instant;
        const int mode_before = pieces[current[k]].before < 0 ? -1 : pieces[pieces[current[k]].before].mode;
        const int64_t number = events.count;
        OwnEvent& o = events.push();
        o.at = std::fmin(at, args.duration), o.neuron = k, o.event = e, o.mode = mode[k], o.spike = -1, o.cause = -1, o.why = RENEWAL, o.shares = 0;
        for (int i = 0; i < n; ++i) o.x[i] = before[i];
        if (at_once && why == OWN_EVENT) o.why = why, o.cause = last_own(k);
        if (at_once && why == END_OF_MODE && !M::possible(e, mode_before)) o.why = why;
        if (at_once && why == ARRIVAL && M::moved(e)) o.why = why, o.cause = began;  // by which arrivals: see `divide`
        M::reset(args, k, e, before, after);
        o.gdot = o.why == RENEWAL ? M::slope(args, k, e, mode[k], before) : 0.0;
        const double least = is_observed ? args.slope_floor : 0.0;  // the slope at a crossing is known
        if (o.why == RENEWAL && (!(o.gdot > 0) || o.gdot < least)) ++guarded, o.gdot = least;
        armed[k] &= ~(1 << e);
        if (M::next(e) >= 0) {
            mode[k] = M::next(e);
            const double lasts = M::lasts(args, k, mode[k]);
            mode_end[k] = lasts < 0 ? infinite() : at + lasts;
        }
        for (int i = 0; i < n; ++i) now_x[i][k] = after[i];
        start(k, at, current[k], instant, OWN_EVENT);
        if (o.why == RENEWAL && M::threshold(args, k, e, after) == M::threshold(args, k, e, before)) pieces[current[k]].crossed = int8_t(e);
        guess[k] = std::fmin(1.0, lasts_at_most(args, k));  // not the last one of an upstroke
        if (M::emits(e)) {
            const int64_t spike = o.spike = spikes.count++;
            spikes.reserve(1), spike_time.reserve(spike + 1), event_of.reserve(spike + 1), event_of[spike] = number;
            spikes.neuron[spike] = k, spike_time[spike] = o.at, spikes.record[0][spike] = scalar(o.gdot > 0 ? 1 / o.gdot : 0.0);
            for (int i = 0; i < n; ++i) spikes.record[i + 1][spike] = scalar(before[i]);
        }
        return {k, number, o.spike};
    }
    // Whether the spike of a neuron that is given now, in state x, would have come by what its piece began with.
    bool caused(const Args& args, int k, const double* x) const {
        constexpr int e = M::observed_event < 0 ? 0 : M::observed_event;
        const Piece& p = pieces[current.data[k]];
        const double g = M::threshold(args, k, e, x);
        if (p.start < now || !(g >= 0) || !(armed.data[k] >> e & 1) || !M::possible(e, p.mode)) return false;
        if (p.why == OWN_EVENT) return g + M::slope(args, k, e, p.mode, x) * together >= 0;  // see `passes`
        return p.why != ARRIVAL || M::threshold(args, k, e, pieces[p.before].last) < 0;
    }
    int64_t last_own(int k) const {
        for (int64_t i = events.count - 2; i >= 0; --i)
            if (events[i].neuron == k) return i;
        return -1;
    }
    // Divides E of an own event among the arrivals that caused it, in proportion to how much each raised g. reach: (arrival, receptor,
    // weight) -> whether it reached the neuron.
    template <class Reach>
    void divide(const Args& args, int64_t number, const Log& log, const Reach& reach) {
        OwnEvent& o = events[number];
        o.first = shares.count;
        double total = 0, above = M::threshold(args, o.neuron, o.event, o.x), e[n], without[n];
        int64_t last = -1;
        for (int64_t h = log.count - 1; h >= 0 && log.entries.data[h].instant >= o.cause; --h) {
            int receptor = 0;
            double w = 0;
            if (log.entries.data[h].instant != o.cause || !reach(log.entries.data[h], receptor, w)) continue;
            last = last < 0 ? h : last;
            M::direction(args, o.neuron, receptor, e);
            for (int i = 0; i < n; ++i) without[i] = o.x[i] - w * e[i];
            const double push = above - M::threshold(args, o.neuron, o.event, without);
            if (push > 0) shares.push() = {h, push}, total += push;
        }
        if (!(total > 0) && last >= 0) shares.push() = {last, total = 1.0};
        o.shares = shares.count - o.first;
        for (int64_t i = o.first; i < shares.count; ++i) shares[i].part /= total;
    }
    bool runs_away() {
        const int64_t many = int64_t(RUNAWAY) * N;
        if (!(events.count > many && events[events.count - 1].at - events[events.count - 1 - many].at < 1.0)) return false;
        lost = {events[events.count - 1].neuron, -1, now};
        return true;
    }

    // Arrivals of one instant: `touch` all their targets, `cut_touched`, `add` each arrival, and `start_touched`.
    void touch(int k, int64_t instant) {
        if (seen[k] != instant) seen[k] = instant, touched[n_touched++] = k;
    }
    void touch_all(int64_t instant) {
        for (int k = 0; k < N; ++k) touch(k, instant);
    }
    void cut_touched(const Args& args, double at) {
        for (int i = 0; i < n_touched; ++i) cut(args, touched[i], at);
    }
    void start_touched(double at, int64_t instant) {
        for (int i = 0; i < n_touched; ++i) start(touched[i], at, current[touched[i]], instant, ARRIVAL);
        n_touched = 0;
    }
    void add(const Args& args, int receptor, int k, double w) {
        double e[n];
        M::direction(args, k, receptor, e);
        for (int i = 0; i < n; ++i) now_x[i][k] += w * e[i];
    }
    // At the end of the trial.
    void finish(const Args& args, int64_t) {
        for (int k = 0; k < N; ++k) {
            cut(args, k, args.duration);
            for (int i = 0; i < n; ++i) x[i][k] = scalar(now_x[i][k]);
        }
    }

    // Copies for the host at the times that it asks for, as in exact/record.hpp; at the time of an event they are those before it.
    scalar* rows = nullptr;
    void record(const Args& args, scalar* all, int64_t sample) { rows = all + sample * args.recorded * 2 * n * NP; }
    // Calls f(row, time) for those within a piece.
    template <class F>
    void each_time(const Args& args, const Piece& p, const F& f) const {
        const double *times = args.record_times, *end = times + args.recorded;
        for (const double* t = p.start > 0 ? std::upper_bound(times, end, p.start) : times; t < end && *t <= p.end; ++t)
            f(rows + (t - times) * 2 * n * NP + p.neuron, *t);
    }
    // Once a trial is over.
    void record_states(const Args& args) {
        Path whole;
        whole.clear(N), find_path(whole);
        each(args, whole, [&](int64_t number, const octet (*c)[TERMS], int l, double unit) {
            const Piece& p = pieces[number];
            each_time(args, p, [&](scalar* row, double t) { record_lane(row, c, l, (t - p.start) / unit, order); });
        });
    }
    void record_lane(scalar* row, const octet (*c)[TERMS], int l, double s, int to) const {
        for (int i = 0; i < n; ++i) row[i * NP] = scalar(value_in(c[i], l, to, s));
    }

    // Calls f(piece, series, lane, unit) for the pieces of a path that last, be it for less than the rounding of times. lane: of the series,
    // where those of its states stand; unit: their unit of time.
    template <class F>
    void each(const Args& args, const Path& path, const F& f) {
        octet q[M::numbers], c[n][TERMS], g[ROOM][TERMS], sign[M::kinks + 1], unit;
        int64_t number[SIDE];
        int32_t lane[SIDE];
        for (int m = 0; m < M::modes; ++m) {
            int count = 0;
            const auto flush = [&] {
                for (int l = 0; l < SIDE && count; ++l) {
                    const Piece& p = pieces[number[l < count ? l : 0]];
                    lane[l] = p.neuron, unit[l] = unit_of(p.span), set_signs(p, l, sign);
                    for (int i = 0; i < n; ++i) c[i][0][l] = p.x[i];
                }
                if (count) M::numbers_of(args, lane, q), M::flow(m, q, sign, unit, c, g, order);
                for (int l = 0; l < count; ++l) f(number[l], c, l, unit[l]);
                count = 0;
            };
            for (const auto& mine : path.of)
                for (int64_t i : mine)
                    if (pieces[i].mode == m && pieces[i].span > 0) {
                        number[count++] = i;
                        if (count == SIDE) flush();
                    }
            flush();
        }
    }
    void find_path(Path& path) const {
        for (int k = 0; k < N; ++k) {
            auto& mine = path.of[size_t(k)];
            mine.clear();
            for (int64_t i = current.data[k]; i >= 0; i = pieces[i].before) mine.push_back(i);
            std::reverse(mine.begin(), mine.end());
        }
    }
    // Cuts the pieces where the path says.
    void split(const Args& args, Path& path) {
        find_path(path);
        if (path.aligned)
            for (const auto& mine : path.of)
                for (int64_t i : mine) path.every.push_back(pieces[i].start);
        std::sort(path.every.begin(), path.every.end());
        path.every.erase(std::unique(path.every.begin(), path.every.end()), path.every.end());
        for (auto& mine : path.each) std::sort(mine.begin(), mine.end());
        each(args, path, [&](int64_t number, const octet (*c)[TERMS], int l, double unit) {
            const Piece whole = pieces[number];
            const auto& starts = path.each[size_t(whole.neuron)];
            double from = whole.start;
            int64_t before = whole.before;
            auto a = std::upper_bound(path.every.begin(), path.every.end(), whole.start);
            auto b = std::upper_bound(starts.begin(), starts.end(), whole.start);
            for (;;) {
                const double x = a == path.every.end() ? whole.end : *a, y = b == starts.end() ? whole.end : *b, at = x < y ? x : y;
                if (!(at < whole.end)) break;
                if (x == at) ++a;
                if (y == at) ++b;
                if (at <= from) continue;
                const int64_t made = pieces.count;
                Piece& part = pieces.push();
                part = whole;
                part.start = from, part.end = at, part.span = at - from, part.before = before;
                Piece& rest = pieces[number];
                rest.start = at, rest.span = whole.end - at, rest.before = made, rest.why = RENEWAL, rest.instant = -1;
                for (int i = 0; i < n; ++i) {
                    part.x[i] = from == whole.start ? whole.x[i] : value_in(c[i], l, order, (from - whole.start) / unit);
                    part.last[i] = rest.x[i] = value_in(c[i], l, order, (at - whole.start) / unit);
                }
                if (from > whole.start) part.why = RENEWAL, part.instant = -1;
                before = made, from = at;
            }
        });
        find_path(path);
    }

    // Backwards

    Buffer<int64_t> back;  // the piece that `lambda` is in
    Buffer<double> left;   // from the start of it to where `lambda` is; -1: at its end
    Buffer<int8_t> opened;  // whether it is at the start, behind what a reader adds there
    // With births: whether lambda is in a piece ahead of what that began with, and then its last series, around `middles`.
    Buffer<int8_t> ahead;
    Buffer<double> adjoints, middles;
    // Stand for an instant in `Piece`, and in `touch`.
    static constexpr int64_t of_candidate(int64_t index) { return -10 - index; }
    static constexpr int64_t of_arrival(int64_t number) { return -(int64_t(1) << 40) - number; }

    void clear_back() {
        for (auto& b : mu) b.zero(NP);
        for (auto& b : grad) b.zero(NP);
    }
    // On entry mu is lambda at the end of the trial.
    void begin_back() {
        back.reserve(NP), opened.reserve(NP), left.reserve(NP);
        if (M::births) ahead.zero(NP), middles.zero(NP), adjoints.reserve(int64_t(n) * TERMS * NP);
        for (int k = 0; k < N; ++k) {
            back[k] = current[k], left[k] = -1, opened[k] = 0, carry[k] = 0, seen[k] = -1;
            for (int i = 0; i < n; ++i) lambda[i][k] = double(mu[i][k]);
        }
        feedback.zero(events.count + 1);
        n_touched = 0;
    }
    // Brings the `touched` neurons back to right after the event that began a piece of theirs.
    template <class Reader>
    void retreat(const Args& args, int64_t instant, const Reader& reader) {
        int count = 0;
        const auto begins = [&](int k) {
            const Piece& p = pieces[back[k]];
            return p.why == START || (p.why != RENEWAL && p.why != END_OF_MODE && p.instant == instant);
        };
        for (int i = 0; i < n_touched; ++i) {
            const int k = touched[i];
            if (M::births && ahead[k]) {
                ahead[k] = 0;
                if (opened[k] && begins(k)) continue;
                pass(args, k);
            } else {
                leave(k);
            }
            todo[count++] = k;
        }
        n_touched = 0;
        undo<false>(args, count, reader, begins);
    }
    // With births: brings the `touched` neurons to where their last series contains a time.
    template <class Reader>
    void reach(const Args& args, double at, const Reader& reader) {
        int count = 0;
        const auto contains = [&](int k) { return pieces[back[k]].start + left[k] <= at + together; };
        for (int i = 0; i < n_touched; ++i) {
            const int k = touched[i];
            if (ahead[k]) {
                if (contains(k)) continue;
                pass(args, k);
            } else {
                leave(k), ahead[k] = 1;
            }
            todo[count++] = k;
        }
        n_touched = 0;
        undo<true>(args, count, reader, contains);
    }
    // lambda . e at a time that `reach` has reached.
    double along_series(const Args& args, int receptor, int k, double at) const {
        double e[n], q = 0;
        M::direction(args, k, receptor, e);
        const double s = at - middles.data[k];
        for (int i = 0; i < n; ++i) {
            if (e[i] == 0) continue;
            const double* l = adjoints.data + int64_t(i) * TERMS * NP + k;
            double v = l[int64_t(order) * NP];
            for (int j = order - 1; j >= 0; --j) v = v * s + l[int64_t(j) * NP];
            q += v * e[i];
        }
        return q;
    }
    // Integrates backwards, piece by piece, until `done`.
    template <bool Keep, class Reader, class Done>
    void undo(const Args& args, int count, const Reader& reader, const Done& done) {
        while (count) {
            poll(args);
            for (int m = 0; m < M::modes; ++m) {
                int same = 0;
                for (int i = 0; i < count; ++i) lanes[same] = todo[i], same += pieces[back[todo[i]]].mode == m;
                const bool failed = any_lane((same + SIDE - 1) / SIDE, [=, &args](int i) {
                    const int from = i * SIDE;
                    return !integrate<Keep>(args, m, lanes.data + from, same - from < SIDE ? same - from : SIDE, reader);
                });
                if (failed) unresolved(args);
            }
            int others = 0;
            for (int i = 0; i < count; ++i) {
                const int k = todo[i];
                const Piece& p = pieces[back[k]];
                if (left[k] > 0) {  // a part of a piece
                    if (!Keep || !done(k)) todo[others++] = k;
                    continue;
                }
                opened[k] = 1;
                reader.each([&](const auto& r, const scalar* dr) { lambda[M::read][k] += r.opened(k, back[k], dr); });
                for (int j = 0; j < n; ++j) now_x[j][k] = p.x[j];
                if (done(k)) continue;
                pass(args, k);
                todo[others++] = k;
            }
            count = others;
        }
    }
    // From the start of a piece, which began with nothing or with the end of a mode, to the end of the one before.
    void pass(const Args& args, int k) {
        if (opened[k] && pieces[back[k]].why == END_OF_MODE) mode_ended(args, k);
        leave(k);
    }
    // From the start of a piece to the end of the one before.
    void leave(int k) {
        if (opened[k]) back[k] = pieces[back[k]].before, left[k] = -1, opened[k] = 0;
    }
    // False, if a gradient cannot be had.
    template <bool Keep, class Reader>
    bool integrate(const Args& args, int m, const int32_t* lane, int count, const Reader& reader) {
        octet q[M::numbers], c[n][TERMS], l[n][TERMS], p[M::dynamic + 1][TERMS], source[TERMS], sign[M::kinks + 1], h, unit, nothing = {};
        int32_t each[SIDE];
        int to = Reader::reads || Keep ? order : 0;  // what is read is a series of that order
        for (int j = 0; j < TERMS; ++j) source[j] = octet{};
        for (int i = 0; i < SIDE; ++i) {
            const int k = each[i] = lane[i < count ? i : 0];
            const Piece& piece = pieces[back[k]];
            const bool at_end = left[k] < 0;
            if (at_end) left[k] = piece.span;
            to = piece.order > to ? piece.order : to;
            unit[i] = unit_of(left[k]), h[i] = unit[i] == 1 ? left[k] : left[k] / unit[i], set_signs(piece, i, sign);
            for (int j = 0; j < n; ++j) c[j][0][i] = at_end ? piece.last[j] : now_x[j][k], l[j][0][i] = lambda[j][k];
            if constexpr (Reader::reads)
                if (i < count) {
                    octet& jump = at_end ? l[M::read][0] : nothing;
                    reader.each([&](const auto& r, const scalar* dr) { r.source(k, back[k], dr, order, source, i, unit[i], jump); });
                    move(source, i, (left[k] - piece.span) / unit[i]);
                }
        }
        M::numbers_of(args, each, q);
        M::adjoint(m, q, sign, unit, c, l, p, source, to);
        const octet whole = h;
        bool parts = false;
        Lost worst;
        bool resolved = resolves(l, p, h, unit, each, count, to, worst);
        if (!resolved && to < order) {
            h = whole, M::adjoint(m, q, sign, unit, c, l, p, source, to = order);
            resolved = resolves(l, p, h, unit, each, count, to, worst);
        }
        for (int turn = 0; !resolved; ++turn, parts = true) {
            if (turn == HALVINGS) return fails(worst.neuron, n + worst.state);
            resolved = resolves(l, p, h, unit, each, count, to, worst);
        }
        const octet s = -h;
        if (Keep || args.recorded)
            for (int i = 0; i < count; ++i) keep<Keep>(args, each[i], i, l, h[i], unit[i], to);
        octet total = {};  // is no number if one of them is none
        for (int j = 0; j < n; ++j) {
            const octet at = value_at(l[j], to, s);
            total += at;
            for (int i = 0; i < count; ++i) lambda[j][each[i]] = s[i] != 0 ? at[i] : l[j][0][i];
            if (!parts) continue;
            const octet x_at = value_at(c[j], to, s);
            for (int i = 0; i < count; ++i) now_x[j][each[i]] = x_at[i];
        }
        for (int i = 0; i < count; ++i)
            for (int j = 0; !std::isfinite(total[i]) && j < n; ++j)
                if (!std::isfinite(lambda[j][each[i]])) return fails(each[i], n + j);
        for (int i = 0; i < count; ++i) left[each[i]] = !parts || h[i] == whole[i] ? 0.0 : left[each[i]] - h[i] * unit[i];
        for (int r = 0; r < M::dynamic; ++r) {  // the integral of lambda . df/dp over the piece
            octet v = {};
            for (int j = to; j >= 0; --j) v = v * s + p[r][j] * INVERSE[j + 1];
            v *= h * unit;
            for (int i = 0; i < count; ++i) {
                if (s[i] == 0) continue;  // a piece without length, whose series may overflow
                grad[M::place[r]][each[i]] += scalar(v[i]);
                if (!std::isfinite(v[i])) return fails(each[i], 2 * n + r);
            }
        }
        return true;
    }
    // What births and the host ask for of lambda along the last h of a piece.
    template <bool Keep>
    [[gnu::noinline]] void keep(const Args& args, int k, int i, const octet (*l)[TERMS], double h, double unit, int to) {
        const Piece& piece = pieces[back[k]];
        const double middle = piece.end - (piece.span - left[k]);  // the series are around it
        double power = 1;
        if (Keep) middles[k] = middle;
        for (int t = 0; Keep && t <= order; ++t, power /= unit)
            for (int j = 0; j < n; ++j) adjoints[(int64_t(j) * TERMS + t) * NP + k] = l[j][t][i] * power;
        if (args.recorded)
            each_time(args, piece, [&](scalar* row, double t) {
                if (t <= middle && (middle - t <= h * unit || h * unit >= left[k])) record_lane(row + n * NP, l, i, (t - middle) / unit, to);
            });
    }
    // A polynomial in powers of t as one in powers of t - by.
    void move(octet* source, int i, double by) const {
        for (int j = 0; by != 0 && j < order; ++j)
            for (int t = order - 1; t >= j; --t) source[t][i] += source[t + 1][i] * by;
    }
    // Whether the series of lambda, and of the integrals that are gradients, are resolved as far as h; where not, h is halved. The last two
    // terms are measured by the first three, or else by all in the first half, of integrals also by the gradient so far. A source alone
    // makes lambda begin with its second term, and integrals with a later one still.
    bool resolves(const octet (*l)[TERMS], const octet (*p)[TERMS], octet& h, const octet& unit, const int32_t* each, int count, int to, Lost& worst) {
        const double within = 100 * tolerance;
        const octet high = to_power(h, to - 1);
        octet excess = octet{} - infinite(), last[n + M::dynamic];
        for (int r = 0; r < n + M::dynamic; ++r) {
            const octet* z = r < n ? l[r] : p[r - n];
            const octet first = largest_of_first(z, h);
            last[r] = larger(lanes_fabs(z[to - 1]), lanes_fabs(z[to]) * h) * high;
            excess = larger(excess, last[r] - within * first);
        }
        bool good = true;
        for (int i = 0; i < count; ++i) {
            if (excess[i] <= 0 || h[i] == 0) continue;
            bool halve = false;
            for (int r = 0; r < n + M::dynamic; ++r) {
                const octet* z = r < n ? l[r] : p[r - n];
                double most = r < n ? 0.0 : std::fabs(double(grad[M::place[r < n ? 0 : r - n]][each[i]])) / (h[i] * unit[i]), power = 1;
                for (int j = 0; j <= to / 2; ++j, power *= h[i]) most = std::fmax(most, std::fabs(z[j][i]) * power);
                if (!(last[r][i] <= within * most)) halve = true, worst.neuron = each[i], worst.state = r;
            }
            if (halve) good = false, h[i] *= 0.5;
        }
        return good;
    }
    // A gradient that cannot be had is an error, not a number.
    __attribute__((noinline)) void unresolved(const Args& args) const {
        const Lost first = failed_first();
        const Piece& piece = pieces[back.data[first.neuron]];
        const double at = piece.end - (piece.span - left.data[first.neuron]);
        abandon(Trouble{1 + M::number, -1, int64_t(at / args.duration * 0x1p50), first.state, first.neuron});
    }
    // The end of a timed mode: lambda is continuous, and D goes to what began the mode.
    void mode_ended(const Args& args, int k) {
        const Piece& p = pieces[back[k]];
        const int ended = pieces[p.before].mode;
        double f[n], g[n], D = carry[k];
        M::rate(args, k, ended, p.x, f), M::rate(args, k, p.mode, p.x, g);
        for (int i = 0; i < n; ++i) D += lambda[i][k] * (f[i] - g[i]);
        const int learned = M::duration(ended);
        if (learned >= 0) grad[learned < 0 ? 0 : learned][k] += scalar(D);
        carry[k] = D;
    }
    // What follows from a spike goes to the own event that sent it.
    void credit(int64_t spike, double D) { feedback[event_of[spike]] += D; }
    const OwnEvent& own_event(int64_t number) const { return events[number]; }
    // Brings a neuron back to right after an own event; returns what readers say of dL/dt there.
    template <class Reader>
    scalar undo_to(const Args& args, const LogEntry& entry, double*, const Reader& readers) {
        double dl_dt = 0;
        touch(entry.source, entry.instant), retreat(args, entry.instant, readers);
        readers.each([&](auto& r, const scalar* dr) { dl_dt += r.own_event(*this, args, dr, entry); });
        return scalar(dl_dt);
    }
    // An own event: the jump of lambda and its gradients. by_readouts: dL/dt at fixed states, without lambda . a.
    void jumped(const Args& args, const LogEntry& entry, scalar by_readouts, const double*) {
        const int64_t number = entry.index;
        double dl_dt = double(by_readouts);
        const OwnEvent& o = events[number];
        const int k = o.neuron;
        double lam[n];
        for (int i = 0; i < n; ++i) lam[i] = lambda[i][k];
        dl_dt += feedback[number];
        if (M::next(o.event) >= 0) dl_dt += carry[k], carry[k] = 0;
        const double E = M::jumps(args, k, o.event, o.mode, o.x, dl_dt, o.gdot > 0 ? 1 / o.gdot : 0.0, lam, grad);
        if (o.why == OWN_EVENT && o.cause >= 0) feedback[o.cause] += E;
        if (o.why == END_OF_MODE) carry[k] += E;
        for (int64_t i = 0; i < o.shares; ++i) arrival_extra[shares[o.first + i].happening] += shares[o.first + i].part * E;
        if (M::pushed >= 0 && o.spike >= 0) lam[M::pushed < 0 ? 0 : M::pushed] += double(jump[k]);
        for (int i = 0; i < n; ++i) lambda[i][k] = lam[i];
    }
    // Entry `e` of the log, an arrival through connection C: adds to the gradient of its weights, returns D.
    template <class C, class Reader>
    double undo_arrival(const Args& args, C c, scalar* gradient, const LogEntry& a, int64_t e, const Reader& readers) {
        const auto synapses = c.synapses(args);
        constexpr bool gathers = C::trainable && std::decay_t<decltype(synapses)>::gathers;
        synapses.each_target(a.source, row, [&](int k, scalar, int64_t) { touch(k, a.instant); });
        retreat(args, a.instant, readers);
        double D = arrival_extra[e];
        if (gathers) along.zero(NP);
        synapses.each_target(a.source, row, [&](int k, scalar weight, int64_t place) {
            const scalar by = scalar(arrived<C::hands>(args, c.receptor, k, double(weight), a, readers, D));
            if (C::trainable) (gathers ? along[k] : gradient[place]) += by;
        });
        if constexpr (gathers) synapses.gather(a.source, along, gradient);
        if (C::hands) readers.each([&](auto& r, const scalar*) { D += r.arrivals(*this, args, a); });
        return D;
    }
    // The arrival of a spike that was not born: the sum of weight times lambda . e over the neurons, or with `moved` that of each over its
    // dL/dr. left: stands for the instant.
    template <class C, class Unborn, class Reader>
    double unborn_arrival(const Args& args, C c, const Unborn& a, int64_t, int64_t left, scalar* moved, const scalar* slope, const Reader& readers) {
        const auto synapses = c.synapses(args);
        double change = 0;
        synapses.each_target(a.source, row, [&](int k, scalar, int64_t) { touch(k, of_arrival(left)); });
        reach(args, a.s, readers);
        synapses.each_target(a.source, row, [&](int k, scalar weight, int64_t) {
            if (moved && slope[k] == 0) return;
            const double by = double(weight) * along_series(args, c.receptor, k, a.s);
            if (moved) moved[k] += scalar(by / double(slope[k]));
            else change += by;
        });
        return change;
    }
    template <class Unborn, class Reader>
    void undo_to_candidate(const Args& args, const Unborn& b, const Reader& readers) {
        const int64_t here = of_candidate(b.index);
        touch(b.source, here), retreat(args, here, readers);
    }
    // An arrival of weight w: returns lambda . e; adds D to `total` (if Feed), and to amounts that are learned.
    template <bool Feed, class Reader>
    double arrived(const Args& args, int receptor, int k, double w, const LogEntry& h, const Reader& readers, double& total) {
        double e[n], q = 0;
        M::direction(args, k, receptor, e);
        for (int i = 0; i < n; ++i) q += lambda[i][k] * e[i];
        double f[n], g[n], x[n];
        for (int i = 0; i < n; ++i) x[i] = now_x[i][k];
        for (int i = 0; i < n; ++i) now_x[i][k] -= w * e[i];  // before this arrival, and behind those that come earlier in its instant
        if (Feed && w != 0) {
            const int m = pieces[back[k]].mode;
            M::rate(args, k, m, x, g);
            for (int i = 0; i < n; ++i) x[i] = now_x[i][k];
            M::rate(args, k, m, x, f);
            for (int i = 0; i < n; ++i) total += lambda[i][k] * (f[i] - g[i]);
        }
        if constexpr (Feed) readers.each([&](auto& r, const scalar* dr) { total += r.arrival(*this, args, dr, k, w, w * e[M::read], h); });
        if (M::amounts) {
            double lam[n];
            for (int i = 0; i < n; ++i) lam[i] = lambda[i][k];
            M::amounts_of(args, k, receptor, w, lam, grad);
        }
        return q;
    }
    void finish_back() {
        for (int k = 0; k < N; ++k)
            for (int i = 0; i < n; ++i) mu[i][k] = scalar(lambda[i][k]);
    }
};

}  // namespace
