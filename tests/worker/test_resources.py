"""Sharing a device's memory between the slots of a worker."""

import threading

from hpsearch.worker.slot import DeviceMemory


def enter(room: DeviceMemory, inside: threading.Event, leave: threading.Event, *, alone: bool) -> threading.Thread:
    """A training that says when it is in the room, and stays until told to leave."""

    def train() -> None:
        with room.enter(alone=alone):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=train)
    thread.start()
    return thread


def test_who_wants_the_device_alone_is_not_overtaken() -> None:
    """While somebody waits for the device to itself nobody else goes in, and everybody does in the end."""
    room = DeviceMemory()
    insides, leaves = ([threading.Event() for _ in range(3)] for _ in range(2))
    first = enter(room, insides[0], leaves[0], alone=False)
    assert insides[0].wait(10)
    alone = enter(room, insides[1], leaves[1], alone=True)
    while not room._wanted_alone:
        pass
    third = enter(room, insides[2], leaves[2], alone=False)
    assert not insides[1].is_set()
    leaves[0].set()
    assert insides[1].wait(10)
    assert not insides[2].is_set()
    leaves[1].set()
    assert insides[2].wait(10)
    leaves[2].set()
    for thread in (first, alone, third):
        thread.join(10)
        assert not thread.is_alive()
