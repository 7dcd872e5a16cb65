/*
 * One time step is $STEP_MS ms; a trial has $N_STEPS steps. Inputs are numbered 0 to $N_IN - 1, outputs 0 to $K_OUT - 1.
 *
 *   void model_reset(void);                            begin a trial
 *   int model_step(const int *spikes, int count);      one step, with the inputs that spike in it (also repeatedly);
 *                                                      0, or -1: the trial is over, -2: no such input, -3: diverged
 *   int model_readout(double *readout);                readouts so far, HUGE_VAL for a silent output;
 *                                                      returns the class, -1 if no output decides
 *
 * For several instances, give each model_size() bytes and call model_reset_at, model_step_at and model_readout_at with
 * their address as first argument. model_spikes_at(memory, population): the spikes at the end of the last step, one bit
 * per neuron, lowest bit first; 0 for a population that never spikes. Populations: $POPULATIONS.
 */
