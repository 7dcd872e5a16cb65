/* What every generated file needs. `real` is float or double. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <tgmath.h>

/* Noise and dropout; engines/chance.py is the definition. */
static uint32_t mix32(uint32_t x) {
    x = (x ^ (x >> 16)) * 0x7FEB352Du;
    x = (x ^ (x >> 15)) * 0x846CA68Bu;
    return x ^ (x >> 16);
}

static inline uint32_t random_bits(uint64_t key, int64_t step, int32_t neuron) {
    uint64_t x = key + (uint64_t)(step + 1) * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    x ^= x >> 31;
    return mix32(mix32((uint32_t)neuron ^ (uint32_t)x) ^ (uint32_t)(x >> 32));
}

static inline real normal_number(uint64_t key, int64_t step, int32_t neuron, const real *quantiles) {
    const uint32_t bits = random_bits(key, step, neuron);
    return quantiles[bits & 4095u] + quantiles[(bits >> 12) & 4095u];
}

/* (e^x - 1) / x and its derivative; adjoint/scheme.py */
static inline real phi1(real x) { return x == 0 ? 1 : expm1(x) / x; }

static inline real phi1_slope(real x) {
    if (fabs(x) >= (real)0.5) return (exp(x) - phi1(x)) / x;
    real sum = 0, term = 1;
    for (int k = 1; k < 18; ++k) { /* sum_k k x^(k - 1) / (k + 1)! */
        term /= (real)(k + 1);
        sum += (real)k * term;
        term *= x;
    }
    return sum;
}

/* The parts of a weight that sums of one sign take. */
static inline real part_all(real w) { return w; }
static inline real part_positive(real w) { return w > 0 ? w : 0; }
static inline real part_negative(real w) { return w < 0 ? w : 0; }

/* Index of the lowest bit that is set. */
static inline int32_t lowest(uint32_t bits) {
    int32_t n = 0;
    while (!(bits & 1u)) {
        bits >>= 1;
        ++n;
    }
    return n;
}
