"""Synthetic speech: every token of a small alphabet has a sound of its own."""

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from halftime.plugin import Part

#: Most tokens that are spoken; a vocabulary may have more.
ALPHABET = 64
#: Share of its time in which a token sounds; the rest is silent, so that a token can follow itself.
SOUNDING = 0.75
#: Smallest loudness of a token; the largest is 1.
LEAST_LOUDNESS = 0.5

SAMPLES_PER_SECOND = 16_000
#: Lowest and highest tone in Hz, within the range of a telephone.
TONES = (200.0, 3800.0)


@dataclass(frozen=True)
class Waveform:
    """Sound as samples: every token is a tone of its own, of random phase and loudness."""

    samples: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one recording."""
        return (self.samples,)

    def codes(self, alphabet: int, generator: torch.Generator) -> Tensor:
        """Draws the frequency of every token in Hz, (alphabet,), spaced like notes."""
        low, high = (math.log(tone) for tone in TONES)
        return torch.linspace(low, high, alphabet).exp()[torch.randperm(alphabet, generator=generator)]

    def speak(self, codes: Tensor, loudness: Tensor, generator: torch.Generator) -> Tensor:
        """(count, tokens) frequencies and loudness, 0 where it is silent after each → (count, samples)."""
        place, sounds = _timing(self.samples, codes.shape[1])
        seconds = torch.arange(self.samples) / SAMPLES_PER_SECOND
        phases = torch.rand(codes.shape, generator=generator)
        waves = torch.sin(2 * math.pi * (codes[:, place] * seconds + phases[:, place]))
        return math.sqrt(2) * loudness[:, place] * waves * sounds


@dataclass(frozen=True)
class Spectrogram:
    """Sound as a spectrum for every frame: every token has a random spectrum, of random loudness."""

    frames: int
    bins: int
    #: Whether a recording is (frames, bins), instead of (bins, frames).
    frames_first: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one recording."""
        return (self.frames, self.bins) if self.frames_first else (self.bins, self.frames)

    def codes(self, alphabet: int, generator: torch.Generator) -> Tensor:
        """Draws the spectrum of every token, (alphabet, bins)."""
        return torch.randn(alphabet, self.bins, generator=generator)

    def speak(self, codes: Tensor, loudness: Tensor, generator: torch.Generator) -> Tensor:
        """(count, tokens, bins) spectra and (count, tokens) loudness → (count, *shape)."""
        place, sounds = _timing(self.frames, codes.shape[1])
        frames = codes[:, place] * (loudness[:, place] * sounds)[:, :, None]
        return frames if self.frames_first else frames.transpose(1, 2).contiguous()


Sound = Waveform | Spectrogram


class SpeechSource:
    """A recording is a sequence of uniform random tokens of the alphabet, spoken at an even pace.

    Every token follows from the recording, and nothing else tells it, so the best possible loss and error rate are 0
    and the best possible accuracy is 1.
    """

    best_possible_loss: float | None = 0.0
    best_possible_accuracy: float | None = 1.0

    def __init__(
        self, input_name: str, sound: Sound, tokens: int, alphabet: Collection[int], generator: torch.Generator
    ) -> None:
        self.best_possible = {"token_error_rate": 0.0}
        self.sample_bytes = 4 * math.prod(sound.shape) + 8 * tokens
        self._input_name, self._sound, self._tokens = input_name, sound, tokens
        self.alphabet = torch.tensor(list(alphabet))
        self.codes = sound.codes(len(self.alphabet), generator)

    def sample(self, part: Part, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws recordings (count, …) under the model's name for them, and `labels` (count, tokens), int64."""
        spoken = torch.randint(len(self.alphabet), (count, self._tokens), generator=generator)
        loudness = LEAST_LOUDNESS + (1 - LEAST_LOUDNESS) * torch.rand(spoken.shape, generator=generator)
        recordings = self._sound.speak(self.codes[spoken], loudness, generator)
        return {self._input_name: recordings, "labels": self.alphabet[spoken]}


def spoken_alphabet(vocab_size: int, reserved: Collection[int]) -> tuple[int, ...]:
    """The tokens that are spoken: the first of a vocabulary, without those that have a meaning of their own."""
    return tuple([token for token in range(vocab_size) if token not in reserved][:ALPHABET])


def _timing(length: int, tokens: int) -> tuple[Tensor, Tensor]:
    """For every moment, (length,) each: the index of the token that it belongs to, and whether that is sounding."""
    share = (torch.arange(length) + 0.5) * tokens / length
    return share.long(), share % 1 < SOUNDING
