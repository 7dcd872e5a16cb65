static int needs(Trial *t, int population, int64_t room) {
    if (room > t->trouble[3]) t->trouble[3] = room;
    return -1 - population;
}

/* Whether a list of events of this trial needs more room: of the last population that does, -1 - its number. */
static int full(Trial *t, int64_t sample) {
    int full = 0;
    $FULL
    return full;
}

static int run(Trial *t, int64_t sample) {
    $TRIAL
    return 0;
}

/* PyEval_SaveThread, PyEval_RestoreThread, PyErr_CheckSignals: Python waits without its lock, and hears Ctrl-C. */
typedef struct {
    void *(*release)(void);
    void (*take)(void *);
    int (*handle_signals)(void);
} Python;

/* 0: done; 1 + i: population i has left its dynamics, see `trouble`; -1 - i: its lists need room for trouble[3]. */
int eventprop_run(const Python *python, void *const *arrays, const double *numbers, const int64_t *integers) {
    Trial trial;
    int status = 0;
    $UNPACK
    for (int64_t sample = 0; sample < trial.batch && status == 0; ++sample) {
        void *state = python->release();
        status = run(&trial, sample);
        python->take(state);
        if (python->handle_signals()) break;
    }
    return status;
}
