// connectivity.hpp, delays.hpp and the spikes of runtime.hpp against loops that follow their definition, on random connections. Compiled by
// tests/codegen/test_connectivity_cpp.py, which puts the sources of the library in front and defines SIZES; ends with 1 at the first error.
#include <cstdio>
#include <vector>

namespace {

struct Random {
    uint64_t state;
    uint32_t next() {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return uint32_t(state >> 33);
    }
    int below(int n) { return int(next() % uint32_t(n)); }
    scalar number() { return scalar(below(2001) - 1000) / scalar(1000); }
};

[[noreturn]] void fail(const char* what, int N, int64_t i, double found, double wanted) {
    std::printf("%s, N=%d: number %lld is %.9g, should be %.9g\n", what, N, (long long)i, found, wanted);
    std::exit(1);
}

void compare(const char* what, int N, const scalar* found, const std::vector<double>& wanted) {
    const double bound = sizeof(scalar) == 8 ? 1e-12 : 2e-5;
    for (size_t i = 0; i < wanted.size(); ++i) {
        const double error = double(found[i]) - wanted[i], size = wanted[i] < 0 ? -wanted[i] : wanted[i];
        if (!(error <= bound * (1 + size) && -error <= bound * (1 + size))) fail(what, N, int64_t(i), found[i], wanted[i]);
    }
}

// A connection with spikes: synapse i from source[i] to target[i]; spike k of spiked[k] at step[k], in order of time.
template <int N>
struct Case {
    static constexpr int NP = (N + 15) / 16 * 16;
    int M, T, ahead;
    bool dense;
    std::vector<int32_t> start, source, target, delay, offset, spiked, step, first;
    Buffer<scalar> weight, D, along;
    int64_t S = 0;

