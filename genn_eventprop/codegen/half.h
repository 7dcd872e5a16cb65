/* IEEE binary16, as float32 rounds to it: to the nearest, ties to even. Integers alone, so that loops of it vectorise and
   no mode of the processor (subnormal numbers as 0) changes it; numbers beyond its range become infinite. */
FUNCTION uint16_t half_of(float x) {
#if defined(__CUDA_ARCH__)
    uint16_t half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(x));
    return half;
#else
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
    const uint32_t normal = (size - 0x38000000u + 0xfffu + ((size >> 13) & 1u)) >> 13;
    /* subnormal: a whole number of 2^-24; from 2^-25 on, as what is smaller is 0 */
    const uint32_t exponent = size >> 23, away = 126u - exponent, shift = away > 24u ? 25u : away;
    const uint32_t digits = (size & 0x7fffffu) | 0x800000u;
    const uint32_t tiny = (digits + (1u << ((shift - 1u) & 31u)) - 1u + ((digits >> (shift & 31u)) & 1u)) >> (shift & 31u);
    const uint32_t finite = size < 0x38800000u ? (exponent < 101u ? 0u : tiny) : normal;
    return (uint16_t)(sign | (size >= 0x477ff000u ? 0x7c00u : finite));
#endif
}

FUNCTION float float_of(uint16_t half) {
    float x;
#if defined(__CUDA_ARCH__)
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(half));
#else
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, size = half & 0x7fffu;
    const float tiny = (float)(int32_t)size * 0x1p-24f; /* a subnormal half is a normal float */
    uint32_t bits = (size << 13) + 0x38000000u, small;
    memcpy(&small, &tiny, sizeof small);
    bits = (size < 0x400u ? small : bits) | sign;
    memcpy(&x, &bits, sizeof x);
#endif
    return x;
}
