// What every generated file needs; `real` is float or double, a block of a trial has THREADS threads. Compiled by NVRTC: no headers of
// the host.
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

// No step of a trial.
#define NEVER 0x7fffffff

// For each lane, the sum over the lanes up to it.
__device__ inline int warp_scan(int value) {
    for (int offset = 1; offset < 32; offset *= 2) {
        const int before = __shfl_up_sync(EVERY, value, offset);
        if ((int)threadIdx.x % 32 >= offset) value += before;
    }
    return value;
}

// Whose of 32 lanes number k is, where the lanes up to each have `last` numbers together.
__device__ inline int sample_of(int last, int k) {
    int whose = 0;
    for (int half = 16; half > 0; half /= 2)
        if (__shfl_sync(EVERY, last, whose + half - 1) <= k) whose += half;
    return whose;
}

// Calls f(neuron, number) for the neurons of a thread, of N; unrolled, since arrays of a thread are registers only where every index is
// known to the compiler.
template <int N, class F> __device__ inline void each_neuron(F f) {
    constexpr int slots = (N + THREADS - 1) / THREADS;
#pragma unroll
    for (int i = 0; i < slots; ++i)
        if (const int32_t neuron = threadIdx.x + i * THREADS; N % THREADS == 0 || i < slots - 1 || neuron < N) f(neuron, i);
}

// Notes in the struct `Trial` that number `place` of its gradients is not finite.
template <class T> __device__ inline void note_unfinite(const T *t, int place, real total) {
    if (total - total != 0) atomicMax(t->unfinite + place, 1);
}

// The sum over a warp, always in the same order; valid in lane 0.
template <class T> __device__ inline T warp_sum(T value) {
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(EVERY, value, offset);
    return value;
}

// Number w of a gradient: the sum over the samples in their order, `adding` to that of the previous group of samples. add(sample, total): what a
// sample adds; several go through the samples one after the other.
template <class T, class G, class... Add> __device__ inline real sum_samples(const T *t, const G &gradient, int64_t w, Add... add) {
    real total = t->adding ? gradient[w] : (real)0;
    const auto each = [&](auto of_sample) {
#pragma unroll 8  // loads that do not wait for each other
        for (int64_t sample = 0; sample < t->batch; ++sample) of_sample(sample, total);
    };
    (each(add), ...);
    gradient[w] = total;
    return total;
}
