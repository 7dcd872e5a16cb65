/* What every generated file needs. `real` is float or double. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <tgmath.h>

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
