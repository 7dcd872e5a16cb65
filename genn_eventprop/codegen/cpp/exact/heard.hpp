// What a loss hears of the input: all spikes of the trial.

namespace {

inline Heard heard(const Args& args, int64_t sample) {
    const int64_t* first = args.offsets + args.samples[sample];
    return {args.times, first[0], first[1]};
}

}  // namespace
