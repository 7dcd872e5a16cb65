// The time weight of a loss in a sample, what trials by closed forms and by Taylor series share.
#include <vector>

namespace {

template <class W>
struct Weighing : TimeWeight<W> {
    std::vector<double> levels;
    void begin(const Args& args, int64_t sample) {
        const int64_t *first = args.offsets + args.samples[sample];
        levels.resize(W::driven ? size_t(first[1] - first[0]) : 0);
        static_cast<TimeWeight<W>&>(*this) = {W::of(args), args.times, levels.data(), first[0], first[1], -first[0]};
        if constexpr (W::driven) this->hear(first[0], args.duration);
    }
};

}  // namespace
