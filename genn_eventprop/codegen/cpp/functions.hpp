// Mathematical functions without branches or calls, so that g++ and clang can vectorise loops over them. Errors are a few
// units in the last place. exp is clamped to the range of `scalar`: it returns neither infinity nor 0.

namespace {

using std::pow;
using std::sqrt;

template <typename To, typename From>
inline To same_bits(From x) {
    To y;
    std::memcpy(&y, &x, sizeof y);
    return y;
}

constexpr bool SINGLE = sizeof(scalar) == 4;
typedef std::conditional<SINGLE, uint32_t, uint64_t>::type bits_t;
constexpr scalar ROUND = scalar(SINGLE ? 12582912.0 : 6755399441055744.0);  // adding it rounds to an integer
constexpr int MANTISSA = SINGLE ? 23 : 52;
constexpr bits_t ONE = SINGLE ? bits_t(0x3f800000) : bits_t(0x3ff0000000000000);

// condition ? a : b by bit masks: if a or b is a constant, g++ compiles the operator to a branch and does not vectorise.
inline scalar pick(bool condition, scalar a, scalar b) {
    const bits_t mask = bits_t(0) - bits_t(condition);
    return same_bits<scalar>(bits_t((same_bits<bits_t>(a) & mask) | (same_bits<bits_t>(b) & ~mask)));
}

// Polynomial sum_k c[k] x^k.
template <int N>
inline scalar horner(scalar x, const double (&c)[N]) {
    scalar y = scalar(c[N - 1]);
#pragma GCC unroll 20
    for (int k = N - 2; k >= 0; --k) y = y * x + scalar(c[k]);
    return y;
}

// Splits x = n log 2 + r and forms 2^n. x is clamped first, so n fits the exponent.
struct Reduced {
    scalar r, scale;
};
inline Reduced reduced(scalar x) {
    const scalar low = scalar(SINGLE ? -87.0 : -708.0), high = scalar(SINGLE ? 88.0 : 709.0);
    x = x < low ? low : x;  // one instruction each; NaN is kept
    x = x > high ? high : x;
    const scalar z = x * scalar(1.4426950408889634074) + ROUND, n = z - ROUND;
    const scalar r = (x - n * scalar(SINGLE ? 0.693359375 : 6.93145751953125e-1)) -
                     n * scalar(SINGLE ? -2.12194440054690583e-4 : 1.42860682030941723212e-6);
    return {r, same_bits<scalar>(bits_t((same_bits<bits_t>(z) << MANTISSA) + ONE))};
}
// int_0^1 s^m e^(s x) ds, the m-th derivative of phi1, for |x| < 1/2 by its power series: sum_k x^k / (k! (k + m + 1)).
template <int m, int N>
struct MomentSeries {
    double c[N] = {};
    constexpr MomentSeries() {
        double factorial = 1;
        for (int k = 0; k < N; factorial *= ++k) c[k] = 1 / (factorial * (k + m + 1));
    }
};
template <int m>
inline scalar near_moment(scalar x) {
    constexpr MomentSeries<m, SINGLE ? 8 : 14> series;
    return horner(x, series.c);
}
// (e^r - 1) / r for |r| <= log 2 / 2, accurate to rounding: a Chebyshev polynomial (error 1e-8) or the power series.
inline scalar near_phi1(scalar r) {
    if constexpr (SINGLE) {
        constexpr double c[] = {1.000000011, 0.5000000047, 0.1666650518, 0.04166635276, 0.008369156452, 0.00139411189};
        return horner(r, c);
    } else {
        return near_moment<0>(r);
    }
}
inline scalar fn_exp(scalar x) {
    const Reduced k = reduced(x);
    return (k.r * near_phi1(k.r) + scalar(1)) * k.scale;
}
// (e^x - 1) / x from e^x - 1 = 2^n (e^r - 1) + (2^n - 1), which is accurate near 0.
inline scalar fn_phi1(scalar x) {
    const Reduced k = reduced(x);
    const scalar y = k.scale * (k.r * near_phi1(k.r)) + (k.scale - scalar(1));
    return pick(x == 0, scalar(1), y / pick(x == 0, scalar(1), x));
}
// Moment m from that before it, (e^x - m before) / x; by the series where that would lose digits.
template <int m>
inline scalar next_moment(scalar x, scalar before) {
    const bool small = x < scalar(0.5) && x > scalar(-0.5);
    return pick(small, near_moment<m>(x), (fn_exp(x) - scalar(m) * before) / pick(small, scalar(1), x));
}
inline scalar fn_phi1_slope(scalar x) { return next_moment<1>(x, fn_phi1(x)); }
inline scalar fn_phi1_bend(scalar x) { return next_moment<2>(x, fn_phi1_slope(x)); }

// log of m 2^n, m in [sqrt(1/2), sqrt(2)): 2 artanh((m - 1) / (m + 1)) + n log 2. NaN below 0, -infinity at 0.
inline scalar fn_log(scalar x) {
    const bits_t u = same_bits<bits_t>(x), half = SINGLE ? bits_t(0x3f3504f3) : bits_t(0x3fe6a09e667f3bcd);
    const bits_t shifted = bits_t(u - half) >> MANTISSA;  // n modulo 2^(exponent bits)
    const bits_t n_bits = SINGLE ? bits_t(shifted << 23) : bits_t(shifted << 52);
    const scalar m = same_bits<scalar>(bits_t(u - n_bits));
    const bits_t half_range = SINGLE ? bits_t(256) : bits_t(2048);
    const bits_t biased = (shifted + half_range) & (2 * half_range - 1);
    const scalar n = scalar(int32_t(biased)) - scalar(int32_t(half_range));
    const scalar s = (m - scalar(1)) / (m + scalar(1));
    constexpr double c[] = {2.0, 2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11, 2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19,
                            2.0 / 21, 2.0 / 23};
    const scalar y = s * horner(s * s, c) + n * scalar(0.69314718055994530942);
    return x > 0 ? y : x == 0 ? -std::numeric_limits<scalar>::infinity() : std::numeric_limits<scalar>::quiet_NaN();
}

// sin(x + quarter pi / 2): reduces x modulo pi / 2 with three constants, then sums the series of sin r or cos r.
inline scalar sine(scalar x, bits_t quarter) {
    const scalar z = x * scalar(0.63661977236758134308) + ROUND, n = z - ROUND;
    const bits_t q = (same_bits<bits_t>(z) + quarter) & 3;
    scalar r = x - n * scalar(SINGLE ? 1.5703125 : 1.57079625129699707031);
    r = r - n * scalar(SINGLE ? 4.83751296997070e-4 : 7.54978941586159635336e-8);
    r = r - n * scalar(SINGLE ? 7.54978995489188e-8 : 5.39030285815811823e-15);
    constexpr double s[] = {1.0, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800.0,
                            -1.0 / 1307674368000.0, 1.0 / 355687428096000.0};
    constexpr double c[] = {1.0, -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600,
                            -1.0 / 87178291200.0, 1.0 / 20922789888000.0};
    const scalar r2 = r * r, odd = r * horner(r2, s), even = horner(r2, c);
    const scalar y = (q & 1) ? even : odd;
    return (q & 2) ? -y : y;
}
inline scalar fn_sin(scalar x) { return sine(x, 0); }
inline scalar fn_cos(scalar x) { return sine(x, 1); }
inline scalar fn_tan(scalar x) { return sine(x, 0) / sine(x, 1); }
inline scalar fn_abs(scalar x) { return x < 0 ? -x : x; }
inline scalar fn_sinh(scalar x) {
    const scalar a = fn_abs(x), e = a * fn_phi1(a), y = scalar(0.5) * (e + e / (e + scalar(1)));
    return x < 0 ? -y : y;
}
inline scalar fn_cosh(scalar x) {
    const scalar e = fn_exp(x);
    return scalar(0.5) * (e + scalar(1) / e);
}
inline scalar fn_tanh(scalar x) {
    const scalar a = scalar(-2) * fn_abs(x), e = a * fn_phi1(a), y = -e / (e + scalar(2));
    return x < 0 ? -y : y;
}

}  // namespace
