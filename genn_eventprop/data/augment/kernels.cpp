// What augmentation does to every event, compiled: the same results, bit for bit, as the NumPy code of data/augment/steps.py
// and data/augment/counter.py, which runs where no compiler is found. Sample b of a batch is the n[b] events from start[b] on.
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

static const i64 PARTS = 2;  // of a merge, side by side

static inline u64 bits_of(const double* t) {
    u64 x;
    std::memcpy(&x, t, sizeof x);
    return x;
}

static i64 first_not_before(const double* t, i64 low, i64 high, double time) {
    while (low < high) {
        const i64 middle = (low + high) / 2;
        if (t[middle] < time) low = middle + 1;
        else high = middle;
    }
    return low;
}

extern "C" {

// The events of n_samples samples in one: copied where they lie.
void gather(const double* times, const int32_t* channels, const i64* start, const i64* n, i64 n_samples,
            double* out_times, int32_t* out_channels) {
    for (i64 b = 0; b < n_samples; ++b) {
        std::memcpy(out_times, times + start[b], size_t(n[b]) * sizeof(double));
        std::memcpy(out_channels, channels + start[b], size_t(n[b]) * sizeof(int32_t));
        out_times += n[b];
        out_channels += n[b];
    }
}

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
        const double by = shift_time[b] + 0.0;  // no -0.0: merge compares bits
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

// Merges two ordered lists of each sample in order of time; of equal times those of the first list come first.
static void merge(const double* t0, const int32_t* c0, const i64* o0, const double* t1, const int32_t* c1,
                  const i64* o1, i64 n_samples, double* out_times, int32_t* out_channels, i64* out_offsets) {
    out_offsets[0] = 0;
    for (i64 b = 0; b < n_samples; ++b) {
        out_offsets[b + 1] = o0[b + 1] + o1[b + 1];
        i64 i[PARTS], j[PARTS], i_end[PARTS], j_end[PARTS], k[PARTS];
        for (i64 p = 0; p < PARTS; ++p) {
            i[p] = o0[b] + (o0[b + 1] - o0[b]) * p / PARTS;
            j[p] = p == 0 ? o1[b] : first_not_before(t1, o1[b], o1[b + 1], i[p] < o0[b + 1] ? t0[i[p]] : 0.0);
            if (i[p] == o0[b + 1]) j[p] = p == 0 ? o1[b] : o1[b + 1];
            k[p] = i[p] + j[p];
        }
        for (i64 p = 0; p < PARTS; ++p) {
            i_end[p] = p + 1 < PARTS ? i[p + 1] : o0[b + 1];
            j_end[p] = p + 1 < PARTS ? j[p + 1] : o1[b + 1];
        }
        // a step waits for the comparison of the step before: several parts at once keep the processor busy
        for (;;) {
            i64 rounds = i_end[0] - i[0];
            for (i64 p = 0; p < PARTS; ++p) {
                if (i_end[p] - i[p] < rounds) rounds = i_end[p] - i[p];
                if (j_end[p] - j[p] < rounds) rounds = j_end[p] - j[p];
            }
            if (rounds <= 0) break;
            for (i64 r = 0; r < rounds; ++r) {
                for (i64 p = 0; p < PARTS; ++p) {
                    const u64 x = bits_of(t0 + i[p]), y = bits_of(t1 + j[p]);  // as whole numbers times >= 0 order alike
                    const u64 second = u64(0) - u64(y < x);
                    const int32_t c = c0[i[p]];
                    const u64 time = x ^ ((x ^ y) & second);
                    std::memcpy(out_times + k[p], &time, sizeof time);
                    out_channels[k[p]++] = c ^ ((c ^ c1[j[p]]) & int32_t(second));
                    j[p] -= i64(second);
                    i[p] += 1 + i64(second);
                }
            }
        }
        for (i64 p = 0; p < PARTS; ++p) {
            while (i[p] < i_end[p] && j[p] < j_end[p]) {
                const bool second = t1[j[p]] < t0[i[p]];
                out_times[k[p]] = second ? t1[j[p]] : t0[i[p]];
                out_channels[k[p]++] = second ? c1[j[p]] : c0[i[p]];
                j[p] += second;
                i[p] += !second;
            }
            for (; i[p] < i_end[p]; ++i[p]) { out_times[k[p]] = t0[i[p]]; out_channels[k[p]++] = c0[i[p]]; }
            for (; j[p] < j_end[p]; ++j[p]) { out_times[k[p]] = t1[j[p]]; out_channels[k[p]++] = c1[j[p]]; }
        }
    }
}

// Blends two recordings of each sample: each moved and thinned as `select_events` does it with times from t_first on, then
// merged; where n1 is negative, the first recording as it is. scratch_times and scratch_channels: twice the events of
// the longest recording; they stay in the processor's cache.
void blend(const double* times, const int32_t* channels, const i64* start0, const i64* n0, const double* shift_time0,
           const int32_t* shift_channel0, const u64* key0, const u64* keep0, const i64* start1, const i64* n1,
           const double* shift_time1, const int32_t* shift_channel1, const u64* key1, const u64* keep1, i64 n_samples,
           double t_first, double t_end, i64 n_channels, i64 longest, double* scratch_times, int32_t* scratch_channels,
           double* out_times, int32_t* out_channels, i64* out_offsets) {
    i64 k = 0, a[2], b[2], c[2];
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
            merge(scratch_times, scratch_channels, a, t1, c1, b, 1, out_times + k, out_channels + k, c);
            k += c[1];
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
