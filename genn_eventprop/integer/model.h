/*
 * $TITLE
 * Integers alone: no float, no malloc, no libm; C99. The state is $RAM bytes (RAM), tables are $FLASH bytes (flash).
 *
 *     model_reset();                        begins a trial
 *     model_step(spikes, count);            one step of $STEP_MS ms; spikes: input channels, rising, a channel twice for two spikes
 *     model_spikes(population);             spikes of its neurons in the last step, one number each: $POPULATIONS
 *     model_readout(readout);               readouts so far; returns the class, -1 if no output decides
 *     model_limited();                      how often a state was cut to its bits
 *
 * model_step returns 0, -1 after the last step, -2 for a channel that does not exist or does not rise.
 */
#include <stdint.h>

typedef $STATE state_t; /* of V, I and B */
typedef $ARRIVAL arrival_t; /* of what arrives in a step */
typedef $WIDE wide_t; /* of a state times its decay */
typedef $WEIGHT weight_t;

enum { NEAREST, DOWN, TO_ZERO, STOCHASTIC };
enum { INTEGRAL, END, MAXIMUM, FIRST_SPIKE, COUNT_OF_SPIKES };
enum {
    DECAY_BITS = $DECAY_BITS,
    SHIFTS = $SHIFTS, /* decays shift; otherwise they multiply */
    SUBTRACTS = $SUBTRACTS, /* a spike takes the threshold from V; otherwise V is set */
    EACH = $EACH, /* every arrival is limited by itself */
    WRAPS = $WRAPS, /* the current wraps; otherwise it saturates */
    MAX_INPUT = $MAX_INPUT, /* spikes of a channel in a step; 0: any */
    N_IN = $N_IN,
    N_NEURONS = $N_NEURONS,
    N_STEPS = $N_STEPS, /* 0: any */
    N_CONNECTIONS = $N_CONNECTIONS,
    N_POPULATIONS = $N_POPULATIONS,
    READ = $READ,       /* the population that is read, -1: none */
    K_OUT = $K_OUT
};
static const int64_t STATE_MAX = $STATE_MAX, STATE_MIN = $STATE_MIN;
static const uint32_t SEED = $SEED;
static const int ROUNDING = $ROUNDING, READS = $READS;

typedef struct {
    const int32_t *of;
    int32_t each; /* 1: a value for every neuron, 0: one for all */
} Values;

typedef struct {
    int32_t first, size, spiking, adaptive, max_spikes, slots, ring; /* first neuron, ..., where its ring begins */
    Values decay_V, decay_I, decay_B, threshold, reset, jump, start;
} Population;

typedef struct {
    int32_t source, first, pre, target, delay; /* source -1: input channels from `first` on */
    const weight_t *weight;
    Values gain;
    const uint16_t *delays;  /* of every synapse, or 0 */
    const int32_t *start;    /* of a table of synapses, or 0: dense */
    const $POST *post;
    const int32_t *weight_of;
} Connection;

typedef struct {
    int32_t step;
    uint32_t limited;
    state_t V[N_NEURONS], I[N_NEURONS], B[$N_ADAPTIVE];
    arrival_t ring[$N_RING];
    uint8_t spikes[N_NEURONS];
    int64_t readout[K_OUT];
} Model;

$TABLES
static Model model;

static int32_t value(Values v, int32_t i) { return v.of[i * v.each]; }

static state_t limit(Model *m, wide_t x) {
    if (x > (wide_t)STATE_MAX) return ++m->limited, (state_t)STATE_MAX;
    if (x < (wide_t)STATE_MIN) return ++m->limited, (state_t)STATE_MIN;
    return (state_t)x;
}

/* floor(x / 2^n): what >> of a negative number does is up to the compiler. */
static wide_t shifted(wide_t x, int32_t n) { return x < 0 ? ~(~x >> n) : x >> n; }

/* MurmurHash3's finaliser of seed, step, neuron and state. */
static uint32_t random_bits(uint32_t step, uint32_t neuron, uint32_t state) {
    uint32_t x = ((step * N_NEURONS + neuron) * 3u + state) * 0x9E3779B9u + SEED;
    x = (x ^ x >> 16) * 0x85EBCA6Bu;
    x = (x ^ x >> 13) * 0xC2B2AE35u;
    return x ^ x >> 16;
}

