// What augmentation does to every event, compiled: the same results, bit for bit, as the NumPy code of data/augment/steps.py
// and data/augment/counter.py, which runs where no compiler is found. Sample b of a batch is the n[b] events from start[b] on.
#include <algorithm>
#include <cstdint>
#include <cstring>

typedef int64_t i64;
typedef uint64_t u64;

static const u64 GOLDEN = 0x9E3779B97F4A7C15ull;

// upper 53 bits of SplitMix64 of event i (from 1) of the sample with this key; times 2^-53 a number in [0, 1)
static inline u64 bits(u64 key, u64 i) {
    u64 x = key + i * GOLDEN;
    x ^= x >> 30; x *= 0xBF58476D1CE4E5B9ull;
    x ^= x >> 27; x *= 0x94D049BB133111EBull;
    x ^= x >> 31;
    return x >> 11;
}

static inline double unit(u64 key, u64 i) { return double(i64(bits(key, i))) * 0x1p-53; }

static const i64 BLOCK = 256;  // events whose fate is settled together, without branches: the compiler makes vectors of it

extern "C" {

// Moves sample b by shift_time[b], shift_channel[b]; keeps what lies in [t_first, t_end) after the move, on an existing
// channel, with probability keep[b] 2^-53 (key[b]; no numbers are drawn without keys). out_offsets: n_samples + 1.
void select_events(const double* __restrict times, const int32_t* __restrict channels, const i64* start, const i64* n,
            i64 n_samples, const double* shift_time, const int32_t* shift_channel, const u64* key, const u64* keep,
            double t_first, double t_end, i64 n_channels, double* __restrict out_times,
            int32_t* __restrict out_channels, i64* out_offsets) {
    u64 kept[BLOCK];
    i64 k = 0;
    out_offsets[0] = 0;
    for (i64 b = 0; b < n_samples; ++b) {
        const double by = shift_time[b];
        const i64 up = shift_channel[b];
        for (i64 first = 0; first < n[b]; first += BLOCK) {
            const double* t = times + start[b] + first;
            const int32_t* c = channels + start[b] + first;
            const i64 m = n[b] - first < BLOCK ? n[b] - first : BLOCK;
            for (i64 i = 0; i < m; ++i) {
                const i64 channel = i64(c[i]) + up;
                kept[i] = u64((channel >= 0) & (channel < n_channels) & (t[i] + by >= t_first) & (t[i] + by < t_end));
            }
            if (key != nullptr)
                for (i64 i = 0; i < m; ++i) kept[i] &= u64(bits(key[b], u64(first + i) + 1) < keep[b]);
            for (i64 i = 0; i < m; ++i) {
                out_times[k] = t[i] + by;  // overwritten by the next event unless this one stays: no branch
                out_channels[k] = int32_t(i64(c[i]) + up);
                k += i64(kept[i]);
            }
        }
        out_offsets[b + 1] = k;
    }
}

// Random whole moves of the channel: the move is first + j, j the first of `levels` cumulative probabilities above the
// random number. guide[floor(16384 u)] is where to begin to look.
void jitter(const double* times, const int32_t* channels, const i64* start, const i64* n, i64 n_samples,
            const u64* key, const double* cumulative, i64 levels, const int32_t* guide, i64 first, i64 n_channels,
            double* out_times, int32_t* out_channels, i64* out_offsets) {
    double u[BLOCK];
    i64 k = 0;
    out_offsets[0] = 0;
    for (i64 b = 0; b < n_samples; ++b) {
        for (i64 start_of_block = 0; start_of_block < n[b]; start_of_block += BLOCK) {
            const double* t = times + start[b] + start_of_block;
            const int32_t* c = channels + start[b] + start_of_block;
            const i64 m = n[b] - start_of_block < BLOCK ? n[b] - start_of_block : BLOCK;
            for (i64 i = 0; i < m; ++i) u[i] = unit(key[b], u64(start_of_block + i) + 1);
            for (i64 i = 0; i < m; ++i) {
                i64 j = guide[int32_t(u[i] * 16384.0)];
                while (j < levels && cumulative[j] <= u[i]) ++j;
                const i64 channel = i64(c[i]) + first + j;
                out_times[k] = t[i];
                out_channels[k] = int32_t(channel);
                k += i64((channel >= 0) & (channel < n_channels));
            }
        }
        out_offsets[b + 1] = k;
    }
}

// Sums of times and of channels of every sample, in order (as numpy.bincount adds).
void sums(const double* times, const int32_t* channels, const i64* start, const i64* n, i64 n_samples,
          double* sum_time, double* sum_channel) {
    for (i64 b = 0; b < n_samples; ++b) {
        double t = 0.0;
        i64 c = 0;  // exact, like the sum of whole numbers in float64
        for (i64 i = start[b]; i < start[b] + n[b]; ++i) { t += times[i]; c += channels[i]; }
        sum_time[b] = t;
        sum_channel[b] = double(c);
    }
}

// Merges two ordered lists of events in order of time; of equal times those of the first list come first.
static void merge(const double* t0, const int32_t* c0, i64 n0, const double* t1, const int32_t* c1, i64 n1,
                  double* out_times, int32_t* out_channels) {
    i64 i = 0, j = 0, k = 0;
    while (i < n0 && j < n1) {
        const bool second = t1[j] < t0[i];
        out_times[k] = second ? t1[j] : t0[i];
        out_channels[k++] = second ? c1[j] : c0[i];
        j += second;
        i += !second;
    }
    std::copy(t0 + i, t0 + n0, out_times + k);
    std::copy(c0 + i, c0 + n0, out_channels + k);
    std::copy(t1 + j, t1 + n1, out_times + k + n0 - i);
    std::copy(c1 + j, c1 + n1, out_channels + k + n0 - i);
}

// Blends two recordings of each sample: each moved and thinned as `select_events` does it with times from t_first on, then
// merged; where n1 is negative, the first recording as it is. scratch_times and scratch_channels: twice the events of
// the longest recording; they stay in the processor's cache.
void blend(const double* times, const int32_t* channels, const i64* start0, const i64* n0, const double* shift_time0,
           const int32_t* shift_channel0, const u64* key0, const u64* keep0, const i64* start1, const i64* n1,
           const double* shift_time1, const int32_t* shift_channel1, const u64* key1, const u64* keep1, i64 n_samples,
           double t_first, double t_end, i64 n_channels, i64 longest, double* scratch_times, int32_t* scratch_channels,
           double* out_times, int32_t* out_channels, i64* out_offsets) {
    i64 k = 0, a[2], b[2];
    out_offsets[0] = 0;
    for (i64 s = 0; s < n_samples; ++s) {
        if (n1[s] < 0) {
            std::memcpy(out_times + k, times + start0[s], size_t(n0[s]) * sizeof(double));
            std::memcpy(out_channels + k, channels + start0[s], size_t(n0[s]) * sizeof(int32_t));
            k += n0[s];
        } else {
            double* t1 = scratch_times + longest;
            int32_t* c1 = scratch_channels + longest;
            select_events(times, channels, start0 + s, n0 + s, 1, shift_time0 + s, shift_channel0 + s, key0 + s,
                          keep0 + s, t_first, t_end, n_channels, scratch_times, scratch_channels, a);
            select_events(times, channels, start1 + s, n1 + s, 1, shift_time1 + s, shift_channel1 + s, key1 + s,
                          keep1 + s, t_first, t_end, n_channels, t1, c1, b);
            merge(scratch_times, scratch_channels, a[1], t1, c1, b[1], out_times + k, out_channels + k);
            k += a[1] + b[1];
        }
        out_offsets[s + 1] = k;
    }
}

// steps[i] = min(floor(t / dt + shift), last), for times that are not negative; returns how many were beyond `last`.
i64 to_steps(const double* __restrict times, i64 n, double dt, double shift, int32_t last, int32_t* __restrict steps) {
    int32_t beyond[16] = {0};
    for (i64 first = 0; first < n; first += 16) {
        const i64 m = n - first < 16 ? n - first : 16;
        for (i64 i = 0; i < m; ++i) {
            const double at = times[first + i] / dt + shift;
            beyond[i] += at >= last + 1.0;
            steps[first + i] = at >= last + 1.0 ? last : int32_t(at);
        }
    }
    i64 total = 0;
    for (i64 i = 0; i < 16; ++i) total += beyond[i];
    return total;
}

// Moves times to step * dt; without duplicates only the first event of a channel in a step stays. last: n_channels
// entries, whatever they hold.
void bin(const double* times, const int32_t* channels, const i64* start, const i64* n, i64 n_samples, double dt,
         i64 n_channels, double* last, double* out_times, int32_t* out_channels, i64* out_offsets) {
    i64 k = 0;
    out_offsets[0] = 0;
    for (i64 b = 0; b < n_samples; ++b) {
        for (i64 c = 0; c < n_channels; ++c) last[c] = -1.0;
        for (i64 i = start[b]; i < start[b] + n[b]; ++i) {
            const double step = double(i64(times[i] / dt + 0.5));  // floor: times are not negative
            const int32_t c = channels[i];
            out_times[k] = step * dt;
            out_channels[k] = c;
            k += last[c] != step;
            last[c] = step;
        }
        out_offsets[b + 1] = k;
    }
}

// Every event `lines` times, copy j later by shift[j] and n_channels * j channels higher, in order of time; of equal
// times the copy of the smaller j comes first. bucket: n_buckets + 1 entries of scratch.
void delay_line(const double* times, const int32_t* channels, const i64* start, const i64* n, i64 n_samples,
                i64 lines, const double* shift, i64 n_channels, i64 n_buckets, i64* bucket, double* out_times,
                int32_t* out_channels) {
    for (i64 b = 0; b < n_samples; ++b) {
        const double* t = times + start[b];
        const int32_t* c = channels + start[b];
        const i64 m = n[b];
        if (m == 0) continue;
        // buckets of time, so fine that a few events share one: counted, filled copy by copy, then put in order
        const double span = t[m - 1] + shift[lines - 1];
        const double scale = span > 0.0 ? double(n_buckets - 1) / span : 0.0;
        std::memset(bucket, 0, size_t(n_buckets + 1) * sizeof(i64));
        for (i64 j = 0; j < lines; ++j)
            for (i64 i = 0; i < m; ++i) ++bucket[i64((t[i] + shift[j]) * scale) + 1];
        for (i64 q = 0; q < n_buckets; ++q) bucket[q + 1] += bucket[q];
        for (i64 j = 0; j < lines; ++j) {
            for (i64 i = 0; i < m; ++i) {
                const double moved = t[i] + shift[j];
                const i64 k = bucket[i64(moved * scale)]++;
                out_times[k] = moved;
                out_channels[k] = c[i] + int32_t(n_channels * j);
            }
        }
        for (i64 k = 1; k < m * lines; ++k) {  // stable insertion: nearly in order already
            const double x = out_times[k];
            const int32_t y = out_channels[k];
            i64 l = k;
            for (; l > 0 && out_times[l - 1] > x; --l) {
                out_times[l] = out_times[l - 1];
                out_channels[l] = out_channels[l - 1];
            }
            out_times[l] = x;
            out_channels[l] = y;
        }
        out_times += m * lines;
        out_channels += m * lines;
    }
}
}
