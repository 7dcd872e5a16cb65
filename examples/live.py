"""Print the prediction of a trained model every few milliseconds while a recording plays.

    genn-eventprop train spoken_digits --quick --run-dir runs/digits
    python examples/live.py runs/digits recording.wav --every 50

The recording passes through the inner-ear model and the preprocessing of the training; then its spikes reach the
network in chunks. Preprocessing that needs the whole recording (e.g. fit_time) is applied beforehand.
"""

import argparse

import numpy as np

import genn_eventprop
from genn_eventprop.data.open import open_samples


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("run")
    options.add_argument("recording")
    options.add_argument("--every", type=float, default=50.0, metavar="MS")
    asked = options.parse_args()
    model = genn_eventprop.load(asked.run)
    ((_, events),) = open_samples([asked.recording], model.n_channels)
    times, channels = model.prepared(events).sample(0)
    stream, said, before = model.stream(), "", -1.0
    for until in np.arange(asked.every, model.plan.duration + asked.every, asked.every):
        until = min(float(until), model.plan.duration)
        now = (times > before) & (times <= until)
        moment, before = stream.push((times[now], channels[now]), until), until
        said = model.class_names[moment.prediction] if moment.prediction >= 0 else "-"
        print(f"{moment.time:7.1f} ms  {len(moment.spikes['hidden'].time):6d} hidden spikes  {said}")
    print(f"heard: {said}")


if __name__ == "__main__":
    main()
