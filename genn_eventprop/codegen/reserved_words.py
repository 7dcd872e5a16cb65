"""Reserved words of C, C++ and CUDA."""

KEYWORDS = frozenset(
    "alignas alignof asm auto bool break case catch char class const constexpr continue decltype default delete do "
    "double else enum explicit export extern false final float for friend goto if inline int long mutable namespace "
    "new noexcept nullptr operator override private protected public register return short signed sizeof static "
    "static_assert static_cast struct switch template this throw true try typedef typeid typename union unsigned "
    "using virtual void volatile while".split()
)
MACROS = frozenset(
    "NULL EOF INFINITY NAN errno stdin stdout stderr unix linux HUGE_VAL HUGE_VALF RAND_MAX BUFSIZ CHAR_BIT".split()
)  # of the C++ headers, which a declaration would expand
