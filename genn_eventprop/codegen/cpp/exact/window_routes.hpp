// Windows over an image in exact time: synapses without a table of them, see routes.hpp. Neurons of a row's range that no window reaches
// have weight 0.

namespace {

template <int N, int NP, class Windows>
struct WindowRoutes {
    static constexpr bool dense = false, gathers = true;
    Windows windows;
    typename Windows::Places places(int32_t source) const {
        typename Windows::Places found;
        windows.find(source / Windows::SOURCES, found);
        return found;
    }
    // A route is the source itself, if any of the windows is over it.
    template <class F>
    void each_route(int32_t source, const F& f) const {
        if (places(source).count > 0) f(source);
    }
    Range reached(int32_t source) const {
        const auto over = places(source);
        const int from = over.target[0], to = over.target[over.count - 1] + Windows::TARGETS;
        return {from / LANES * LANES, (to - 1) / LANES * LANES + LANES};
    }
    const scalar* add_to(scalar* out, int32_t source) const {
        windows.template add<ALL>(out, &source, 1);
        return out;
    }
    template <class F>
    void each_target(int32_t source, Buffer<scalar>& row, const F& f) const {
        const Range over = reached(source);
        row.reserve(NP), over.clear(row), add_to(row, source);
        for (int k = over.from; k < over.to && k < N; ++k) f(k, row[k], int64_t(-1));
    }
    bool weight_of(int32_t source, int neuron, double& w) const {
        Buffer<scalar> row;
        bool hit = false;
        each_target(source, row, [&](int k, scalar weight, int64_t) {
            if (k == neuron) w += double(weight), hit = true;
        });
        return hit;
    }
    void gather(int32_t source, const scalar* along, scalar* gradient) const { windows.gather(gradient, &source, 1, along); }
};
template <int N, int NP, class Windows>
WindowRoutes<N, NP, Windows> window_routes(const Windows& windows) {
    return {windows};
}

}  // namespace
