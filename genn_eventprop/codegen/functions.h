/* The part of a weight that counts in a sum over one sign; its powers; program/operations.py */
FUNCTION real part_all(real w) { return w; }
FUNCTION real part_positive(real w) { return w > 0 ? w : 0; }
FUNCTION real part_negative(real w) { return w < 0 ? w : 0; }
FUNCTION real part_square(real w) { return w * w; }
FUNCTION real part_cube(real w) { return w * w * w; }
FUNCTION real part_fourth(real w) { return w * w * (w * w); }
