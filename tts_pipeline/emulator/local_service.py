"""Run the local service in a separate process, for the duration of a ``with`` block."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import urlsplit

from tts_pipeline.deprecation import renamed_arguments
from tts_pipeline.emulator.options import EmulatorOptions, require_engine, to_arguments
from tts_pipeline.errors import ConfigurationError

_RESPONSE_TIMEOUT_S = 60.0
_SHUTDOWN_TIMEOUT_S = 5.0


class LocalService:
    """The local speech service in a separate process, which ``with`` (or ``start``) starts and ends.

    The process also ends when this process dies in any way, and ignores the terminal's Ctrl-C.

    Args:
        options: The options of the service; None is the default.

    Example:
        >>> with LocalService(EmulatorOptions(voice_mode="tone")) as local:
        ...     local.bill()["charged"]
        0
    """

    def __init__(self, options: EmulatorOptions | None = None) -> None:
        self.options = replace(options or EmulatorOptions(), while_stdin=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        """The service's URL, without ``/v1`` and without a trailing slash."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(timeout_s=_SHUTDOWN_TIMEOUT_S if kind is None or issubclass(kind, Exception) else 0)

    @property
    def pid(self) -> int:
        """The id of the process.

        Raises:
            ConfigurationError: The service is not running.
        """
        return self._live_process().pid

    def start(self) -> None:
        """Start the process and wait until it answers.

        Raises:
            ConfigurationError: espeak-ng is not installed, or the service did not start; the message says why.
        """
        require_engine(self.options)
        command = [sys.executable, "-m", "tts_pipeline.emulator", *to_arguments(self.options)]
        with tempfile.TemporaryFile() as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
            self.url = self._wait_until_ready(self._process, stderr)

    @renamed_arguments(within_s="timeout_s")
    def close(self, timeout_s: float = _SHUTDOWN_TIMEOUT_S) -> None:
        """End the process, if it runs; kill it if it has not ended after ``timeout_s``."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def kill(self) -> None:
        """Kill the process, as a power cut would."""
        self._live_process().kill()
        self.close()

    def bill(self, *, entries: bool = False) -> dict[str, Any]:
        """Return the bill: ``received``, ``requests``, ``charged``, ``characters``, ``max_in_flight``, ``in_flight``.

        Args:
            entries: Also ``entries``, one object for every request in order of arrival.
        """
        summary: dict[str, Any] = self._request("GET", f"/emulator/bill?entries={int(entries)}")
        return summary

    def reset_bill(self) -> None:
        """Drop all requests so far from the bill."""
        self._request("DELETE", "/emulator/bill")

    def set_faults(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Replace the fault rules; ``tts_pipeline.emulator.rules`` describes them.

        Raises:
            ConfigurationError: A rule is invalid; the message lists the valid names or values.
        """
        self._request("PUT", "/emulator/faults", list(rules))

    def faults(self) -> list[dict[str, Any]]:
        """Return the rules in force, each with ``seen`` and ``hits``."""
        rules: list[dict[str, Any]] = self._request("GET", "/emulator/faults")
        return rules

    def clear_faults(self) -> None:
        """Remove all fault rules."""
        self._request("DELETE", "/emulator/faults")

    def _live_process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ConfigurationError("The local speech service is not running.", hint="start it with `with` or `start`")
        return self._process

    def _wait_until_ready(self, process: subprocess.Popen[bytes], stderr: IO[bytes]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()  # empty when the process ended; no timeout, because the machine may be busy
        if line:
            return str(json.loads(line)["url"])
        self.close()
        stderr.seek(0)
        last = stderr.read().decode(errors="replace").strip().splitlines()[-1:] or ["it printed no error"]
        raise ConfigurationError(f"The local speech service did not start: {last[0]}")

    def _request(self, method: str, path: str, body: object = None) -> Any:
        # ``http.client`` ignores proxies in the environment, which must not redirect this request.
        with closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=_RESPONSE_TIMEOUT_S)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            payload = json.loads(response.read() or b"null")
        if response.status >= 400:
            raise ConfigurationError(f"The local speech service refused the request: {payload['message']}")
        return payload
