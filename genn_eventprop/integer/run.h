
/* Appended to the file of a model: runs samples one after the other. `compiled.py` calls it.
 * counts (batch, steps, N_IN); spikes, V and I (batch, steps, N_NEURONS), V and I may be 0; `now` has room for one step. */
void model_run(const uint8_t *counts, int64_t batch, int64_t steps, int *now, void *memory, uint8_t *spikes, int32_t *V,
               int32_t *I, int64_t *limited, int64_t *readout, int64_t *classes);
void model_run(const uint8_t *counts, int64_t batch, int64_t steps, int *now, void *memory, uint8_t *spikes, int32_t *V,
               int32_t *I, int64_t *limited, int64_t *readout, int64_t *classes) {
    Model *m = memory;
    for (int64_t sample = 0; sample < batch; ++sample) {
        model_reset_at(m);
        for (int64_t k = 0; k < steps; ++k, counts += N_IN) {
            int count = 0;
            for (int j = 0; j < N_IN; ++j)
                for (int n = 0; n < counts[j]; ++n) now[count++] = j;
            model_step_at(m, now, count);
            for (int n = 0; n < N_NEURONS; ++n) {
                *spikes++ = m->spikes[n];
                if (V) *V++ = m->V[n];
                if (I) *I++ = m->I[n];
            }
        }
        *limited++ = m->limited;
        *classes++ = model_readout_at(m, readout);
        readout += K_OUT;
    }
}

/* The tables, in the order of the file: a process that trains writes other numbers into them. */
void *const model_tables[] = {$ADDRESSES};
