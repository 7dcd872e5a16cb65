"""A device in the loop: the forward pass runs elsewhere, gradients are those of the spikes that came back.

For a `Trainer`, `DeviceEngine` is an engine like any other. A device is slow and may fail: what it answers is checked
before it is used, what it did not answer is asked again, and when it gives up no weight has changed.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..engines import Data, Engine, Result
from ..engines.contract.data import batch_indices
from ..engines.contract.observed import Observed, checked
from ..engines.contract.wrapper import EngineWrapper
from ..errors import DataError, DeviceError, EngineError, SettingError, Stopped, check_finite, suggest, whole

Sample = tuple[np.ndarray, np.ndarray]
"""(times in ms in ascending order, channels or neurons)."""
Answer = Mapping[str, tuple[Any, Any]]
"""Population -> (times in ms in ascending order, neurons) of a sample."""
POLL = 0.05  # s, between two looks at whether training has been interrupted
FEW = 3  # samples that a message names


class Device(Protocol):
    """What runs the forward pass: a chip, a simulator."""

    def run(self, parameters: Mapping[str, np.ndarray], events: Sequence[Sample]) -> Sequence[Answer | str]:
        """The spikes of a batch.

        Args:
            parameters: all of the network, by the names of `Network.initial_parameters`; they cannot be written to.
            events: (times in ms, channels) of every sample.

        Returns:
            for every sample the spikes of each population that is observed, or why it could not be run. Spikes of
            other populations are of no use here.
        """
        ...


@dataclass(frozen=True)
class InTheLoop:
    """How a device is used: ``Trainer(..., device=InTheLoop(chip, timeout=10.0))``.

    Args:
        device: see `Device`.
        populations: those that it runs; None: all that spike. The others run by the model.
        timeout: s until a call has failed. Python cannot end it: no other call begins before it has ended, and an
            answer that comes late still counts.
        retries: how often samples are asked again that have no answer, or a wrong one.
        wait: s before that, twice as long each time.

    Example:
        >>> chip = SimulatedDevice(Trainer(net, loss, duration=20.0, dt=1.0, progress=False).plan)
        >>> loop = InTheLoop(chip, populations=["hidden"], timeout=10.0)
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, device=loop, progress=False)
        >>> trainer.predict(events).shape
        (20,)
    """

    device: Device
    populations: Sequence[str] | None = None
    timeout: float = 60.0
    retries: int = 3
    wait: float = 0.1

    def __post_init__(self) -> None:
        if not callable(getattr(self.device, "run", None)):
            raise SettingError(
                f"device={type(self.device).__name__} has no method run(parameters, events); see "
                "genn_eventprop.training.device.Device"
            )
        check_finite(self.timeout, "timeout", SettingError, above=True)
        check_finite(self.wait, "wait", SettingError)
        whole(self.retries, "retries", SettingError, 0)


class _Call(threading.Thread):
    """One call of a device, in a thread that can be left alone; question: what it was asked (`digest`)."""

    def __init__(self, device: Device, parameters: Mapping[str, np.ndarray], events: Sequence[Sample]) -> None:
        super().__init__(daemon=True, name="device")
        self._device, self._parameters, self._events = device, parameters, events
        self.question = digest(parameters, events)
        self.answer: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            answer = self._device.run(self._parameters, self._events)
            # one that reads its link only now may fail now
            self.answer = list(answer) if isinstance(answer, Sequence) and not isinstance(answer, str) else answer
        except BaseException as error:  # SystemExit, too, would end the thread without a word
            self.error = error


class DeviceEngine(EngineWrapper):
    """Wraps an engine: a device computes the spikes of some populations, the engine all else and the gradients.

    Attributes:
        calls, repeated: calls of the device, and samples that had to be asked again, since `take_statistics`.
        seconds: spent waiting for it.
    """

    def __init__(self, engine: Engine, loop: InTheLoop) -> None:
        super().__init__(engine)
        plan, spiking = engine.plan, [p.name for p in engine.plan.populations if p.spiking]
        for name in loop.populations or ():
            if name not in spiking:
                raise SettingError(f"device: no population {name!r} that spikes ({suggest(name, spiking)})")
        self.loop, self.observed, self._spiking = loop, list(loop.populations or spiking), spiking
        if not self.observed:
            raise SettingError("device: no population of this network spikes")
        if plan.currents:
            raise SettingError("a device takes spikes; this network has currents as inputs")
        engine.take_observed(_NOTHING, np.zeros(0, np.int64), {name: [] for name in self.observed})
        self.calls, self.repeated, self.seconds = 0, 0, 0.0
        self._stopping = threading.Event()
        self._call_in_progress: _Call | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.inner, self.loop)

    def notes(self, batch: int) -> list[str]:
        return self.inner.notes(batch)

    def why_stateless(self) -> str:
        return "a device carries no state from trial to trial"

    def stop(self, stopping: bool = True) -> None:
        """The wait for an answer ends at once; what the device does then is lost."""
        self._stopping.set() if stopping else self._stopping.clear()
        super().stop(stopping)

    def run(
        self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False,
        observed: Observed | None = None,
    ) -> Result:  # fmt: skip
        samples = batch_indices(data, samples)
        if training:
            data.scored(samples, training=True)
        spikes: Observed = self.ask(data, samples) if observed is None else observed
        result = self.inner.run(data, samples, training=training, record_spikes=record_spikes, observed=spikes)
        return result

    def take_statistics(self) -> dict[str, Any]:
        """For metrics: calls of the device, samples asked again, and s spent waiting, since the last time."""
        found = {"device_calls": self.calls, "device_repeated": self.repeated, "device_seconds": round(self.seconds, 3)}
        self.calls, self.repeated, self.seconds = 0, 0, 0.0
        return found

    # the device

    def ask(self, data: Data, samples: np.ndarray) -> dict[str, list[Sample]]:
        """Population -> spikes of every sample.

        Raises:
            DeviceError: after all retries some samples have no answer that can be used.
        """
        parameters = {name: np.array(value) for name, value in self.parameters.items()}
        for value in parameters.values():
            value.flags.writeable = False
        answers: dict[int, dict[str, Sample]] = {}
        problems: dict[int, str] = {}
        for attempt in range(self.loop.retries + 1):
            open_samples = [k for k in range(len(samples)) if k not in answers]
            if attempt:
                self.repeated += len(open_samples)
                if self._stopping.wait(self.loop.wait * 2 ** (attempt - 1)):
                    raise Stopped
            events = [_events_of(data, samples[k], self.plan.dt) for k in open_samples]
            replies, problem = self._call(parameters, events)
            problems = {}
            for k, reply in zip(open_samples, replies or [problem] * len(open_samples)):
                found = self._checked(reply, data, samples[k : k + 1])
                if isinstance(found, str):
                    problems[k] = found
                else:
                    answers[k] = found
            if not problems:
                return {name: [answers[k][name] for k in range(len(samples))] for name in self.observed}
        raise DeviceError(self._gave_up(problems, data.numbers_of(samples)))

    def _gave_up(self, problems: Mapping[int, str], numbers: np.ndarray) -> str:
        by_problem: dict[str, list[int]] = {}
        for k, problem in problems.items():
            by_problem.setdefault(problem, []).append(int(numbers[k]))
        told = []
        for what, of in by_problem.items():
            some = ", ".join(map(str, of[:FEW])) + " ..." * (len(of) > FEW)
            told.append(f"{'sample' if len(of) == 1 else 'samples'} {some}: {what}")
        tries = self.loop.retries + 1
        return (
            f"the device gave no usable answer for {len(problems)} of {len(numbers)} samples in {tries} "
            f"{'try' if tries == 1 else 'tries'}: {'; '.join(told[:FEW])}{' ...' * (len(told) > FEW)}; weights are "
            "those before the batch"
        )

    def _call(
        self, parameters: Mapping[str, np.ndarray], events: Sequence[Sample]
    ) -> tuple[Sequence[Any] | None, str]:  # fmt: skip
        """(one reply for every sample, "") or (None, why there is none)."""
        began, question = time.monotonic(), digest(parameters, events)
        try:
            while True:
                if self._call_in_progress is None:
                    self._call_in_progress = _Call(self.loop.device, parameters, events)
                    self._call_in_progress.start()
                    self.calls += 1
                call = self._call_in_progress
                while call.is_alive():
                    left = began + self.loop.timeout - time.monotonic()
                    if left <= 0:
                        return None, f"no answer within {self.loop.timeout:g} s"
                    call.join(min(POLL, left))
                    if self._stopping.is_set():
                        raise Stopped
                self._call_in_progress = None
                if call.question == question:  # else it was left alone, and is of no use any more
                    break
        finally:
            self.seconds += time.monotonic() - began
        if call.error is not None:
            return None, _one_line(f"{type(call.error).__name__}: {call.error}")
        reply = call.answer
        if not isinstance(reply, list):
            return None, f"an answer of type {type(reply).__name__}, not one item for each sample"
        if len(reply) != len(events):
            return None, f"{len(reply)} items for {len(events)} samples"
        return reply, ""

    def _checked(self, reply: Any, data: Data, sample: np.ndarray) -> dict[str, Sample] | str:
        """Spikes of a sample, or what is wrong with them."""
        if isinstance(reply, str):
            return _one_line(reply) or "no reason given"
        if not isinstance(reply, Mapping):
            return f"{type(reply).__name__} in place of spikes by population"
        try:
            return self._read(reply, data, sample)
        except (DataError, EngineError) as error:
            return str(error)
        except Exception as error:  # of arrays that are none
            return _one_line(f"spikes that cannot be read ({type(error).__name__}: {error})")

    def _read(self, reply: Answer, data: Data, sample: np.ndarray) -> dict[str, Sample] | str:
        if missing := [name for name in self.observed if name not in reply]:
            return f"no spikes of {', '.join(map(repr, missing))}"
        if unknown := [name for name in reply if name not in self._spiking]:
            return f"spikes of {', '.join(map(repr, unknown))}, which this network does not have"
        found = {}
        for name in self.observed:
            spikes = checked(self.plan, data.numbers_of(sample), {name: [reply[name]]})[name]
            found[name] = np.array(spikes.time), np.array(spikes.neuron)  # its own may change later
        return found


_NOTHING = Data(np.zeros(0, np.int32), None, np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, np.int64), 0)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _events_of(data: Data, sample: int, dt: float) -> Sample:
    """The input of a sample as the engine has it: on a grid, at times of steps."""
    of = slice(data.offsets[sample], data.offsets[sample + 1])
    times = data.steps[of] * dt if data.times is None else data.times[of]
    return np.array(times, np.float64), np.array(data.channels[of], np.int64)


def digest(parameters: Mapping[str, np.ndarray], events: Sequence[Sample]) -> bytes:
    """32 bytes that tell one question to a device from another."""
    found = hashlib.blake2b(digest_size=32)
    for name in sorted(parameters):
        found.update(name.encode() + np.ascontiguousarray(parameters[name]).tobytes())
    for times, channels in events:
        found.update(len(times).to_bytes(8, "little") + times.tobytes() + channels.tobytes())
    return found.digest()
