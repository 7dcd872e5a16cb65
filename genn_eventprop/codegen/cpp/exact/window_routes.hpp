// Windows over an image in exact time: routes without a table of synapses.

namespace {

// What `Table` of routes.hpp is to synapses, of windows.hpp; a route is a source.
template <class Windows>
struct WindowRoutes {
    Windows windows;
    bool any(int32_t source) const {
        typename Windows::Places places;
        windows.find(source / Windows::SOURCES, places);
        return places.count > 0;
    }
    Range reached(int32_t source) const {
        typename Windows::Places places;
        windows.find(source / Windows::SOURCES, places);
        const int from = places.target[0], to = places.target[places.count - 1] + Windows::TARGETS;
        return {from / LANES * LANES, (to - 1) / LANES * LANES + LANES};
    }
    const scalar* row(int32_t source, scalar* out) const {
        windows.template add<ALL>(out, &source, 1);
        return out;
    }
    const scalar* row_in(Range reached, int32_t source, scalar* out) const {
        reached.clear(out);
        return row(source, out);
    }
    void gather(int32_t source, const scalar* along, scalar* gradient) const { windows.gather(gradient, &source, 1, along); }
};
template <class Windows>
WindowRoutes<Windows> windows(const Windows& w) {
    return {w};
}

}  // namespace
