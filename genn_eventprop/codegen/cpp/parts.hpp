// The part of a weight that counts in a sum, or a power of it.

namespace {

// What counts of a weight: all of it, only what is above (below) zero, else zero, or a power of it.
enum Part { ALL, POSITIVE, NEGATIVE, SQUARE, CUBE, FOURTH };
template <Part P, class W>
inline W power_of(W w) {
    return P == SQUARE ? w * w : P == CUBE ? w * w * w : w * w * (w * w);
}
template <Part P>
inline scalar part_of(scalar w) {
    if constexpr (P > NEGATIVE) return power_of<P>(w);
    return P == ALL || (P == POSITIVE ? w > 0 : w < 0) ? w : scalar(0);
}
template <Part P, class V>
inline V part_of(V w) {  // V: some numbers in a register
    if constexpr (P > NEGATIVE) return power_of<P>(w);
    return P == ALL ? w : P == POSITIVE ? (w > 0 ? w : V{}) : (w < 0 ? w : V{});
}

}  // namespace
