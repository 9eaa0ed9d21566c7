"""Batches of a queue's messages on their way to the intake, each batch a span of its own.

Knows no queue: it gets bodies, and the queue's name for the trace.
"""

from collections.abc import Callable, Sequence

from datasync.controllers.intake import Intake
from datasync.errors import DataSyncError
from datasync.tracing.port import Attributes, Kind, Tracer

VIA = "sqs"

Verdicts = list[DataSyncError | None]


def taker(intake: Intake, tracer: Tracer, queue: str) -> Callable[[Sequence[bytes]], Verdicts]:
    """What a consumer gives its batches to; it raises what the intake's `take` does."""

    def traced(bodies: Sequence[bytes]) -> Verdicts:
        about: Attributes = {
            "messaging.system": "aws_sqs",
            "messaging.operation.type": "process",
            "messaging.destination.name": queue,
            "messaging.batch.message_count": len(bodies),
        }
        span = tracer.begin(f"process {queue}", about, kind=Kind.CONSUMER)
        error: str | None = "they were not journaled"
        try:
            verdicts = intake.take(bodies, VIA, span.traceparent)
            error = next((str(verdict) for verdict in verdicts if verdict is not None), None)
        finally:
            span.end(error=error)
        return verdicts

    return traced if tracer.on else lambda bodies: intake.take(bodies, VIA)
