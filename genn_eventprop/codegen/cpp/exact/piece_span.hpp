// The steps of a piece of a recording. They are numbered within their interval, which has a loss of its own and `exact_steps` steps;
// `steps_before` of the recording come before it. Times of events are those of the recording, what a loss reads is in ms of the interval.

namespace {

struct Span {
    static int64_t first(const Args& args) { return args.first_step; }
    static int64_t steps(const Args& args) { return args.last_step - args.first_step; }
    static int64_t all(const Args& args) { return args.all_steps; }
    static int64_t number(const Args& args, int64_t step) { return args.steps_before + step; }
    static double until(const Args& args) { return args.whole_duration; }
    static double time_of(const Args& args, int64_t step) { return time_at(args, number(args, step)); }
    static double time_at(const Args& args, int64_t number) {
        return number < args.all_steps ? start_of(number, args.all_steps, args.whole_duration) : args.whole_duration;
    }
    static double begins(const Args& args) { return time_of(args, 0); }
    // Whether the piece is the first, or the last one, of the recording; `args.closes`: of its interval.
    static bool begins_all(const Args& args) { return number(args, args.first_step) == 0; }
    static bool ends_all(const Args& args) { return number(args, args.last_step) == args.all_steps; }
};
inline Heard heard(const Args& args, int64_t) { return {args.heard_times, 0, args.n_heard}; }

}  // namespace
