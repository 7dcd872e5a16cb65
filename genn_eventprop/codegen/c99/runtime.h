/* What every generated file needs. `real` is float or double. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <tgmath.h>

/* Index of the lowest bit that is set. */
static inline int32_t lowest(uint32_t bits) {
    int32_t n = 0;
    while (!(bits & 1u)) {
        bits >>= 1;
        ++n;
    }
    return n;
}
