"""SeaweedFS as the server of a benchmark: a real one, which is often the slowest in the room.

It is filled, and changed between rounds, through S3, with s5cmd, the fastest way to have many
objects. It keeps its own dates and ETags; sizes and bytes are those of the items.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.contestants import S5CMD, access
from benchmarks.files import write
from benchmarks.light import BUCKET, Item, Pool
from benchmarks.site import Site
from tests.support import seaweed
from tests.support.s3_server import S3Server
from tests.support.servers import ServerProcess


class RealisticServer:
    """One SeaweedFS for all rounds of a workload; each round changes what differs."""

    dated = False

    def __init__(self, site: Site, pool: Pool) -> None:
        self.pool = pool
        self._site = site
        self._running: tuple[ServerProcess, S3Server] | None = None
        self._held: dict[str, Item] = {}

    def close(self) -> None:
        """Stop the server, if it ever started."""
        if self._running is not None:
            self._running[0].stop()

    @contextmanager
    def serving(self, items: Sequence[Item]) -> Iterator[S3Server]:
        """The server with these objects, and no others, in its bucket."""
        server = self._started()
        wanted = {item.key: item for item in items}
        self._put(server, [item for item in items if self._held.get(item.key) != item])
        self._remove(server, [key for key in self._held if key not in wanted])
        self._held = wanted
        yield server

    def _started(self) -> S3Server:
        if self._running is None:
            folder = self._site.folder / "seaweed"
            folder.mkdir()
            self._running = seaweed.start(folder)
            self._running[1].client().create_bucket(Bucket=BUCKET)
        return self._running[1]

    def _put(self, server: S3Server, items: Sequence[Item]) -> None:
        if not items:
            return
        folder = self._site.folder / "put"
        write(folder, items, self.pool)
        self._s5cmd(server, "cp", f"{folder}/", f"s3://{BUCKET}/")
        self._site.put_away(folder)

    def _remove(self, server: S3Server, keys: Sequence[str]) -> None:
        if keys:
            lines = "".join(f"rm s3://{BUCKET}/{key}\n" for key in keys)
            self._s5cmd(server, "run", said=lines)

    def _s5cmd(self, server: S3Server, *command: str, said: str = "") -> None:
        told = [S5CMD, "--log", "error", *command]
        subprocess.run(told, env=access(server), input=said, text=True, check=True)
