// The time weight of a loss in a sample, what trials by closed forms and by Taylor series share.
#include <vector>

namespace {

// The input spikes of what a loss reads: `from` to `to`, in ms of it.
struct Heard {
    const double* times;
    int64_t from, to;
};
inline Heard heard(const Args& args, int64_t sample);

template <class W>
struct Weighing : TimeWeight<W> {
    std::vector<double> levels;
    void begin(const Args& args, int64_t sample) {
        const Heard h = heard(args, sample);
        levels.resize(W::driven ? size_t(h.to - h.from) : 0);
        static_cast<TimeWeight<W>&>(*this) = {W::of(args), h.times, levels.data(), h.from, h.to, -h.from};
        if constexpr (W::driven) this->hear(h.from, args.duration);
    }
};

}  // namespace
