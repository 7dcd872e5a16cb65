// Spikes that are about to be born, what trials by closed forms and by Taylor series share; docs/spike_birth.md has the mathematics.

namespace {

// Kinds of entries in a log, beside those of events: the candidate `index` of the i-th spiking population is BIRTH - i, and an
// arrival of its spike through connection c is UNBORN + c.
constexpr int BIRTH = -2000000, UNBORN = 1000000;

// The hazard of a threshold with noise of this width at a maximum g below it, see adjoint/birth.py.
inline double hazard_of(double g, double width) {
    const double u = -g / width;
    return std::sqrt(2 / 3.14159265358979323846) * std::exp(-0.5 * u * u) / (width * std::erfc(-u * std::sqrt(0.5)));
}

}  // namespace