    Case(Random& r, int sources, int steps, int longest, bool all) : M(sources), T(steps), ahead(longest), dense(all) {
        start.push_back(0);
        for (int m = 0; m < M; ++m) {
            for (int n = 0; n < (dense ? NP : N); ++n)
                if (dense || (m % 3 && r.below(3) == 0)) source.push_back(m), target.push_back(n);
            start.push_back(int32_t(source.size()));
        }
        S = int64_t(source.size());
        weight.zero(S + 1);
        for (int64_t i = 0; i < S; ++i) {
            weight[i] = target[size_t(i)] < N ? r.number() : scalar(0);
            delay.push_back(r.below(ahead + 1));
            offset.push_back(delay.back() * NP + target[size_t(i)]);
        }
        first.push_back(0);
        for (int t = 0; t < T; ++t) {
            for (int m = 0; m < M; ++m)
                if (r.below(4) == 0) spiked.push_back(m), step.push_back(t);
            first.push_back(int32_t(spiked.size()));
        }
        for (Buffer<scalar>* rows : {&D, &along}) {
            rows->zero((T + ahead + CHUNK) * NP);
            for (int t = 0; t < T; ++t)
                for (int n = 0; n < N; ++n) (*rows)[t * NP + n] = r.number();
        }
    }
    std::vector<uint16_t> short_delay() const { return {delay.begin(), delay.end()}; }
    Synapses synapses() { return {start.data(), offset.data(), weight.data}; }
    const int32_t* at(int t) const { return spiked.data() + first[size_t(t)]; }
    int64_t count(int t) const { return first[size_t(t) + 1] - first[size_t(t)]; }
    void sort(BySource& by) const {
        const int64_t n = int64_t(spiked.size());
        by.reset(M);
        by.count(spiked.data(), n);
        by.prepare(M, n);
        for (size_t k = 0; k < spiked.size(); ++k) by.put(spiked[k], step[k]);
    }
    // f(spike, synapse, arrival) for every arrival within the trial
    template <typename F>
    void each(F f) const {
        for (size_t k = 0; k < spiked.size(); ++k)
            for (int32_t i = start[size_t(spiked[k])]; i < start[size_t(spiked[k]) + 1]; ++i)
                if (const int t = step[k] + delay[size_t(i)]; t < T) f(k, size_t(i), t);
    }
};

template <Part P, int N>
void check_part(Case<N>& c) {
    constexpr int NP = Case<N>::NP;
    std::vector<double> arrived(size_t(c.T * NP)), dots(c.spiked.size());
    c.each([&](size_t k, size_t i, int t) {
        const double w = part_of<P>(c.weight[int64_t(i)]);
        arrived[size_t(t * NP + c.target[i])] += w;
        dots[k] += w * double(c.D[t * NP + c.target[i]]);
    });
    Buffer<scalar> found, out;
    found.zero(c.T * NP), out.zero(int64_t(dots.size()) + 1);
    Ring<NP> ring;
    ring.begin(c.ahead);
    for (int t = 0; t < c.T; ++t, ring.next()) {
        scatter_rows<P>(ring.now(), c.synapses(), c.at(t), c.count(t));
        std::memcpy(found.data + t * NP, ring.now(), NP * sizeof(scalar));
        gather_dots<P>(out.data + c.first[size_t(t)], c.synapses(), c.at(t), c.count(t), c.D.data + t * NP);
    }
    compare("scatter_rows", N, found, arrived);
    compare("gather_dots", N, out, dots);
    if (!c.dense) return;
    const std::vector<uint16_t> delay = c.short_delay();
    const Delayed rows{delay.data(), c.weight};
    out.zero(int64_t(dots.size()) + 1), ring.begin(c.ahead);
    for (int t = 0; t < c.T; ++t, ring.next()) {
        scatter_rows<P, NP>(ring.now(), rows, c.at(t), c.count(t));
        std::memcpy(found.data + t * NP, ring.now(), NP * sizeof(scalar));
        gather_dots<P, NP>(out.data + c.first[size_t(t)], rows, c.at(t), c.count(t), c.D.data + t * NP);
    }
    compare("scatter_rows, delayed", N, found, arrived);
    compare("gather_dots, delayed", N, out, dots);
}

template <Part P, int N>
void check_gather(Case<N>& c) {
    constexpr int NP = Case<N>::NP;
    std::vector<double> dw(size_t(c.S)), dd(size_t(c.S));
    c.each([&](size_t, size_t i, int t) {
        dw[i] += double(c.along[t * NP + c.target[i]]);
        dd[i] += double(part_of<P>(c.weight[int64_t(i)])) * double(c.D[t * NP + c.target[i]]);
    });
    BySource by;
    c.sort(by);
    const std::vector<uint16_t> delay = c.short_delay();
    const Delayed dense{delay.data(), c.weight};
    Buffer<scalar> series;
    if (c.dense) {
        std::vector<double> arrived(size_t(c.T * NP));
        c.each([&](size_t, size_t i, int t) { arrived[size_t(t * NP + c.target[i])] += double(part_of<P>(c.weight[int64_t(i)])); });
        Buffer<scalar> rows, sums;
        rows.reserve(c.T * NP);
        scatter_known<P, NP>(rows, sums, dense, by, c.M, c.T, c.ahead);
        compare("scatter_known", N, rows, arrived);
    }
    Buffer<scalar> grad[5];
    for (auto& g : grad) g.zero(c.S + 1);
    grad[0][0] = grad[1][0] = scalar(c.dense);  // which the first overwrites
    if (c.dense) {
        const Dense learned{{grad[0], grad[1], true}, dense, by, c.M}, late{{nullptr, grad[2], false}, dense, by, c.M};
        const Dense fewer{{grad[3], grad[4], false}, dense, by, c.M - 2};
        gather_dense<P, NP, 2>({fewer, learned}, {c.along.data, c.D.data}, series, c.T, c.ahead);
        gather_dense<P, NP, 1>({late}, {c.D.data}, series, c.T, c.ahead);
        std::vector<double> few_w = dw, few_d = dd;
        for (size_t i = size_t(c.start[size_t(c.M - 2)]); i < size_t(c.S); ++i) few_w[i] = few_d[i] = 0;
        compare("dL/dw, a second connection", N, grad[3], few_w);
        compare("dL/dd, a second connection", N, grad[4], few_d);
    } else {
        std::vector<int32_t> own;
        for (int32_t i = 0; i < c.S; ++i) own.push_back(i);
        for (int s = c.T - 1; s >= 0; --s) {
            const int64_t row = int64_t(s) * NP;
            gather_listed<false>(grad[0], nullptr, c.synapses(), c.at(s), c.count(s), c.along.data + row);
            gather_listed<true, P>(grad[1], nullptr, c.synapses(), c.at(s), c.count(s), c.D.data + row);
            gather_listed<true, P>(grad[2], own.data(), c.synapses(), c.at(s), c.count(s), c.D.data + row);
        }
    }
    compare("dL/dw", N, grad[0], dw);
    compare("dL/dd", N, grad[1], dd);
    compare("dL/dd alone", N, grad[2], dd);
}

// Delays of sources: those of the synapses are those of the first of each source.
template <Part P, int N>
void check_axonal(Case<N>& c) {
    constexpr int NP = Case<N>::NP;
    std::vector<int32_t> delay;
    for (int m = 0; m < c.M; ++m) delay.push_back(c.delay[size_t(c.start[size_t(m)])]);
    for (size_t i = 0; i < size_t(c.S); ++i) c.delay[i] = delay[size_t(c.source[i])];
    std::vector<double> arrived(size_t(c.T * NP)), dots(c.spiked.size()), dd(size_t(c.M)), dw(size_t(c.S));
    c.each([&](size_t k, size_t i, int t) {
        const double w = c.weight[int64_t(i)], D = double(part_of<P>(c.weight[int64_t(i)])) * double(c.D[t * NP + c.target[i]]);
        arrived[size_t(t * NP + c.target[i])] += w;
        dots[k] += D, dd[size_t(c.source[i])] += D, dw[i] += double(c.along[t * NP + c.target[i]]);
    });
    Buffer<scalar> found, out, grad, grad_w;
    found.zero(c.T * NP), out.zero(int64_t(dots.size()) + 1), grad.zero(c.M), grad_w.zero(c.S);
    Buffer<scalar> grad_back;
    grad_back.zero(c.M);
    Arrivals arrivals;
    arrivals.width = 1;
    arrivals.begin(c.ahead);
    for (int t = 0; t < c.T; ++t) {
        arrivals.send(c.at(t), c.count(t), t, delay.data());
        const int64_t n = arrivals.take(t);
        add_rows<NP>(found.data + t * NP, c.weight.data, arrivals.due, n);
        dot_axonal<P, NP>(out.data + c.first[size_t(t)], c.weight, c.at(t), c.count(t), c.D, t, delay.data(), c.T, grad_back);
    }
    BySource by;
    c.sort(by);
    delay_by_source(by, delay.data(), c.M, c.T);
    gather_axonal<P, NP>(grad, c.weight, c.D, by, c.M);
    gather_gradient<NP>(grad_w, c.along, by, c.M, true);
    compare("axonal arrivals", N, found, arrived);
    compare("axonal dots", N, out, dots);
    compare("axonal dL/dd", N, grad, dd);
    compare("axonal dL/dd, from the dots", N, grad_back, dd);
    compare("axonal dL/dw", N, grad_w, dw);
}

// Delays of targets: those of the synapses are those of the first source.
template <Part P, int N>
void check_dendritic(Case<N>& c) {
    constexpr int NP = Case<N>::NP;
    for (size_t i = 0; i < size_t(c.S); ++i) c.delay[i] = c.delay[size_t(c.target[i])];
    std::vector<double> all(size_t(c.T * NP)), dots(c.spiked.size()), dd(size_t(NP), 0.0), whole(size_t(NP), 0.0);
    std::vector<double> dw(size_t(c.S));
    c.each([&](size_t k, size_t i, int t) {
        const double w = c.weight[int64_t(i)], D = double(c.D[t * NP + c.target[i]]), part = part_of<P>(c.weight[int64_t(i)]);
        all[size_t(t * NP + c.target[i])] += w, dots[k] += part * D;
        dd[size_t(c.target[i])] += part * D, whole[size_t(c.target[i])] += w * D;
        dw[i] += double(c.along[t * NP + c.target[i]]);
    });
    Buffer<scalar> arrived, sums, out, grad, kept;
    for (Buffer<scalar>* rows : {&arrived, &sums}) rows->zero(c.T * NP);
    out.zero(int64_t(dots.size()) + 1), grad.zero(NP), kept.zero(NP);
    std::vector<int32_t> back, forth;
    for (int n = 0; n < NP; ++n) back.push_back(n - c.delay[size_t(n)] * NP), forth.push_back(n + c.delay[size_t(n)] * NP);
    alignas(64) scalar row[NP];
    Window<NP> window;
    window.begin(c.ahead);
    for (int t = 0; t < c.T; ++t) {
        add_rows<NP, true>(window.next(), c.weight.data, c.at(t), c.count(t));
        gather_and_add<NP>(sums.data + t * NP, t % 2 ? nullptr : arrived.data + t * NP, window, back.data());
        if (t % 2) std::memcpy(arrived.data + t * NP, sums.data + t * NP, NP * sizeof(scalar));
        add_products<NP>(kept, arrived.data + t * NP, c.D.data + t * NP);
        gather_row<NP>(row, c.D.data + t * NP, forth.data());
        dot_dendritic<P, NP>(out.data + c.first[size_t(t)], grad, c.weight, c.at(t), c.count(t), row);
    }
    compare("dendritic arrivals", N, sums, all);
    compare("dendritic arrivals, kept", N, arrived, all);
    compare("dendritic dots", N, out, dots);
    compare("dendritic dL/dd, from the dots", N, grad, dd);
    compare("dendritic dL/dd", N, kept, whole);
    BySource by;
    c.sort(by);
    Buffer<scalar> space, waiting;
    grad.zero(c.S);
    for (const bool first : {false, true}) {
        gather_dendritic<NP>(grad, c.along, space, waiting, c.delay.data(), by, c.M, c.T, c.ahead, first);
        compare(first ? "dendritic dL/dw, again" : "dendritic dL/dw", N, grad, dw);
    }
}

template <int N>
void check(Random& r) {
    for (const int ahead : {0, 1, 5, 40})  // 40: beyond the trial
        for (const bool dense : {false, true}) {
            Case<N> c(r, 7, 23, ahead, dense);
            check_part<ALL>(c), check_part<POSITIVE>(c), check_part<NEGATIVE>(c);
            check_gather<ALL>(c), check_gather<POSITIVE>(c), check_gather<NEGATIVE>(c);
            if (dense) {
                Case<N> d = Case<N>(r, 7, 23, ahead, true);
                check_axonal<ALL>(c), check_axonal<NEGATIVE>(c), check_dendritic<ALL>(d), check_dendritic<POSITIVE>(d);
            }
        }
}

template <int... N>
void check_all() {
    Random r{7};
    (check<N>(r), ...);
}

}  // namespace

