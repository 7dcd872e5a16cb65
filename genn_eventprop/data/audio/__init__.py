"""Sound to spikes: the inner ear behind SHD, and spoken words from espeak-ng."""

from .inner_ear import Ear, convert_audio, convert_folder, read_wav, recordings, to_events

__all__ = ["Ear", "convert_audio", "convert_folder", "read_wav", "recordings", "to_events"]
