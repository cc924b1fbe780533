"""Speak with espeak-ng through ctypes: one text at a time in one process.

espeak-ng is free software under the GPL, version 3, and keeps global state. Therefore this module runs only in a
separate process (``python -m tts_pipeline.emulator.speaker``); nothing else in the package loads the library. The wheel
``espeakng-loader`` has the library and its voices.
"""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path

import numpy as np

from tts_pipeline.emulator.alignment import Event, EventKind
from tts_pipeline.emulator.audio import Samples, SynthesisError
from tts_pipeline.emulator.request import SpeechRequest
from tts_pipeline.emulator.voices import VOICES, espeak_voice_name

_SYNCHRONOUS = 2
"""``AUDIO_OUTPUT_SYNCHRONOUS``: speak within the call; the asynchronous mode polls every 20 ms."""
_PHONEME_EVENTS = 1
_DONT_EXIT = 0x8000
"""Without this flag the library ends the process when it does not find its data."""
_UTF8 = 1
_RATE, _VOLUME, _PITCH = 1, 2, 3
_WORDS_PER_MINUTE = 175
_DEFAULT_PITCH = 50
"""espeak-ng's usual pitch; 50 steps make an octave (``pitch_adjust_tab`` in wavegen.c, 1.52)."""
_KINDS = {int(kind): kind for kind in EventKind}


class _Identity(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("phoneme", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The loaded library; a process may have at most one."""

    def __init__(self) -> None:
        import espeakng_loader

        library = Path(espeakng_loader.get_library_path()).resolve()
        # espeak-ng 1.52 does not find its data under a path of more than about 150 bytes; "." is never too long.
        os.chdir(library.parent)
        self._library = ctypes.CDLL(str(library))
        self.sample_rate_hz: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, b".", _PHONEME_EVENTS | _DONT_EXIT)
        if self.sample_rate_hz <= 0:
            raise SynthesisError(f"espeak-ng did not start ({self.sample_rate_hz}).")
        self._chunks: list[bytes] = []
        self._events: list[Event] = []
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, request: SpeechRequest) -> tuple[Samples, list[Event]]:
        """Return the samples of a text at ``sample_rate_hz``, and the events in order of time.

        The same text need not give the same samples twice: some voices breathe and flutter.
        """
        self._chunks.clear()
        self._events.clear()
        self._set_voice(request)
        # A zero would end the text early; a blank in its place keeps all offsets right.
        text = request.text.replace("\0", " ").encode()
        self._check(self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _UTF8, None, None), "speak")
        return np.frombuffer(b"".join(self._chunks), np.int16), list(self._events)

    def _set_voice(self, request: SpeechRequest) -> None:
        preset = VOICES[request.voice]
        name = espeak_voice_name(request.voice, request.language)
        pitch = _DEFAULT_PITCH + round(_DEFAULT_PITCH * math.log2(request.pitch)) + preset.pitch_shift
        self._check(self._library.espeak_SetVoiceByName(name.encode()), f"find the voice {name}")
        self._set(_RATE, round(_WORDS_PER_MINUTE * request.speed * preset.rate))
        self._set(_VOLUME, round(100 * request.volume))
        self._set(_PITCH, min(max(pitch, 0), 100))

    def _set(self, parameter: int, value: int) -> None:
        self._check(self._library.espeak_SetParameter(parameter, value, 0), f"set parameter {parameter} to {value}")

    def _check(self, status: int, action: str) -> None:
        if status:
            raise SynthesisError(f"espeak-ng could not {action} ({status}).")

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count:
            self._chunks.append(ctypes.string_at(samples, count * 2))
        index = 0
        while kind := events[index].type:
            if event_kind := _KINDS.get(kind):
                self._events.append(_to_event(event_kind, events[index]))
            index += 1
        return 0


def _to_event(kind: EventKind, event: _Event) -> Event:
    is_pause = kind is EventKind.PHONEME and bytes(event.id.phoneme).startswith(b"_")
    # Word events count characters from 1; the others state the number of characters before them.
    text_offset = event.text_position - 1 if kind is EventKind.WORD else event.text_position
    return Event(kind, text_offset, event.sample, is_pause)