constexpr int SENDERS = 7, TIME = 30, BEFORE = 5;

// Spikes in order of time, of the steps from `lowest` on, and those of the trial before.
struct Sent {
    std::vector<int32_t> step, source, before, start{0};
    int lowest = 0;
    EarlierSpikes earlier() const { return {before.data(), start.data() + BEFORE}; }
};

template <bool LAST_FIRST, typename Own>
void check_sorted(const char* what, const Sent& sent, Own& own, int first, int last, int delay, EarlierSpikes earlier) {
    std::vector<int32_t> wanted[SENDERS], late[SENDERS];
    for (int step = -delay; earlier.start && step <= 0; ++step)
        for (int64_t i = 0; i < earlier.at(step).count; ++i)
            if (step + delay < last) late[earlier.at(step).index[i]].push_back(step + delay);
    for (size_t k = 0; k < sent.step.size(); ++k) {
        const size_t i = LAST_FIRST ? sent.step.size() - 1 - k : k;
        const int at = sent.step[i] + delay;
        if (sent.step[i] >= sent.lowest && at >= first && at < last) wanted[sent.source[i]].push_back(at);
    }
    BySource by;
    sort_arrivals<LAST_FIRST>(by, SENDERS, own, first, last, delay, earlier);
    for (int m = 0; m < SENDERS; ++m) {
        auto &head = LAST_FIRST ? wanted[m] : late[m], &tail = LAST_FIRST ? late[m] : wanted[m];
        head.insert(head.end(), tail.begin(), tail.end());
        if (by.begin[m + 1] - by.begin[m] != int(head.size())) fail(what, m, -1, by.begin[m + 1] - by.begin[m], double(head.size()));
        for (size_t k = 0; k < head.size(); ++k)
            if (by.steps[by.begin[m] + int(k)] != head[k]) fail(what, m, int64_t(k), by.steps[by.begin[m] + int(k)], head[k]);
    }
}

