// Readouts of V between events. A population that is read is read when its trial is over: its pieces are cut where what is read is not
// smooth, or jumps lambda, and then each piece is read by itself.
//
// O: the pieces of the population, V: index of the state, N: neurons, W: time weight.

namespace {

enum class Of { LOSS, INTEGRAL, SAMPLES };

// The interface of a reader; every function does nothing.
template <class O>
struct Reader {
    static constexpr bool reads = true;
    void look(O&, const Args&, int64_t, Path&) {}                           // where pieces must be cut
    bool read(O&, const Args&, int64_t, Path&) { return false; }            // true if it asks for further cuts
    template <class Reach>
    void divide(O&, const Args&, const Log&, const Reach&) {}  // kinks among arrivals; reach: as of `Pieces::divide`
    void finish(O&, const Args&, double*) {}
    void begin_back(O&, const scalar*) {}
    // What is added to -dlambda/dt in a piece, in powers of the time from its end divided by a unit, and to lambda at its end.
    void source(int, int64_t, const scalar*, int, octet*, int, double, octet&) const {}
    double opened(int, int64_t, const scalar*) const { return 0; }  // what is added to lambda at its start
    // l(x-) - l(x+) of an arrival, target by target, and of all of them together; the same of an own event.
    double arrival(O&, const Args&, const scalar*, int, double, double, const LogEntry&) { return 0; }
    double arrivals(O&, const Args&, const LogEntry&) { return 0; }
    double own_event(O&, const Args&, const scalar*, const LogEntry&) { return 0; }
};

// Numbers per piece that are a function of time, as polynomials through values at Gauss-Legendre nodes.
struct Densities {
    Buffer<double> power;       // TERMS numbers per piece, in powers of (t - end) / length
    double legendre[NODES][NODES], shifted[NODES][NODES];  // P_m at the nodes, times (2 m + 1) weight; coefficients of P_m(2 v + 1)
    const double *unit = nullptr, *part = nullptr;
    double fall = 0;
    int nodes = 0;
    void begin(const Args& args) {
        fall = std::pow(args.tolerance, 1.0 / double(args.order));
        const int count = int(args.order) < NODES ? int(args.order) : NODES;
        unit = args.gauss + count * (count - 1), part = unit + count;
        if (count == nodes) return;
        nodes = count;
        for (int q = 0; q < nodes; ++q) {
            const double z = 2 * unit[q] - 1;
            double a = 1, b = z;
            for (int m = 0; m < nodes; ++m) {
                legendre[m][q] = (2 * m + 1) * part[q] * a;
                const double next = ((2 * m + 3) * z * b - (m + 1) * a) / (m + 2);
                a = b, b = next;
            }
        }
        for (int m = 0; m < nodes; ++m)
            for (int j = 0; j < nodes; ++j) shifted[m][j] = 0;
        shifted[0][0] = 1;
        if (nodes > 1) shifted[1][0] = 1, shifted[1][1] = 2;
        for (int m = 1; m + 1 < nodes; ++m)
            for (int j = 0; j <= m + 1; ++j)
                shifted[m + 1][j] = ((2 * m + 1) * (shifted[m][j] + (j ? 2 * shifted[m][j - 1] : 0)) - m * shifted[m - 1][j]) / (m + 1);
    }
    // Whether the values are resolved, but for `tolerance` of the largest and for `noise`, what rounding leaves of them.
    bool set(int64_t piece, const double* values, double tolerance, double noise) {
        power.reserve((piece + 1) * TERMS);
        double a[NODES], most = 0;
        for (int q = 0; q < nodes; ++q) most = std::fmax(most, std::fabs(values[q]));
        for (int m = 0; m < nodes; ++m) {
            a[m] = 0;
            for (int q = 0; q < nodes; ++q) a[m] += legendre[m][q] * values[q];
            // What is rounding is left out: in powers of time it grows by a factor of 6 with every m.
            if (std::fabs(a[m]) <= 1e-15 * (2 * m + 1) * most + noise) a[m] = 0;
        }
        // High powers lose terms where they are multiplied with another series, whose coefficients fall by `fall` each. Low ones do
        // not get smaller with the piece, and lose what the other series has left out anyway.
        double lost = 0;
        for (int j = 0; j < TERMS; ++j) {
            double v = 0;
            for (int m = j; m < nodes; ++m) v += a[m] * shifted[m][j];
            power[piece * TERMS + j] = j < nodes ? v : 0;
            if (2 * j >= nodes && j < nodes) lost = lost * fall + std::fabs(v);
        }
        return nodes < 3 || std::fmax(lost, std::fabs(a[nodes - 1]) + std::fabs(a[nodes - 2])) <= tolerance * most + noise;
    }
    // length: of the piece, in units.
    void source(int64_t piece, double length, double factor, int order, octet* to, int lane) const {
        for (int j = 0; j < nodes && j <= order; ++j, factor /= length) to[j][lane] += power.data[piece * TERMS + j] * factor;
    }
};

// The time weight along the pieces of a trial.
template <class W>
struct PieceWeight : Weighing<W> {
    double noise = 0;  // what rounding leaves of it, of its largest value: where it vanishes no piece is short enough
    void begin(const Args& args, int64_t sample) {
        Weighing<W>::begin(args, sample), noise = 0;
        for (int i = 0; i < 64; ++i) noise = std::fmax(noise, 3e-15 * std::fabs(this->at(args.duration * i / 64, args.duration * i / 64)));
    }
    void cuts(const Args& args, Path& path) const {
        for (double t = 0; t < args.duration;) path.every.push_back(t = this->smooth(0.0, t, args.duration));
    }
};

}  // namespace
