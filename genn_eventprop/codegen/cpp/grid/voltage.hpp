// The main loss, of V(t). `pointwise` returns l(V) of all outputs at one time, and its slope.

namespace {

// l(V) before the spikes of the output at a step, minus l with V of one output changed.
inline scalar loss_change(const Args& args, int64_t sample, int64_t step, int neuron, scalar* before, scalar V) {
    if (!MainLoss::has_target(args, sample)) return 0;
    alignas(64) scalar slope[NP_OUT];
    const Target target = MainLoss::target_of(args, sample, step, 0);
    const scalar kept = before[neuron], l_before = MainLoss::pointwise(args, before, target, slope);
    before[neuron] = V;
    const scalar change = l_before - MainLoss::pointwise(args, before, target, slope);
    before[neuron] = kept;
    return change;
}

// l(V) before the arrivals of a step; 0 without a label.
inline scalar loss_before(const Args& args, int64_t sample, int64_t step, const scalar* V) {
    alignas(64) scalar slope[NP_OUT];
    const Target target = MainLoss::target_of_arrivals(args, sample, step);
    return target.label < 0 ? scalar(0) : MainLoss::pointwise(args, V, target, slope);
}

// What the arrival of a row of weights adds to dL/dt. before: V before it; unit: the change of V by a unit weight.
template <typename Row, typename Unit>
inline scalar loss_of_arrival(const Args& args, int64_t sample, int64_t step, const scalar* before, scalar l_before,
                              const Row* row, scalar weight, Unit unit) {
    alignas(64) scalar V[NP_OUT];
    for (int neuron = 0; neuron < NP_OUT; ++neuron) V[neuron] = before[neuron] + unit(neuron) * scalar(row[neuron]);
    const scalar change = l_before - loss_before(args, sample, step, V);
    return weight * scalar(MainLoss::share_of_arrivals(args, sample, step)) * change;
}

// The loss of V at the nodes of steps first .. last - 1, added to that of the steps before; overwrites V with dL/dV.
template <int J, bool Driven, typename Memory>
inline double voltage_loss(const Args& args, Memory& work, int64_t sample, int64_t first, int64_t last, double running) {
    if (!MainLoss::has_target(args, sample)) {  // a chunk of a recording without a label has no gradient
        if (first < last) std::fill(work.nodes + first * J * NP_OUT, work.nodes + last * J * NP_OUT, scalar(0));
        return std::numeric_limits<double>::quiet_NaN();
    }
    const scalar share = scalar(args.sample_weight[sample]);
    alignas(64) scalar slope[NP_OUT];
    for (int64_t step = first; step < last; ++step)
        for (int64_t j = 0; j < J; ++j) {
            scalar* __restrict V = work.nodes + (step * J + j) * NP_OUT;
            scalar weight = args.time_weight[step * J + j];
            if constexpr (Driven) weight *= work.activity[step];
            running += double(weight / args.node_scale[j] *
                              MainLoss::pointwise(args, V, MainLoss::target_of(args, sample, step, args.node_part[j]), slope));
            if (args.training)
                for (int n = 0; n < NP_OUT; ++n) V[n] = weight * share * slope[n];
        }
    return running;
}

}  // namespace