template <typename Own>
void check_every(const char* what, const Sent& sent, Own& own) {
    for (int delay : {0, 3, BEFORE})
        for (int last : {0, 1, 17, TIME})
            for (int first : {0, 1, 9}) {
                check_sorted<true>(what, sent, own, first, last, delay, {});
                check_sorted<false>(what, sent, own, first, last, delay, {});
                if (first == 0) check_sorted<true>(what, sent, own, first, last, delay, sent.earlier());
                if (first == 0) check_sorted<false>(what, sent, own, first, last, delay, sent.earlier());
            }
}

// The spikes of a step, and arrivals by their sources, against the spikes one by one.
void check_spikes(Random& r) {
    Sent sent;
    Spikes<0> list;
    list.start.zero(TIME + 2), list.neuron.zero(SENDERS * TIME);
    for (int t = 0; t < TIME; ++t) {
        list.start[t] = int32_t(list.count);
        for (int m = 0; m < SENDERS; ++m)
            if (t % 4 != 1 && r.below(3) == 0) {
                sent.step.push_back(t), sent.source.push_back(m);
                if (t > 0) list.neuron[list.count++] = m;
            }
    }
    list.start[TIME] = list.start[TIME + 1] = int32_t(list.count);
    for (int row = 0; row <= BEFORE; ++row) {
        for (int m = 0; m < SENDERS; ++m)
            if (r.below(2)) sent.before.push_back(m);
        sent.start.push_back(int32_t(sent.before.size()));
    }
    const InputSpikes input{sent.step.data(), sent.source.data(), 0, int64_t(sent.step.size())};
    check_every("arrivals of the input", sent, input);
    int64_t next = 0, behind = input.to;
    for (int t = 0; t < TIME; ++t) {
        int64_t there = 0;
        for (int32_t step : sent.step) there += step == t;
        const int64_t count = input.at(t, next).count;
        if (count != there) fail("spikes of a step", t, -1, double(count), double(there));
        if (t > 0 && list.at(t).count != there) fail("listed spikes of a step", t, -1, double(list.at(t).count), double(there));
    }
    for (int t = TIME - 1; t >= 0; t -= 2) {  // steps in between are passed over
        const Sources found = input.at_in_reverse(t, behind);
        int64_t there = 0;
        for (int32_t step : sent.step) there += step == t;
        if (found.count != there || found.index != input.channels + input.begin(t)) fail("spikes in reverse", t, -1, double(found.count), double(there));
    }
    sent.lowest = 1;
    check_every("arrivals of a population", sent, list);
}

int main() {
    Random r{5};
    check_spikes(r);
    check_all<SIZES>();
    return 0;
}
