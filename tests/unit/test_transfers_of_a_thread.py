"""How much of large bodies waits in memory between two turns of the thread that carries them."""

from contextlib import closing

from datasync.services.storage.s3.loop import HEAVY_PIECES, LoopOptions, TransferLoop
from tests.support.scripted_server import ScriptedServer, good

BODY = bytes(16 * 2**20)
BODIES = 8
ONE_SOCKET = 4 * 2**20  # libcurl reads up to 1.4 MiB of it at once; two may share a turn


def test_of_large_bodies_that_come_side_by_side_one_at_a_time_waits_in_memory() -> None:
    options = LoopOptions(timeout_seconds=30, connect_timeout_seconds=10)
    with ScriptedServer() as server, closing(TransferLoop(options, BODIES)) as loop:
        server.script(*[good(BODY) for _ in range(BODIES)])
        bodies = [loop.begin(f"{server.url}/{n}", [], False, n) for n in range(BODIES)]
        waiting, left, is_heavy = list[int](), BODIES, False
        while left:
            moved, ended = loop.turn(10)
            assert all(each.code == 0 for each in ended)
            left -= len(ended)
            pieces = [each.take() for each in {*moved, *(each.transfer for each in ended)}]
            if is_heavy:
                waiting.append(sum(len(piece) for each in pieces for piece in each))
            is_heavy = is_heavy or any(len(each) >= HEAVY_PIECES for each in pieces)
        assert max(waiting) <= ONE_SOCKET
        assert [body.received for body in bodies] == [len(BODY)] * BODIES
