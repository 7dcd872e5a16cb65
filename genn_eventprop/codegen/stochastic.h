/* Noise and dropout, as defined in engines/contract/noise.py. */
FUNCTION uint32_t mix32(uint32_t x) {
    x = (x ^ (x >> 16)) * 0x7FEB352Du;
    x = (x ^ (x >> 15)) * 0x846CA68Bu;
    return x ^ (x >> 16);
}

FUNCTION uint64_t step_key(uint64_t key, int64_t step) {
    uint64_t x = key + (uint64_t)(step + 1) * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

FUNCTION uint32_t bits_of_step(uint64_t step_key, int32_t neuron) {
    return mix32(mix32((uint32_t)neuron ^ (uint32_t)step_key) ^ (uint32_t)(step_key >> 32));
}

FUNCTION real normal_of_bits(uint32_t bits, const real *quantiles) {
    return quantiles[bits & 4095u] + quantiles[(bits >> 12) & 4095u];
}

FUNCTION uint32_t random_bits(uint64_t key, int64_t step, int32_t neuron) {
    return bits_of_step(step_key(key, step), neuron);
}

FUNCTION real normal_number(uint64_t key, int64_t step, int32_t neuron, const real *quantiles) {
    return normal_of_bits(random_bits(key, step, neuron), quantiles);
}
