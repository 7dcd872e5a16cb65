// Taylor series of eight neurons side by side: the recurrences that program/taylor.py names. Everything is in double precision,
// whatever `scalar` is.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace {

constexpr int TERMS = DEGREE + 2;  // room for coefficient `order` + 1

#if defined(ONE_LANE)  // a device
constexpr int SIDE = 1;
typedef One<double> octet;
#else
constexpr int SIDE = 8;  // neurons side by side
#if defined(__AVX__) && !defined(__AVX512F__)
// Of two registers: a vector that is wider than those of the machine GCC keeps in memory, and loads and stores it in every operation.
struct octet {
    typedef double half __attribute__((vector_size(32)));
    half a, b;
    double& operator[](int l) { return reinterpret_cast<double*>(this)[l]; }
    double operator[](int l) const { return reinterpret_cast<const double*>(this)[l]; }
    octet operator-() const { return {-a, -b}; }
    octet operator+() const { return *this; }
#define OPERATOR(o)                                                                               \
    friend octet operator o(const octet& u, const octet& v) { return {u.a o v.a, u.b o v.b}; }    \
    friend octet operator o(const octet& u, double v) { return {u.a o v, u.b o v}; }              \
    friend octet operator o(double u, const octet& v) { return {u o v.a, u o v.b}; }              \
    octet& operator o##=(const octet& v) { return *this = *this o v; }                            \
    octet& operator o##=(double v) { return *this = *this o v; }
    OPERATOR(+) OPERATOR(-) OPERATOR(*) OPERATOR(/)
#undef OPERATOR
};
inline octet larger(const octet& u, const octet& v) { return {u.a > v.a ? u.a : v.a, u.b > v.b ? u.b : v.b}; }
#else
typedef double octet __attribute__((vector_size(64)));
inline octet larger(octet u, octet v) { return u > v ? u : v; }
#endif
#endif

#define LANEWISE(f)                                       \
    inline octet lanes_##f(octet u) {                     \
        octet z;                                          \
        for (int l = 0; l < SIDE; ++l) z[l] = std::f(u[l]); \
        return z;                                         \
    }
LANEWISE(exp) LANEWISE(log) LANEWISE(sin) LANEWISE(cos) LANEWISE(sinh) LANEWISE(cosh) LANEWISE(tan) LANEWISE(tanh) LANEWISE(sqrt)
LANEWISE(fabs) LANEWISE(cbrt)
inline octet power_of(const double* u, const double* a) {
    octet z;
    for (int l = 0; l < SIDE; ++l) z[l] = std::pow(u[l], a[l]);
    return z;
}
inline octet lanes_pow(octet u, octet a) { return power_of(reinterpret_cast<double*>(&u), reinterpret_cast<double*>(&a)); }
inline octet lanes_pow(octet u, double a) { return lanes_pow(u, octet{} + a); }
// Of constants, as the printer of C writes them.
using std::cbrt, std::pow, std::sqrt;
template <typename A>
inline octet pow(octet u, A a) {
    return lanes_pow(u, a);
}
inline octet sqrt(octet u) { return lanes_sqrt(u); }
inline octet cbrt(octet u) { return lanes_cbrt(u); }

constexpr double NUMBER[TERMS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21};

