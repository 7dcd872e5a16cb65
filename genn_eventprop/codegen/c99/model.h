unsigned long model_size(void) { return (unsigned long)sizeof(Model); }

void model_reset_at(void *memory) {
    Model *m = memory;
    memset(m, 0, sizeof *m);
    $RESET
}

int model_step_at(void *memory, const int *spikes, int count) {
    Model *m = memory;
    const int64_t step = m->step;
    if (step >= $N_STEPS) return -1;
    for (int i = 0; i < count; ++i)
        if (spikes[i] < 0 || spikes[i] >= $N_IN) return -2;
    $STEP
    m->step = step + 1;
    return 0;
}

int model_readout_at(void *memory, double *readout) {
    Model *m = memory;
    const int64_t step = m->step;
    double score[$K_OUT];
    int best = 0;
    (void)step;
    $READOUT
    for (int n = 1; n < $K_OUT; ++n)
        if (score[n] > score[best]) best = n;
    /* as in training: equal scores decide nothing, nor do outputs that are all silent */
    for (int n = 0; n < $K_OUT; ++n)
        if (n != best && score[n] >= score[best]) return -1;
    return score[best] > -HUGE_VAL ? best : -1;
}

static Model model;

void model_reset(void);
int model_step(const int *spikes, int count);
int model_readout(double *readout);

void model_reset(void) { model_reset_at(&model); }
int model_step(const int *spikes, int count) { return model_step_at(&model, spikes, count); }
int model_readout(double *readout) { return model_readout_at(&model, readout); }
