// What every generated file needs; `real` is float or double. Compiled by NVRTC: no headers of the host.
typedef int int32_t;
typedef unsigned int uint32_t;
typedef unsigned short uint16_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;

#define EVERY 0xffffffffu
#define INFINITE __longlong_as_double(0x7ff0000000000000ll)
#define NOT_A_NUMBER __longlong_as_double(0x7ff8000000000000ll)
#ifndef SHARED  // an array in shared memory; replaced by one that checks for races when the code runs on a CPU
#define SHARED(T) T *const
#define SHARE(T, place, count) (T *)(place)
#endif

// Index of the lowest bit that is set.
__device__ inline int32_t lowest(uint32_t bits) { return __ffs(bits) - 1; }

// The sum over a warp, always in the same order; valid in lane 0.
template <class T> __device__ inline T warp_sum(T value) {
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(EVERY, value, offset);
    return value;
}
