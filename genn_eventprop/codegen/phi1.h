/* int_0^1 s^m e^(s x) ds by its power series, for |x| < 1/2: sum_k x^k / (k! (k + m + 1)) */
FUNCTION real moment_series(int m, real x) {
    real sum = 0, term = 1;
    for (int k = 0; k < 18; ++k) {
        sum += term / (real)(k + m + 1);
        term *= x / (real)(k + 1);
    }
    return sum;
}

/* (e^x - 1) / x and its derivatives, which by their closed forms would lose digits near 0; modelling/removable.py */
FUNCTION real phi1(real x) { return x == 0 ? 1 : expm1(x) / x; }
FUNCTION real phi1_slope(real x) { return fabs(x) < (real)0.5 ? moment_series(1, x) : (exp(x) - phi1(x)) / x; }
FUNCTION real phi1_bend(real x) { return fabs(x) < (real)0.5 ? moment_series(2, x) : (exp(x) - 2 * phi1_slope(x)) / x; }
