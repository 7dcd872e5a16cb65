// What every generated file needs; `real` is float or double. Compiled by NVRTC: no headers of the host.
typedef int int32_t;
typedef unsigned int uint32_t;
typedef unsigned short uint16_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;

#define EVERY 0xffffffffu
#define INFINITE __longlong_as_double(0x7ff0000000000000ll)
#define NOT_A_NUMBER __longlong_as_double(0x7ff8000000000000ll)
#ifndef SHARED  // an array in shared memory; checked for races where the text runs on a CPU
#define SHARED(T) T *const
#define SHARE(T, place, count) (T *)(place)
#endif

// Noise and dropout; engines/stochastic.py is the definition.
__device__ inline uint32_t mix32(uint32_t x) {
    x = (x ^ (x >> 16)) * 0x7FEB352Du;
    x = (x ^ (x >> 15)) * 0x846CA68Bu;
    return x ^ (x >> 16);
}

__device__ inline uint32_t random_bits(uint64_t key, int64_t step, int32_t neuron) {
    uint64_t x = key + (uint64_t)(step + 1) * 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    x ^= x >> 31;
    return mix32(mix32((uint32_t)neuron ^ (uint32_t)x) ^ (uint32_t)(x >> 32));
}

__device__ inline real normal_number(uint64_t key, int64_t step, int32_t neuron, const real *quantiles) {
    const uint32_t bits = random_bits(key, step, neuron);
    return quantiles[bits & 4095u] + quantiles[(bits >> 12) & 4095u];
}

// (e^x - 1) / x and its derivative; adjoint/scheme.py
__device__ inline real phi1(real x) { return x == 0 ? (real)1 : expm1(x) / x; }

__device__ inline real phi1_slope(real x) {
    if (fabs(x) >= (real)0.5) return (exp(x) - phi1(x)) / x;
    real sum = 0, term = 1;
    for (int k = 1; k < 18; ++k) {  // sum_k k x^(k - 1) / (k + 1)!
        term /= (real)(k + 1);
        sum += (real)k * term;
        term *= x;
    }
    return sum;
}

// The parts of a weight that sums of one sign take.
__device__ inline real part_all(real w) { return w; }
__device__ inline real part_positive(real w) { return w > 0 ? w : (real)0; }
__device__ inline real part_negative(real w) { return w < 0 ? w : (real)0; }

// The sum over a warp, in the same order every time; in lane 0.
template <class T> __device__ inline T warp_sum(T value) {
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(EVERY, value, offset);
    return value;
}

// Notes the first place where the dynamics were left: the smallest sample, then step, population, state, neuron.
__device__ inline void note_diverged(uint64_t *trouble, int64_t sample, int64_t step, int population, int state, int32_t neuron) {
    const uint64_t place = ((((uint64_t)sample << 21 | (uint64_t)(step + 1)) << 4 | (uint64_t)population) << 4 | (uint64_t)state) << 14 | (uint64_t)neuron;
    atomicMin(trouble, place);
}
