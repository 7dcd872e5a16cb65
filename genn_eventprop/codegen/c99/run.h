/* PyEval_SaveThread, PyEval_RestoreThread, PyErr_CheckSignals: Python waits without its lock, and hears Ctrl-C. */
typedef struct {
    void *(*release)(void);
    void (*take)(void *);
    int (*handle_signals)(void);
} Python;

/* 0: done; 1 + i: population i has left its dynamics, see `trouble`; -1 - i: its lists need room for trouble[3]. */
int eventprop_run(const Python *python, void *const *arrays, const double *numbers, const int64_t *integers) {
    Trial trial = trial_of(arrays, numbers, integers);
    int status = 0;
    for (int64_t sample = 0; sample < trial.batch && status == 0; ++sample) {
        void *state = python->release();
        status = run(&trial, sample);
        python->take(state);
        if (python->handle_signals()) break;
    }
    return status;
}
