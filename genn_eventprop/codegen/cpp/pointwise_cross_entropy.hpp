// l(V) of all outputs at one time, (NP): the softmax cross-entropy, and its slope; see `losses.outer`.
static scalar pointwise(const Args& args, const scalar* __restrict voltage, Target target, scalar* __restrict slope) {
    (void)args;
    alignas(64) scalar value[NP], part[NP];
    for (int n = 0; n < NP; ++n)
        value[n] = n < N ? score_at(voltage[n], args) : -std::numeric_limits<scalar>::max();
    const scalar top = lanes_max<NP>(value);
    for (int n = 0; n < NP; ++n) part[n] = n < N ? quick_exp(value[n] - top) : scalar(0);
    const scalar total = lanes_total<NP>(part), share = 1 / total;
    for (int n = 0; n < NP; ++n) slope[n] = part[n] * share * score_slope_at(voltage[n], args);
    const scalar right = voltage[target.label];
    slope[target.label] += term_slope_at(right, args) - score_slope_at(right, args);
    return std::log(total) + top - value[target.label] + term_at(right, args);
}
