// Noise and dropout; `engines/stochastic.py` is the definition.

namespace {

struct StepKey {
    uint32_t low, high;
};
inline StepKey step_key(uint64_t key, int64_t step) {
    uint64_t x = key + uint64_t(step + 1) * 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    x ^= x >> 31;
    return {uint32_t(x), uint32_t(x >> 32)};
}
inline uint32_t mix32(uint32_t x) {
    x = (x ^ (x >> 16)) * 0x7FEB352Du;
    x = (x ^ (x >> 15)) * 0x846CA68Bu;
    return x ^ (x >> 16);
}
inline uint32_t random_bits(StepKey k, uint32_t neuron) { return mix32(mix32(neuron ^ k.low) ^ k.high); }
inline uint32_t random_bits(uint64_t key, int64_t step, int neuron) {
    return random_bits(step_key(key, step), uint32_t(neuron));
}

// noise[n] = strength times a normal number, of one step.
template <int N>
inline void draw_noise(scalar* __restrict noise, scalar strength, const scalar* __restrict quantiles, uint64_t key, int64_t step) {
    if (strength == 0) {
        std::memset(noise, 0, N * sizeof(scalar));
        return;
    }
    const StepKey k = step_key(key, step);
    INDEPENDENT for (int n = 0; n < N; ++n) {
        const uint32_t bits = random_bits(k, uint32_t(n));
        noise[n] = strength * (quantiles[bits & 4095u] + quantiles[(bits >> 12) & 4095u]);
    }
}

}  // namespace
