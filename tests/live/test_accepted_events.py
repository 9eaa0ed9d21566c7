"""A 2xx is a promise: `kill -9` right after it, and the key is current after the restart.

Without a new event and without a reconciliation: those are switched off here.
`ACCEPTED_ROUNDS=n` kills so often.
"""

import os
import random
import secrets
import time
from pathlib import Path

import pytest

from tests.support import envelopes
from tests.support.s3_server import S3Server
from tests.support.service_process import ServiceProcess
from tests.support.world import eventually

ROUNDS = int(os.environ.get("ACCEPTED_ROUNDS", "8"))
pytestmark = pytest.mark.timeout(300 + 10 * ROUNDS)
KEYS = [f"k/{number:02}" for number in range(40)]


def test_what_was_accepted_is_current_after_a_kill(seaweed: S3Server, tmp_path: Path) -> None:
    seed = int(os.environ.get("ACCEPTED_SEED") or secrets.randbelow(10**9))
    print(f"ACCEPTED_SEED={seed}")
    chance, client, bucket = random.Random(seed), seaweed.client(), seaweed.make_bucket()
    content: dict[str, bytes] = {}
    versions: set[bytes] = set()  # all that the bucket ever had
    for _ in range(ROUNDS):
        accepted = chance.sample(KEYS, chance.randrange(1, 12))
        with ServiceProcess(seaweed, bucket, tmp_path, ENABLE_PERIODIC_SYNC="false") as service:
            service.wait_until_up()
            assert_current(service, content)
            for key in accepted:
                if key in content and chance.random() < 0.3:
                    client.delete_object(Bucket=bucket, Key=key)
                    del content[key]
                else:
                    content[key] = chance.randbytes(chance.choice([10, 3_000, 300_000]))
                    versions.add(content[key])
                    client.put_object(Bucket=bucket, Key=key, Body=content[key])
            for key in accepted:
                told = envelopes.records(envelopes.s3_record(key, bucket=bucket))
                assert service.post("/sync/s3-notification", json=told)["status"] == "accepted"
            time.sleep(chance.choice([0.0, 0.0, 0.003, 0.02, 0.1]))  # the moment of the kill
            service.kill()
        assert set(service.files().values()) <= versions
    with ServiceProcess(seaweed, bucket, tmp_path, ENABLE_PERIODIC_SYNC="false") as service:
        service.wait_until_up()
        assert_current(service, content)
        assert service.get("/sync/runs")["runs"] == []
        assert service.terminate() == 0
        assert service.staged() == []


def assert_current(service: ServiceProcess, content: dict[str, bytes]) -> None:
    def current() -> bool:
        try:
            return service.files() == content
        except FileNotFoundError:  # removed since it was listed
            return False

    eventually(current, 30)
