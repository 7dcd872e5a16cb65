// Exact spike times: polynomials in the offset inside a step. `crossings.h` finds where they cross zero.
#include <algorithm>
#include <vector>

namespace {

constexpr int DEGREE = 20;
// One more than the degree: the integral of a series is a series.
constexpr double INVERSE[DEGREE + 2] = {0,       1.,      1. / 2,  1. / 3,  1. / 4,  1. / 5,  1. / 6,  1. / 7,
                                        1. / 8,  1. / 9,  1. / 10, 1. / 11, 1. / 12, 1. / 13, 1. / 14, 1. / 15,
                                        1. / 16, 1. / 17, 1. / 18, 1. / 19, 1. / 20, 1. / 21};
// Newton stops when its error, quadratic in its last step, is below this many ms.
constexpr double TIME_ROUNDING = sizeof(scalar) == 4 ? 2e-7 : 1e-17;

#if defined(ONE_LANE)
typedef One<double> doubles;
constexpr int DOUBLES = 1;
#else
// As wide as the machine: g++ keeps a wider one in memory, not in two registers.
typedef double doubles __attribute__((vector_size(VECTOR_BYTES)));
constexpr int DOUBLES = VECTOR_BYTES / int(sizeof(double));
#endif

// `horner` of neuron.h at `count` offsets: out[c * stride + e], with room for a multiple of 8 offsets.
template <int C, typename R>
inline void horner_many(const double* table, int m, const double* s, int64_t count, R* out, int64_t stride) {
    constexpr int AT_ONCE = 8;  // columns evaluated side by side, to hide latency
    for (int64_t e = 0; e < count; e += DOUBLES) {
        doubles x;
        std::memcpy(&x, s + e, sizeof x);
        for (int first = 0; first < C; first += AT_ONCE) {
            doubles v[AT_ONCE];
            const double* t = table + int64_t(m) * C + first;
#pragma GCC unroll 8
            for (int c = 0; c < AT_ONCE; ++c) v[c] = doubles{} + (first + c < C ? t[c] : 0.0);
            for (int q = m - 1; q >= 0; --q) {
                t -= C;
#pragma GCC unroll 8
                for (int c = 0; c < AT_ONCE; ++c)
                    if (first + c < C) v[c] = v[c] * x + t[c];
            }
#pragma GCC unroll 8
            for (int c = 0; c < AT_ONCE; ++c)
                if (first + c < C)
                    for (int i = 0; i < DOUBLES; ++i) out[(first + c) * stride + e + i] = R(v[c][i]);
        }
    }
}

}  // namespace
