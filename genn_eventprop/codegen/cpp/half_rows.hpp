// Weights in two bytes each, widened as they are read: rows come from the caches in half the time, sums are of float32.
#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace {

struct Half {
    uint16_t bits;
    operator scalar() const { return float_of(bits); }
};

// Found by its argument in the loops of runtime.hpp.
inline vec load(const Half* p) {
#if defined(__AVX512F__)
    return vec(_mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__F16C__)
    return vec(_mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p))));
#else
    vec v;
    for (int i = 0; i < LANES; ++i) v[i] = p[i];
    return v;
#endif
}

}  // namespace
