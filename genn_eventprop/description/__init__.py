"""A model as data: network, equations, loss and preprocessing in one JSON document, and back.

This is the one place that says what a model consists of when it leaves the program: the file model.json of a run
folder, and exports to other formats and languages. Values of parameters are not part of it; they lie beside it, under
the names of `Network.initial_parameters`.

    describe(model) -> dict    input: `Described`; output: numbers, texts, lists and dictionaries, ready for JSON
    build(document) -> Described    the reverse; documents from others are checked before use (`safe`)

    document = {"format": FORMAT, "network": {...}, "loss": {...},
                "run": {"duration": ms, "dt": ms, "spike_times": "grid", "engine": "native", "dtype": "float32"},
                "preprocessing": {"channels": of the data as recorded, "steps": [...]}, "class_names": [...],
                "targets": {"mean": [...], "deviation": [...]} of a regression that learns them scaled}
"""

from .document import FORMAT, Described, build, describe

__all__ = ["FORMAT", "Described", "build", "describe"]
