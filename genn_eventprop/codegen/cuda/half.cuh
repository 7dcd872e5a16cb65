// Weights as float16, of which kernels read a copy that this makes of their masters.

typedef uint16_t Half;

// Rounds the `count` weights of a connection, and notes the size of the largest one, as the bits of a float. Each of `threads` takes two
// side by side, so that no two threads write to one word; other kernels only read them.
template <class Masters, class Largest>
__device__ inline void round_rows(const Masters &masters, Half *rows, int64_t count, Largest of_all, int64_t thread, int64_t threads) {
    int largest = 0;
    for (int64_t k = 2 * thread; k < count; k += 2 * threads)
        for (int64_t at = k; at < k + 2 && at < count; ++at) {
            const float weight = masters[at];
            rows[at] = half_of(weight);
            const int size = __float_as_int(weight < 0 ? -weight : weight);
            largest = size > largest ? size : largest;
        }
    if (largest > 0) atomicMax(of_all, largest);
}
