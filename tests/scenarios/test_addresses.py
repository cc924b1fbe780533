"""Audio URLs that must not be followed: each is a reject that says so, and the others are done."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import pytest

from tests.conftest import StartEmulator
from tests.scenarios.conftest import RunJob, check_bill, check_every_row_once
from tts_pipeline.client import client
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.http.address import AddressScope, scope_of
from tts_pipeline.http.timeouts import Timeouts

METADATA = "http://169.254.169.254/latest/meta-data/"


def _own_address() -> str:
    """Return an address of this machine that others see; "" where it has none. Nothing is sent."""
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((elsewhere, 9))
            except OSError:
                continue
            address = str(probe.getsockname()[0])
            if scope_of(address) in (AddressScope.PUBLIC, AddressScope.PRIVATE):
                return address
    return ""


def _refused(service: LocalService, run: RunJob, rule: dict[str, Any]) -> tuple[str, str]:
    """Let one row of twenty meet a URL; returns its code and its message."""
    service.set_faults([{"what": "shape", "shape": "ali_url", "text": "Line 7.", **rule}])
    result = run(service, rows=20)
    assert result.report.stopped is None
    assert list(result.reject_codes()) == ["r7"]
    check_every_row_once(result, 20)
    check_bill(result, service)
    assert result.billed()[1] == service.bill()["characters"], "the answer was charged, whatever its URL is worth"
    return result.reject_codes()["r7"], str(result.table("rejects")["message"][0])


@pytest.mark.parametrize(
    ("rule", "part"),
    [
        ({"fetch": "redirect", "location": METADATA}, "http://169.254.169.254, which is not visited"),
        ({"url": METADATA}, "http://169.254.169.254, which is not visited"),
        ({"url": "file:///etc/passwd"}, "neither http nor https"),
        ({"shape": "redirect", "url": "file:///etc/passwd"}, "neither http nor https"),
    ],
)
def test_no_service_leads_there(tone_service: LocalService, run: RunJob, rule: dict[str, Any], part: str) -> None:
    """Cloud metadata and files, at once and by a redirect; also for a service on this machine."""
    code, message = _refused(tone_service, run, rule)
    assert code == "RefusedUrl"
    assert part in message


@pytest.mark.parametrize("inside", ["127.0.0.1", "localhost", "[::1]", "0x7f.1"])
@pytest.mark.parametrize("by_redirect", [False, True])
def test_a_service_elsewhere_does_not_lead_to_this_machine(
    emulator: StartEmulator, run: RunJob, inside: str, by_redirect: bool
) -> None:
    """Whatever the address is called, and though it has a server that would answer."""
    address = _own_address()
    if not address:
        pytest.skip("this machine has no address but loopback")
    service = emulator(voice_mode="tone", host=address)
    url = f"http://{inside}:{service.url.rpartition(':')[2]}/emulator/bill"
    rule = {"fetch": "redirect", "location": url} if by_redirect else {"url": url}
    code, message = _refused(service, run, rule)
    assert code == "RefusedUrl"
    assert "inside a private network" in message


def test_a_url_that_never_ends(tone_service: LocalService, run: RunJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up at the size cap, which is smaller here."""
    monkeypatch.setattr(client, "Timeouts", partial(Timeouts, max_body_bytes=2_000_000))
    code, message = _refused(tone_service, run, {"fetch": "endless"})
    assert code == "AnswerTooLarge"
    assert "larger than 2000000 bytes" in message
