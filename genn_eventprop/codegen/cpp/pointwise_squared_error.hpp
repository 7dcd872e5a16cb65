// l(V) of all outputs at one time, (NP): half the squared error, and its slope; see `losses.outer`.
static scalar pointwise(const Args&, const scalar* __restrict voltage, Target target, scalar* __restrict slope) {
    scalar total = 0;
    for (int n = 0; n < NP; ++n) slope[n] = 0;
    for (int n = 0; n < N; ++n) {
        const scalar wanted = scalar(target.low[n] + (target.high[n] - target.low[n]) * double(target.part));
        slope[n] = wanted == wanted ? voltage[n] - wanted : scalar(0);
        total += slope[n] * slope[n];
    }
    return scalar(0.5) * total;
}
