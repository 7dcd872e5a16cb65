// What V is compared with at one time: the label, or targets between two steps.
struct Target {
    int64_t label;
    const double* low;
    const double* high;
    scalar part;
};