static wide_t decayed(const Model *m, wide_t x, int32_t decay, int32_t neuron, uint32_t state) {
    if (SHIFTS) {
        const wide_t change = shifted(x, decay);
        return x - (change ? change : (x > 0) - (x < 0));
    }
    const wide_t product = x * decay;
    if (ROUNDING == TO_ZERO) return product < 0 ? -(-product >> DECAY_BITS) : product >> DECAY_BITS;
    wide_t added = 0;
    if (ROUNDING == NEAREST) added = (wide_t)1 << (DECAY_BITS - 1);
    if (ROUNDING == STOCHASTIC) added = random_bits((uint32_t)m->step, (uint32_t)neuron, state) >> (32 - DECAY_BITS);
    return shifted(product + added, DECAY_BITS);
}

/* The three operations of a step of neuron i of a population, which the profile puts into order; `due` is the population's
 * row of what arrives now. */
static void decay(Model *m, const Population *p, arrival_t *due, int32_t i) {
    (void)due;
    const int32_t n = p->first + i;
    m->I[n] = (state_t)decayed(m, m->I[n], value(p->decay_I, i), n, 0);
}

static void arrive(Model *m, const Population *p, arrival_t *due, int32_t i) {
    if (EACH && p->slots == 1) return; /* `add` has added it */
    const int32_t n = p->first + i;
    const wide_t x = (wide_t)m->I[n] + due[i];
    due[i] = 0;
    if (!WRAPS) {
        m->I[n] = limit(m, x);
        return;
    }
    const wide_t top = (wide_t)STATE_MAX + 1; /* Lava's fixed-point LIF lets the current reach it */
    const wide_t turned = (wide_t)((uint64_t)(x + top - 1) & (uint64_t)(2 * top - 1)) - top + 1;
    m->limited += turned != x;
    m->I[n] = (state_t)turned;
}

static void membrane(Model *m, const Population *p, arrival_t *due, int32_t i) {
    (void)due;
    const int32_t n = p->first + i;
    const wide_t V = m->V[n], kept = decayed(m, V, value(p->decay_V, i), n, 1);
    m->V[n] = SHIFTS ? limit(m, V + limit(m, m->I[n] - (V - kept))) : limit(m, kept + m->I[n]);
    if (p->adaptive) m->B[n] = (state_t)decayed(m, m->B[n], value(p->decay_B, i), n, 2);
}

static void spike(Model *m, const Population *p, int32_t i) {
    const int32_t n = p->first + i, threshold = value(p->threshold, i);
    m->spikes[n] = 0;
    while (m->spikes[n] < p->max_spikes && m->V[n] >= (wide_t)threshold + (p->adaptive ? m->B[n] : 0)) {
        m->V[n] = (state_t)(SUBTRACTS ? m->V[n] - threshold : value(p->reset, i));
        if (p->adaptive) m->B[n] = limit(m, (wide_t)m->B[n] + value(p->jump, i));
        ++m->spikes[n];
    }
}

/* Where spikes arrive that are on their way for `delay` steps, from slot `now` of the ring on. */
static arrival_t *ring_row(Model *m, const Population *p, int32_t now, int32_t delay) {
    const int32_t slot = now + delay;
    return m->ring + p->ring + (slot < p->slots ? slot : slot - p->slots) * p->size;
}

static void update(Model *m, const Population *p) {
    arrival_t *due = ring_row(m, p, m->step % p->slots, 0);
    for (int32_t i = 0; i < p->size; ++i) {
        $FIRST(m, p, due, i);
        $SECOND(m, p, due, i);
        $THIRD(m, p, due, i);
        if (p->spiking) spike(m, p, i);
    }
}

/* `count` spikes through one synapse to neuron i; `due` is its row of the ring. */
static void add(Model *m, const Population *p, arrival_t *due, int32_t i, int32_t amount, int32_t count) {
    if (!EACH) {
        due[i] = (arrival_t)((uint32_t)due[i] + (uint32_t)amount * (uint32_t)count); /* modulo 2^32 */
        return;
    }
    for (int32_t k = 0; k < count; ++k) {
        if (p->slots == 1)
            m->I[p->first + i] = limit(m, (wide_t)m->I[p->first + i] + amount);
        else
            due[i] = (arrival_t)limit(m, (wide_t)due[i] + amount);
    }
}

static void deliver(Model *m, const Connection *c, int32_t source, int32_t count) {
    const Population *p = populations + c->target;
    const int32_t now = m->step % p->slots;
    arrival_t *due = ring_row(m, p, now, c->delay);
    if (!c->start) {
        const int32_t row = source * p->size;
        for (int32_t i = 0; i < p->size; ++i) {
            if (c->delays) due = ring_row(m, p, now, c->delays[row + i]);
            add(m, p, due, i, c->weight[row + i] * value(c->gain, i), count);
        }
        return;
    }
    for (int32_t s = c->start[source]; s < c->start[source + 1]; ++s) {
        const int32_t i = c->post[s];
        if (c->delays) due = ring_row(m, p, now, c->delays[s]);
        add(m, p, due, i, c->weight[c->weight_of ? c->weight_of[s] : s] * value(c->gain, i), count);
    }
}

