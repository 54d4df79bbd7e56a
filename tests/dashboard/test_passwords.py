"""passwords.py: whoever guesses the dashboard's password gets slower and slower, and nobody else does."""

import base64

import pytest

from hpsearch.dashboard import passwords
from hpsearch.dashboard.access import AccessControl
from hpsearch.dashboard.passwords import PasswordGuard, group_address

RIGHT, WRONG = (f"Basic {base64.b64encode(f'me:{password}'.encode()).decode()}" for password in ("right", "wrong"))
GUESSER, OTHER = "192.0.2.1", "192.0.2.2"


class Clock:
    """A clock that tests set."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which pauses are measured."""
    made = Clock()
    monkeypatch.setattr(passwords, "time", made)
    return made


def ask(access: AccessControl, address: str, authorization: str) -> int:
    """The status that a request from the address is answered with."""
    environ = {"REQUEST_METHOD": "GET", "REMOTE_ADDR": address, "HTTP_AUTHORIZATION": authorization}
    refusal = access.find_refusal(environ)
    return 200 if refusal is None else int(refusal.status.split()[0])


def test_guesses_get_slower(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """An address has ten tries, then about one a minute; the log has one line on it, with the address."""
    access = AccessControl(password="right")
    looked_at = 0
    for _ in range(36_000):  # an hour, ten guesses a second
        looked_at += ask(access, GUESSER, WRONG) == 401
        clock.now += 0.1
    assert looked_at < 80
    (message,) = caplog.messages
    assert GUESSER in message
    assert "\n" not in message


def test_right_password_waits_with_its_address_only(clock: Clock) -> None:
    """Within a pause the right password is not looked at, from another address it is; after it, all is as at first."""
    access = AccessControl(password="right")
    assert [ask(access, GUESSER, WRONG) for _ in range(12)] == [401] * 10 + [429] * 2
    assert ask(access, GUESSER, RIGHT) == 429
    assert ask(access, OTHER, RIGHT) == 200
    clock.now += 1.01
    assert ask(access, GUESSER, RIGHT) == 200
    assert [ask(access, GUESSER, WRONG) for _ in range(11)] == [401] * 10 + [429]


def test_request_without_a_password_is_no_try(clock: Clock) -> None:
    """A browser asks first without one."""
    access = AccessControl(password="right")
    assert [ask(access, GUESSER, "") for _ in range(100)] == [401] * 100
    assert ask(access, GUESSER, RIGHT) == 200


def test_addresses_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong passwords of over an hour ago do not count, and only so many addresses are remembered."""
    monkeypatch.setattr(passwords, "MAX_ADDRESSES", 3)
    guard = PasswordGuard("right")
    for _ in range(9):
        guard.accepts(GUESSER, WRONG)
    clock.now += 3601
    guard.accepts(GUESSER, WRONG)
    assert guard.find_pause(GUESSER) == 0
    for number in range(10):
        guard.accepts(f"198.51.100.{number}", WRONG)
    assert len(guard._wrong) == 3


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "no address"),
    ],
)
def test_network_of_ipv6_counts_as_one_address(address: str, group: str) -> None:
    """A host of IPv6 has all the addresses of its network."""
    assert group_address(address) == group
