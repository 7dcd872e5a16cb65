/* Appended to the file of a model: runs any number of steps in one call, buffers input spikes until their step, and
 * records the network's own spikes. `deploy/online.py` calls it. */

typedef struct {
    double dt, duration;       /* ms */
    int64_t step;              /* number of completed steps */
    int32_t *steps, *channels; /* input spikes of later steps, in the order of their calls */
    int *now;                  /* of the same size: the input spikes of one step */
    int64_t waiting;
    int32_t *recorded;         /* spikes, as triples (step, population, neuron) */
    int64_t count, room;
    const double *currents;    /* of steps from `first` on, their means over the step, $N_CURRENTS a step */
    int64_t first;
} Stream;

enum { DONE = 0, FULL = 1, DIVERGED = -3, REFUSED = -4 };

/* Rounds as `plan/clock.py` does; later spikes belong to the last step. */
static int64_t stream_step(const Stream *s, double time) {
    const double step = floor(time / s->dt + 0.5);
    return step < $N_STEPS - 1 ? (int64_t)step : $N_STEPS - 1;
}

/* Looks at all spikes before it stores any, so that a refused call changes nothing. */
static int stream_take(Stream *s, const double *times, const int64_t *channels, int64_t n, double until) {
    for (int64_t i = 0; i < n; ++i) {
        const int known = channels[i] >= 0 && channels[i] < $N_IN && times[i] >= 0 && times[i] <= until;
        if (!known || times[i] > s->duration || stream_step(s, times[i]) < s->step) return REFUSED;
    }
    for (int64_t i = 0; i < n; ++i) {
        s->steps[s->waiting] = (int32_t)stream_step(s, times[i]);
        s->channels[s->waiting++] = (int32_t)channels[i];
    }
    return DONE;
}

/* Words of a row of bits, of every population. */
static const int32_t stream_words[] = {$WORDS};

/* Records the spikes at the end of the last step. */
static void stream_note(Stream *s, const Model *m) {
    for (int p = 0; p < $POPULATIONS; ++p) {
        const uint32_t *row = model_spikes_at(m, p);
        for (int32_t word = 0; word < stream_words[p]; ++word)
            for (uint32_t bits = row[word]; bits; bits &= bits - 1) {
                int32_t *to = s->recorded + 3 * s->count++;
                to[0] = (int32_t)m->step;
                to[1] = p;
                to[2] = 32 * word + lowest(bits);
            }
    }
}

/* Reads n spikes until `until` ms, then makes the steps whose spikes are all known by then: step k has those from
 * (k - 1/2) dt on; `currents` has rows for them. FULL: make room for recorded spikes and go on with n = 0. REFUSED: a spike
 * that is late, after `until`, or of no input; nothing was changed. */
int stream_advance(Stream *s, void *memory, const double *times, const int64_t *channels, int64_t n, double until) {
    Model *m = memory;
    const int64_t end = until >= s->duration ? $N_STEPS : stream_step(s, until);
    if (stream_take(s, times, channels, n, until)) return REFUSED;
    while (s->step < end) {
        if (s->room - s->count < $NEURONS) return FULL;
        int64_t left = 0;
        int due = 0;
        for (int64_t i = 0; i < s->waiting; ++i) { /* those of this step go to `now`, the others close ranks */
            if (s->steps[i] == s->step) {
                s->now[due++] = s->channels[i];
                continue;
            }
            s->steps[left] = s->steps[i];
            s->channels[left++] = s->channels[i];
        }
        s->waiting = left;
#if $N_CURRENTS
        model_currents_at(m, s->currents + (s->step - s->first) * $N_CURRENTS);
#endif
        if (model_step_at(m, s->now, due)) return DIVERGED;
        s->step = m->step;
        stream_note(s, m);
    }
    return DONE;
}