// Coefficient k of u v.
inline octet product(const octet* u, const octet* v, int k) {
    octet a = u[0] * v[k], b = {};
    int j = 1;
    for (; j < k; j += 2) a += u[j] * v[k - j], b += u[j + 1] * v[k - j - 1];
    if (j == k) a += u[k] * v[0];
    return a + b;
}
// Of z = u / v, and of z = c / v, from the coefficients of z below k.
inline octet remainder(const octet* v, const octet* z, int k) {
    octet a = v[k] * z[0];
    for (int j = 1; j < k; ++j) a += v[j] * z[k - j];
    return a;
}
inline octet quotient(const octet* u, const octet* v, const octet* z, int k) { return (u[k] - remainder(v, z, k)) / v[0]; }
inline octet reciprocal(const octet* v, const octet* z, int k) { return -remainder(v, z, k) / v[0]; }
// Of z where dz = d du: k z_k = sum over j >= 1 of j u_j d_(k-j). For exp d is z itself.
inline octet chain(const octet* u, const octet* d, int k) {
    octet a = NUMBER[k] * u[k] * d[0], b = {};
    int j = 1;
    for (; j + 1 < k; j += 2) a += NUMBER[j] * u[j] * d[k - j], b += NUMBER[j + 1] * u[j + 1] * d[k - j - 1];
    if (j < k) a += NUMBER[j] * u[j] * d[k - j];
    return (a + b) * INVERSE[k];
}
// Of phi1(u) = (e^u - 1) / u and its derivatives, z[m] = int_0^1 t^m e^(t u) dt for m <= order + MOMENTS - 1, so that those of the
// first MOMENTS come to all orders: dz[m] = z[m + 1] du.
constexpr int MOMENTS = 3;
// The recurrence u z[m + 1] + (m + 1) z[m] = e^u, in the direction in which it forgets errors: up while m < u, else down; up below -36,
// where e^u is rounding beside the others.
inline void moments_at(double u, double* z, int last) {
    const double e = std::exp(u);
    const int up = u < -36 || u > last ? last : u > 0 ? int(u) : -1;
    if (up >= 0) z[0] = u == 0 ? 1.0 : std::expm1(u) / u;
    for (int m = 1; m <= up; ++m) z[m] = (e - m * z[m - 1]) / u;
    double next = 0;
    for (int m = last + 20 + 2 * int(std::fmin(std::fabs(u), 36.0)); m > up; --m) {
        next = (e - u * next) / (m + 1);
        if (m <= last) z[m] = next;
    }
}
inline void moments_of_0(octet u, octet (*z)[TERMS], int order) {
    double each[TERMS + MOMENTS];
    for (int l = 0; l < SIDE; ++l) {
        moments_at(u[l], each, order + MOMENTS - 1);
        for (int m = 0; m < order + MOMENTS; ++m) z[m][0][l] = each[m];
    }
}
inline void moments(const octet* u, octet (*z)[TERMS], int k, int order) {
    for (int m = order + MOMENTS - 1 - k; m >= 0; --m) z[m][k] = chain(u, z[m + 1], k);
}
template <int m>
inline octet lanes_moment(octet u) {
    double each[MOMENTS];
    for (int l = 0; l < SIDE; ++l) moments_at(u[l], each, MOMENTS - 1), u[l] = each[m];
    return u;
}
inline octet lanes_phi1(octet u) { return lanes_moment<0>(u); }
inline octet lanes_phi1_slope(octet u) { return lanes_moment<1>(u); }
inline octet lanes_phi1_bend(octet u) { return lanes_moment<2>(u); }
// Of z = log u: u dz = du.
inline octet logarithm(const octet* u, const octet* z, int k) {
    octet a = {};
    for (int j = 1; j < k; ++j) a += NUMBER[j] * z[j] * u[k - j];
    return (u[k] - a * INVERSE[k]) / u[0];
}
// Of z = u^a: u dz = a z du.
template <typename A>
inline octet power(const octet* u, const octet* z, A a, int k) {
    octet sum = {};
    for (int j = 1; j <= k; ++j) sum += (a * NUMBER[j] - NUMBER[k - j]) * u[j] * z[k - j];
    return sum * INVERSE[k] / u[0];
}

inline octet to_power(octet h, int k) {
    octet power = k & 1 ? h : octet{} + 1.0;
    for (k >>= 1; k; k >>= 1) {
        h *= h;
        if (k & 1) power *= h;
    }
    return power;
}
// sum over k <= m of c_k s^k.
inline octet value_at(const octet* c, int m, octet s) {
    octet v = c[m];
    for (int k = m - 1; k >= 0; --k) v = v * s + c[k];
    return v;
}
// The same of one lane.
inline double value_in(const octet* c, int lane, int m, double s) {
    double v = c[m][lane];
    for (int k = m - 1; k >= 0; --k) v = v * s + c[k][lane];
    return v;
}

}  // namespace
