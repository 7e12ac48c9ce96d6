"""Networks that are slow, silent, cut, or lose the answer on its way back."""

import random
from collections.abc import AsyncIterator, Iterable

from tests.faults.kinds.processes import pause
from tests.harness.district import District
from tests.harness.proxy import Proxy


async def slow_network(district: District, dice: random.Random) -> AsyncIterator[None]:
    for way in district.redis_ways.values():
        way.weather.delay_s = dice.uniform(0.05, 0.4)
    await pause(dice, 1.0, 3.0)
    yield
    for way in district.redis_ways.values():
        way.fine()


async def cut_connections(district: District, dice: random.Random) -> AsyncIterator[None]:
    for way in (*district.redis_ways.values(), *district.postgres_ways.values()):
        way.cut()
    yield


async def lost_replies(district: District, dice: random.Random) -> AsyncIterator[None]:
    """Redis carries out what it is told, and nobody hears of it."""
    way = district.redis_ways["api"]
    way.weather.swallows_replies = True
    await pause(dice, 0.2, 1.0)
    yield
    way.fine()


async def redis_refuses(district: District, dice: random.Random) -> AsyncIterator[None]:
    for way in district.redis_ways.values():
        way.weather.refuses = True
        way.cut()
    await pause(dice, 0.3, 1.5)
    yield
    for way in district.redis_ways.values():
        way.fine()


def service_cut_off(district: District, dice: random.Random) -> AsyncIterator[None]:
    return _silence([district.redis_ways["api"]], dice)


def ledger_cut_off(district: District, dice: random.Random) -> AsyncIterator[None]:
    return _silence([district.redis_ways["ledger"]], dice)


def postgres_cut_off(district: District, dice: random.Random) -> AsyncIterator[None]:
    return _silence(district.postgres_ways.values(), dice)


async def _silence(ways: Iterable[Proxy], dice: random.Random) -> AsyncIterator[None]:
    """Connections that are there are half open, new ones are accepted, and nothing comes through."""
    for way in ways:
        way.weather.silent = True
    await pause(dice, 1.0, 4.0)
    yield
    for way in ways:
        way.fine()
        way.cut()
