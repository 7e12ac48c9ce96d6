"""New connections are accepted soon, also while the loop is busy."""

import asyncio
import os
import socket
from collections.abc import Sequence

import uvloop

from grab_service.server.listener import ACCEPTS_A_TURN, handles

KNOCKING = 160


def turns_until_all_are_in(listeners: Sequence[socket.socket]) -> int:
    """Turns of the loop until all waiting connections are accepted."""

    async def let_in() -> int:
        loop = asyncio.get_running_loop()
        inside: list[asyncio.BaseTransport] = []
        turns = 0

        class Guest(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                inside.append(transport)

        def turn() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(turn)

        servers = [await loop.create_server(Guest, sock=one) for one in listeners]
        loop.call_soon(turn)
        async with asyncio.timeout(20):
            while len(inside) < KNOCKING:
                await asyncio.sleep(0)
        for transport in inside:
            transport.close()
        for server in servers:
            server.close()
        return turns

    return uvloop.run(let_in())


def knocked() -> tuple[socket.socket, list[socket.socket]]:
    """A listener, and connections that nobody has accepted."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=KNOCKING)
    return listener, [socket.create_connection(listener.getsockname()) for _ in range(KNOCKING)]


def test_several_are_accepted_in_each_turn_of_the_loop() -> None:
    listener, guests = knocked()
    assert turns_until_all_are_in(handles([listener])) < 3 * KNOCKING / ACCEPTS_A_TURN
    for each in guests:
        each.close()


def test_one_descriptor_alone_would_accept_one_in_each_turn() -> None:
    """Should this fail one day, several descriptors are not needed any more."""
    listener, guests = knocked()
    assert turns_until_all_are_in([listener]) >= KNOCKING
    for each in guests:
        each.close()


def test_a_new_worker_never_lets_the_socket_of_the_old_ones_block() -> None:
    """They share it: an old one that is told of a connection, and is not the first to accept it, would wait for the next."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)  # as a loop that accepts has it
        in_new_worker = socket.socket(fileno=os.dup(listener.fileno()))  # as a process gets it
        for one in handles([in_new_worker]):
            assert not os.get_blocking(listener.fileno())
            one.close()
