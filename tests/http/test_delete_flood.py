"""A flood of deletes by events, as people and programs see it."""

from prometheus_client.parser import text_string_to_metric_families

from tests.support.fake_bucket import FakeBucket
from tests.support.service import Service, Starter
from tests.support.world import eventually


def metric(service: Service, name: str) -> float:
    families = text_string_to_metric_families(service.api.get("/metrics").text)
    samples = {sample.name: sample.value for family in families for sample in family.samples}
    return samples[f"datasync_{name}"]


def test_a_flood_is_told_with_the_way_out_and_keeps_nothing_from_equality(
    start_service: Starter,
) -> None:
    bucket = FakeBucket()
    for number in range(20):
        bucket.put(f"k{number:02}", b"x")
    service = start_service(bucket)
    service.sync()
    stats = service.get("/sync/stats")
    assert (stats["deleted_last_hour"], stats["delete_flood"]) == (0, False)
    gone = [f"k{number:02}" for number in range(12)]
    for key in gone:
        bucket.delete(key)
    service.parts.service.mark([(key, "event") for key in gone])
    eventually(lambda: service.get("/sync/stats")["deleted_last_hour"] == 12)
    health = service.get("/sync/health")
    assert health["status"] == "degraded"
    assert "12 of 20 files (60 %) were deleted within an hour" in health["message"]
    assert "'datasync trash list'" in health["message"]
    assert (health["held_run"], health["in_sync"]) == (None, True)
    assert service.get("/sync/stats")["delete_flood"] is True
    assert (metric(service, "deleted_last_hour"), metric(service, "delete_flood")) == (12, 1)
