// The steps that a call runs: here those of a trial. `piece_span.hpp` has those of a piece of a recording.

namespace {

struct Span {
    static int64_t first(const Args&) { return 0; }
    static int64_t steps(const Args& args) { return args.exact_steps; }
    // Of all there are, and the number of a step among them.
    static int64_t all(const Args& args) { return args.exact_steps; }
    static int64_t number(const Args&, int64_t step) { return step; }
    static double until(const Args& args) { return args.duration; }
    static double time_of(const Args& args, int64_t step) { return step < args.exact_steps ? start_of(step, args.exact_steps, args.duration) : args.duration; }
    // The same by the number.
    static double time_at(const Args& args, int64_t number) { return time_of(args, number); }
};

}  // namespace
