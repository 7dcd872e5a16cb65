"""How the default run compiles generated code: twice or four times as quickly as for users."""

FLAGS = "GENN_EVENTPROP_CXXFLAGS"
QUICKLY = "-O1 -fexpensive-optimizations"  # products and sums are contracted as with -O3: float32 keeps its bounds
UNOPTIMISED = "-O0"  # half the time again, for the short trials of tests/engine
