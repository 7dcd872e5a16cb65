/* (e^x - 1) / x and its derivatives; modelling/removable.py */
FUNCTION real phi1(real x) { return x == 0 ? 1 : expm1(x) / x; }

FUNCTION real phi1_slope(real x) {
    if (fabs(x) >= (real)0.5) return (exp(x) - phi1(x)) / x;
    real sum = 0, term = 1;
    for (int k = 1; k < 18; ++k) { /* sum_k k x^(k - 1) / (k + 1)! */
        term /= (real)(k + 1);
        sum += (real)k * term;
        term *= x;
    }
    return sum;
}

FUNCTION real phi1_bend(real x) {
    if (fabs(x) >= (real)0.5) return (exp(x) - 2 * phi1_slope(x)) / x;
    real sum = 0, term = 1;
    for (int k = 0; k < 18; ++k) { /* sum_k x^k / (k! (k + 3)) */
        sum += term / (real)(k + 3);
        term *= x / (real)(k + 1);
    }
    return sum;
}

/* The part of a weight that counts in a sum over one sign; its powers; program/operations.py */
FUNCTION real part_all(real w) { return w; }
FUNCTION real part_positive(real w) { return w > 0 ? w : 0; }
FUNCTION real part_negative(real w) { return w < 0 ? w : 0; }
FUNCTION real part_square(real w) { return w * w; }
FUNCTION real part_cube(real w) { return w * w * w; }
FUNCTION real part_fourth(real w) { return w * w * (w * w); }