static void deliver_inputs(Model *m, const Connection *c, const int *spikes, int count) {
    for (int k = 0, next; k < count; k = next) {
        const int channel = spikes[k];
        for (next = k + 1; next < count && spikes[next] == channel;) ++next;
        const int32_t times = MAX_INPUT && next - k > MAX_INPUT ? MAX_INPUT : next - k;
        if (channel >= c->first && channel < c->first + c->pre) deliver(m, c, channel - c->first, times);
    }
}

static void read(Model *m) {
    for (int32_t k = 0; k < K_OUT && READ >= 0; ++k) {
        const int32_t n = populations[READ < 0 ? 0 : READ].first + k;
        int64_t *r = m->readout + k;
        if (READS == INTEGRAL) *r += (int64_t)m->V[n] * $READ_WEIGHT;
        if (READS == END) *r = m->V[n];
        if (READS == MAXIMUM && m->V[n] > *r) *r = m->V[n];
        if (READS == COUNT_OF_SPIKES) *r += m->spikes[n];
        if (READS == FIRST_SPIKE && *r < 0 && m->spikes[n]) *r = m->step + 1;
    }
}

unsigned long model_size(void);
unsigned long model_size(void) { return sizeof(Model); }

void model_reset_at(void *memory);
void model_reset_at(void *memory) {
    Model *m = memory;
    *m = (Model){0};
    for (const Population *p = populations; p < populations + N_POPULATIONS; ++p)
        for (int32_t i = 0; i < p->size; ++i) m->V[p->first + i] = (state_t)value(p->start, i);
    for (int32_t k = 0; k < K_OUT && READ >= 0; ++k) {
        if (READS == FIRST_SPIKE) m->readout[k] = -1;
        if (READS == MAXIMUM) m->readout[k] = m->V[populations[READ < 0 ? 0 : READ].first + k];
    }
}

int model_step_at(void *memory, const int *spikes, int count);
int model_step_at(void *memory, const int *spikes, int count) {
    Model *m = memory;
    if (N_STEPS && m->step >= N_STEPS) return -1;
    for (int k = 0; k < count; ++k)
        if (spikes[k] < (k ? spikes[k - 1] : 0) || spikes[k] >= N_IN) return -2;
    for (const Connection *c = connections; c < connections + N_CONNECTIONS; ++c) {
        if (c->source < 0) {
            deliver_inputs(m, c, spikes, count);
            continue;
        }
        const uint8_t *sent = m->spikes + populations[c->source].first;
        for (int32_t j = 0; j < c->pre; ++j)
            if (sent[j]) deliver(m, c, j, sent[j]);
    }
    for (const Population *p = populations; p < populations + N_POPULATIONS; ++p) update(m, p);
    read(m);
    ++m->step;
    return 0;
}

int model_readout_at(const void *memory, int64_t *readout);
int model_readout_at(const void *memory, int64_t *readout) {
    const Model *m = memory;
    int best = -1, several = 0;
    for (int32_t k = 0; k < K_OUT && READ >= 0; ++k) {
        const int64_t r = readout[k] = m->readout[k];
        if ((READS == FIRST_SPIKE && r < 0) || (READS == COUNT_OF_SPIKES && r == 0)) continue;
        const int64_t ahead = best < 0 ? 1 : READS == FIRST_SPIKE ? readout[best] - r : r - readout[best];
        several = ahead == 0 || (several && ahead < 0);
        if (ahead > 0) best = k;
    }
    return several ? -1 : best;
}

const uint8_t *model_spikes_at(const void *memory, int population);
const uint8_t *model_spikes_at(const void *memory, int population) {
    return ((const Model *)memory)->spikes + populations[population].first;
}

void model_reset(void);
void model_reset(void) { model_reset_at(&model); }
int model_step(const int *spikes, int count);
int model_step(const int *spikes, int count) { return model_step_at(&model, spikes, count); }
int model_readout(int64_t *readout);
int model_readout(int64_t *readout) { return model_readout_at(&model, readout); }
const uint8_t *model_spikes(int population);
const uint8_t *model_spikes(int population) { return model_spikes_at(&model, population); }
unsigned long model_limited(void);
unsigned long model_limited(void) { return model.limited; }
