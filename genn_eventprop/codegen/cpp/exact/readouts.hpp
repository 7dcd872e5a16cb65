// Readouts in exact time. O: costates of the population that is read, V: index of the state, N: classes, W: time weight.
//
// Forwards, a reader is told the start of every step, its arrivals and own spikes. Backwards, `enter` opens a step, `at` sets
// what the reader adds to lambda at an arrival (as factors of dr), and `leave` closes the step.

namespace {

// The interface of a reader; every function does nothing. follows: whether it goes through each step by its log.
template <class O>
struct NoReader : NoSource {
    static constexpr bool follows = false;
    void begin(O&, const Args&, int64_t) {}
    void enter(O&, const Args&, int64_t, bool) {}
    void start(O&) {}
    void absorb(O&, const typename O::Incoming*, int64_t, int64_t) {}
    void jump(O&, int, double, const double*, const double*) {}
    void begin_back(O&, const scalar*) {}
    void before(O&, const scalar*, int64_t, int64_t) {}
    // For a record of lambda at s: handles what jumps there or later, and adds what is not in mu to `rows`, (n, NP).
    void down_to(O&, const scalar*, int64_t, double) {}
    void add_to(O&, const scalar*, double, scalar*) {}
    // For what would arrive at s: handles what jumps there or later; `give_back` undoes what `lend` has added to mu for it.
    void lend(O&, const scalar*, int64_t, double) {}
    void give_back(O&) {}
    void at(O&, int, double) {}
    scalar kink(const scalar*, int64_t) { return 0; }
    scalar own_spike(O&, const Args&, const scalar*, int64_t, int, double, double*) { return 0; }
    void leave(O&, const scalar*, int64_t) {}
    // What it has read so far, for a later piece of a recording, or for the way back.
    template <class Archive>
    void cross(Archive&) {}
    int64_t bytes() const { return 0; }  // that it needs of a piece of a recording
};

}  // namespace
