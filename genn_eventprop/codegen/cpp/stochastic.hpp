// noise[n] = strength times a normally distributed number, for one step.
template <int N>
inline void draw_noise(scalar* __restrict noise, scalar strength, const scalar* __restrict quantiles, uint64_t key, int64_t step) {
    if (strength == 0) {
        std::memset(noise, 0, N * sizeof(scalar));
        return;
    }
    const uint64_t k = step_key(key, step);
    INDEPENDENT for (int n = 0; n < N; ++n) noise[n] = strength * normal_of_bits(bits_of_step(k, n), quantiles);
}

}  // namespace
