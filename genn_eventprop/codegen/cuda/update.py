"""An optimiser's text as CUDA: one step on one parameter, and the sum of the squares of a gradient,
without weights whose bounds hold them fixed."""

from __future__ import annotations

from ...optimisers import Optimiser
from ..optimiser import statements
from ..printer import C_REAL, Dialect
from ..statements import indent

THREADS = 256
CUDA = Dialect("cuda", literal="(scalar){}")
_SQUARES = """\
extern "C" __global__ void __launch_bounds__({threads}) squares(const __grid_constant__ Update u_) {{
    extern __shared__ double shared_memory[];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < u_.f_n; i += {threads}) {{
        const scalar low_ = u_.f_lower ? u_.f_lower[i] : (scalar)u_.f_low;
        const scalar high_ = u_.f_upper ? u_.f_upper[i] : (scalar)u_.f_high;
        if (low_ != high_) sum += (double)u_.f_g[i] * (double)u_.f_g[i];
    }}
    shared_memory[threadIdx.x] = sum;
    for (int half = {threads} / 2; half > 0; half /= 2) {{
        __syncthreads();
        if (threadIdx.x < half) shared_memory[threadIdx.x] += shared_memory[threadIdx.x + half];
    }}
    if (threadIdx.x == 0) *u_.f_squares = shared_memory[0];
}}
"""


def update_text(optimiser: Optimiser, dtype: str) -> str:
    """Kernels ``update`` (a thread for each number) and ``squares`` (one block), each with an ``Update``: addresses of
    x, g, lower and upper bounds (0: a number), `squares` and the state, in order; lower and upper as numbers and the
    scalars; how many numbers there are."""
    states, scalars = optimiser.full_state_names(), optimiser.full_scalar_names()
    fields = ["scalar *f_x;", "const scalar *f_g, *f_lower, *f_upper;", "double *f_squares;"]
    fields += [f"scalar *f_{n};" for n in states] + ["double f_low, f_high;"]
    fields += [*(f"double f_{n};" for n in scalars), "int64_t f_n;"]
    code = [f"const int64_t i_ = (int64_t)blockIdx.x * {THREADS} + threadIdx.x;"]
    code += ["if (i_ >= u_.f_n) return;", *(f"const scalar {n} = (scalar)u_.f_{n};" for n in scalars)]
    code += [
        "scalar x = u_.f_x[i_];",
        "[[maybe_unused]] scalar g = u_.f_g[i_];",
        *(f"scalar {n} = u_.f_{n}[i_];" for n in states),
    ]
    code.append(statements(optimiser.full_code(), optimiser.local_names, CUDA).rstrip("\n"))
    code += [
        f"const scalar {b}_ = u_.f_{a} ? u_.f_{a}[i_] : (scalar)u_.f_{b};"
        for a, b in (("lower", "low"), ("upper", "high"))
    ]
    code += ["u_.f_x[i_] = x < low_ ? low_ : x > high_ ? high_ : x;", *(f"u_.f_{n}[i_] = {n};" for n in states)]
    head = f'extern "C" __global__ void __launch_bounds__({THREADS}) update(const __grid_constant__ Update u_) {{\n'
    scalar = C_REAL[dtype]
    types = f"typedef long long int64_t;\ntypedef {scalar} scalar;\n"
    struct = f"struct Update {{\n{indent(chr(10).join(fields))}}};\n"
    return f"{types}{struct}{head}{indent(chr(10).join(code))}}}\n{_SQUARES.format(threads=THREADS)}"
