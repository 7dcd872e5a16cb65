/* Notes where the dynamics were left. */
static int diverged(Trial *t, int64_t sample, int64_t step, int population, int state, int32_t neuron) {
    t->trouble[0] = sample;
    t->trouble[1] = step + 1;
    t->trouble[2] = state;
    t->trouble[3] = neuron;
    return 1 + population;
}

