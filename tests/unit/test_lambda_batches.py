"""The Lambda forwarder with many records: what fails alone, what is split, what is given back."""

import json
from types import ModuleType
from typing import Any

import pytest

from tests.support.forwarding import (
    EVENTBRIDGE_EVENT,
    RECORD,
    Clock,
    Context,
    accept,
    batch,
    failures,
    message,
    refuse,
    refuse_if,
)
from tests.support.scripted_server import Peer, ScriptedServer, Seen, answer

MIB = 2**20
NAMES = [f"m{number:02}" for number in range(20)]
EIGHT = batch(*map(message, NAMES[:8]))


def names(seen: Seen) -> list[str]:
    """The messages of one request."""
    return [record["messageId"] for record in json.loads(seen.body)["Records"]]


def taken(service: ScriptedServer, bad: set[str]) -> list[str]:
    """The messages of all requests that held no bad one."""
    held = [names(seen) for seen in service.requests]
    return sorted(name for each in held if not bad & set(each) for name in each)


class TestBadMessages:
    @pytest.mark.parametrize("status", [400, 413, 422])
    @pytest.mark.parametrize("bad", [{"m00"}, {"m07", "m08"}, {"m19"}, set(NAMES[::3])])
    def test_only_they_fail_and_the_others_arrive_once(
        self, bad: set[str], status: int, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(refuse_if(lambda seen: bool(bad & set(names(seen))), status))
        event = batch(*map(message, NAMES))
        assert handler.lambda_handler(event, Context()) == failures(*sorted(bad))
        assert taken(service, bad) == sorted(set(NAMES) - bad)

    @pytest.mark.parametrize("bad", [{"m00"}, {"m07", "m08"}, set(NAMES[::3])])
    def test_those_that_the_service_rejects_beside_good_ones_fail(
        self, bad: set[str], handler: ModuleType, service: ScriptedServer
    ) -> None:
        """It takes a request of which a part is good, and refuses one of which nothing is."""

        def part(peer: Peer, seen: Seen) -> bool:
            there = set(names(seen))
            if there <= bad:
                return refuse(400)(peer, seen)
            detail = {"file_key": 'a "status":"rejected" b', "status": "queued"}
            told = [{"status": "rejected"}] * len(there & bad) + [detail]
            body = json.dumps({"status": "accepted", "sync_details": told}).encode()
            return answer("202 Accepted", body)(peer, seen)

        service.script(part)
        event = batch(*map(message, NAMES))
        assert handler.lambda_handler(event, Context()) == failures(*sorted(bad))
        assert taken(service, bad) == sorted(set(NAMES) - bad)

    def test_a_message_of_which_a_part_is_for_us_is_taken(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(answer("202 Accepted", b'{"sync_details": [{"status":"rejected"}]}'))
        assert handler.lambda_handler(batch(message("m00")), Context()) == failures()
        assert len(service.requests) == 1

    def test_one_among_many_is_found_in_few_requests(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(refuse_if(lambda seen: "m777" in names(seen)))
        event = batch(*(message(f"m{number}") for number in range(1000)))
        assert handler.lambda_handler(event, Context()) == failures("m777")
        assert len(service.requests) <= 21
        assert service.connections <= 12

    def test_the_log_names_them_and_the_reason(
        self, handler: ModuleType, service: ScriptedServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        service.script(refuse_if(lambda seen: "m03" in names(seen)))
        handler.lambda_handler(EIGHT, Context())
        line = json.loads(capsys.readouterr().out)
        assert (line["level"], line["message"]) == ("WARNING", "partly delivered")
        assert line["source"] == "sqs"
        assert (line["records"], line["failed"]) == (8, ["m03"])
        assert "answered 400" in line["reason"]

    def test_when_all_are_bad_it_raises(self, handler: ModuleType, service: ScriptedServer) -> None:
        service.script(refuse(400))
        with pytest.raises(handler.Refused, match="answered 400"):
            handler.lambda_handler(EIGHT, Context())

    def test_where_a_message_has_no_name_it_raises(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        """An answer that cannot name what failed would count as success."""
        nameless = {"eventSource": "aws:sqs", "body": "nameless"}
        service.script(refuse_if(lambda seen: b"nameless" in seen.body))
        with pytest.raises(handler.Refused):
            handler.lambda_handler(batch(message("one"), nameless), Context())

    def test_of_other_events_the_good_records_arrive_before_it_raises(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(refuse_if(lambda seen: b"bad" in seen.body))
        with pytest.raises(handler.Refused):
            handler.lambda_handler({"Records": [RECORD, {"bad": 1}, RECORD]}, Context())
        bodies = [json.loads(seen.body)["Records"] for seen in service.requests]
        assert bodies.count([RECORD]) == 2

    def test_the_first_reason_is_the_one_that_is_told(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(refuse(400, "both"), refuse(422, "the first"), refuse(503, "then down"))
        with pytest.raises(handler.Refused, match="the first"):
            handler.lambda_handler({"Records": [{"bad": 1}, RECORD]}, Context())


class TestServiceFailures:
    @pytest.mark.parametrize("status", [401, 403, 404, 405])
    def test_a_refusal_of_the_sender_is_not_searched_for_in_the_messages(
        self, status: int, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(refuse(status))
        with pytest.raises(handler.Refused):
            handler.lambda_handler(EIGHT, Context())
        assert len(service.requests) == 1

    def test_a_batch_that_did_not_arrive_raises(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(refuse(503))
        with pytest.raises(handler.DeliveryFailed, match="503"):
            handler.lambda_handler(EIGHT, Context())
        assert len(service.requests) == 3

    @pytest.mark.parametrize("status", [401, 503])
    def test_what_is_left_when_the_service_goes_down_is_given_back(
        self, status: int, handler: ModuleType, service: ScriptedServer
    ) -> None:
        """The batch is refused, its first half arrives, then nothing is taken any more."""
        service.script(refuse(400), accept(), refuse(status))
        assert handler.lambda_handler(EIGHT, Context()) == failures(*NAMES[4:8])

    def test_after_a_failure_nothing_else_is_tried(
        self, handler: ModuleType, service: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RETRY_ATTEMPTS", "1")
        service.script(refuse(400), refuse(503), accept())
        with pytest.raises(handler.DeliveryFailed, match="503"):
            handler.lambda_handler(EIGHT, Context())
        assert len(service.requests) == 2

    def test_what_is_left_when_the_time_is_over_is_given_back(
        self, handler: ModuleType, service: ScriptedServer, clock: Clock
    ) -> None:
        def accept_late(peer: Peer, seen: Seen) -> bool:
            clock.ahead += 100
            return accept()(peer, seen)

        service.script(refuse(400), accept_late, accept())
        assert handler.lambda_handler(EIGHT, Context()) == failures(*NAMES[4:8])
        assert len(service.requests) == 2


class TestLargeBodies:
    @pytest.fixture(autouse=True)
    def _limit(self, service: ScriptedServer) -> None:
        service.script(refuse_if(lambda seen: len(seen.body) > MIB, 413))

    def test_a_large_batch_arrives_in_parts_and_in_order(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        event = batch(*(message(name, 240_000) for name in NAMES))
        assert handler.lambda_handler(event, Context()) == {"batchItemFailures": []}
        assert max(len(seen.body) for seen in service.requests) <= MIB
        assert [name for seen in service.requests for name in names(seen)] == NAMES
        assert service.connections == 1

    @pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1])
    def test_the_limit_is_exact(
        self, size: int, handler: ModuleType, service: ScriptedServer
    ) -> None:
        event: dict[str, Any] = {"Records": [""]}
        empty = len(json.dumps(event, separators=(",", ":")))
        event["Records"] = ["x" * (size - empty)]
        if size > MIB:
            with pytest.raises(handler.Refused, match="a body of 1048577 bytes"):
                handler.lambda_handler(event, Context())
        else:
            handler.lambda_handler(event, Context())
        assert [len(seen.body) for seen in service.requests] == [size] * (size <= MIB)

    def test_a_message_over_the_limit_fails_alone(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        event = batch(message("small"), message("huge", MIB), message("little"))
        assert handler.lambda_handler(event, Context()) == failures("huge")
        assert taken(service, set()) == ["little", "small"]

    def test_a_record_over_the_limit_fails_loudly_and_the_others_arrive(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        with pytest.raises(handler.Refused, match="over the limit"):
            handler.lambda_handler({"Records": [RECORD, {"x": "x" * MIB}, RECORD]}, Context())
        arrived = [each for seen in service.requests for each in json.loads(seen.body)["Records"]]
        assert arrived == [RECORD, RECORD]

    def test_an_event_that_cannot_be_split_fails_loudly(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        with pytest.raises(handler.Refused, match="over the limit"):
            handler.lambda_handler({**EVENTBRIDGE_EVENT, "x": "x" * MIB}, Context())
        assert service.requests == []
