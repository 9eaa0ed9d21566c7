"""Judges a bucket's notification configuration: does it reach this service, and wholly? Pure.

Takes the configuration as GetBucketNotificationConfiguration gives it. Sources: S3 user guide,
"Supported event types for SQS, SNS, and Lambda" and "Configuring event notifications using
object key name filtering".
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote_plus

from datasync.doctor.findings import Finding, passed, warned

# What changes a mirror, as S3 sends it, by the name under which it is configured as a whole.
NEEDED = {
    "s3:ObjectCreated:*": ("Put", "Post", "Copy", "CompleteMultipartUpload"),
    "s3:ObjectRemoved:*": ("Delete", "DeleteMarkerCreated"),
    "s3:ObjectRestore:Completed": ("Completed",),
    "s3:LifecycleExpiration:*": ("Delete", "DeleteMarkerCreated"),
}
SETUP_ADVICE = (
    "lambda/README.md sets up events; without them changes arrive with the next comparison."
)
GAP_ADVICE = (
    "Add it to the bucket's notification configuration; until then it arrives with the next "
    "comparison."
)
UNKNOWN_ADVICE = "datasync doctor --canary shows whether an event comes here."
_ENCODED = re.compile(r"[A-Za-z0-9/!*'()._~+%-]*")


class Reach(StrEnum):
    """Whether a target is this service: by its name, perhaps (behind it), or not at all."""

    OURS = "ours"
    PERHAPS = "perhaps"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Us:
    """By what a target of notifications is known to be this service.

    `is_aws`: of the server that sends them; others compare filters as they stand as well.
    """

    prefix: str = ""
    queue_arn: str | None = None
    topic_arns: tuple[str, ...] = ()
    is_aws: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One target of a bucket's notifications. `events` are S3's names, with `*` as S3 has it.

    `prefixes`: what its filter may mean; nothing where no key can pass it.
    """

    name: str
    reach: Reach
    events: tuple[str, ...]
    prefix: str = ""
    suffix: str = ""
    prefixes: tuple[str, ...] = ("",)

    def sends(self, event: str) -> bool:
        """Whether it sends this event, a full name without `*`."""
        return any(
            event == given or (given.endswith("*") and event.startswith(given[:-1]))
            for given in self.events
        )

    def covers(self, prefix: str) -> bool:
        """Whether its filter lets every key below `prefix` pass."""
        return not self.suffix and any(prefix.startswith(form) for form in self.prefixes)

    def touches(self, prefix: str) -> bool:
        """Whether its filter lets any key below `prefix` pass."""
        return any(prefix.startswith(form) or form.startswith(prefix) for form in self.prefixes)


def _meanings(text: str, us: Us) -> tuple[str, ...]:
    """S3 compares a filter with keys as they stand in events: percent-encoded, spaces as plus."""
    if us.is_aws:
        return (unquote_plus(text),) if _ENCODED.fullmatch(text) else ()
    return text, unquote_plus(text)


def routes_of(configuration: Mapping[str, Any], us: Us) -> list[Route]:
    """Every target in a configuration."""
    found = [
        _route("Lambda function", each, "LambdaFunctionArn", Reach.PERHAPS, us)
        for each in configuration.get("LambdaFunctionConfigurations", ())
    ]
    for each in configuration.get("QueueConfigurations", ()):
        found.append(_route("queue", each, "QueueArn", _reach_of_queue(each["QueueArn"], us), us))
    for each in configuration.get("TopicConfigurations", ()):
        found.append(_route("topic", each, "TopicArn", _reach_of_topic(each["TopicArn"], us), us))
    if "EventBridgeConfiguration" in configuration:
        everything = tuple(NEEDED)
        found.append(Route("EventBridge", Reach.PERHAPS, everything))
    return found


def _route(kind: str, given: Mapping[str, Any], field: str, reach: Reach, us: Us) -> Route:
    rules = given.get("Filter", {}).get("Key", {}).get("FilterRules", ())
    filters = {str(rule["Name"]).lower(): str(rule.get("Value", "")) for rule in rules}
    name = f"{kind} {str(given[field]).rpartition(':')[2]}"
    events = tuple(given.get("Events", ()))
    prefix = filters.get("prefix", "")
    return Route(name, reach, events, prefix, filters.get("suffix", ""), _meanings(prefix, us))


def _reach_of_queue(arn: str, us: Us) -> Reach:
    """MinIO calls every kind of target a queue; what a webhook of its leads to is not told."""
    if arn.startswith("arn:minio:") and arn.endswith(":webhook"):
        return Reach.PERHAPS
    return Reach.OURS if arn == us.queue_arn else Reach.ELSEWHERE


def _reach_of_topic(arn: str, us: Us) -> Reach:
    """A topic may lead to our queue, which only the topic's subscriptions tell."""
    if arn in us.topic_arns:
        return Reach.OURS
    return Reach.PERHAPS if us.queue_arn is not None else Reach.ELSEWHERE


def judge_notifications(configuration: Mapping[str, Any], us: Us) -> Finding:
    """Whether the bucket's events reach this service: all of them that matter, of all keys.

    What is known to be ours must have them all. Any other function, or EventBridge, may belong to
    somebody else: what only those have is a warning.
    """
    routes = routes_of(configuration, us)
    ours = [route for route in routes if route.reach is Reach.OURS]
    perhaps = [route for route in routes if route.reach is Reach.PERHAPS]
    if ours:
        return _judge_ours(ours, perhaps, us.prefix)
    return _judge_others(perhaps, us.prefix) if perhaps else _unreached(routes)


def _judge_ours(ours: Sequence[Route], perhaps: Sequence[Route], prefix: str) -> Finding:
    missed = _gaps(ours, prefix)
    if not missed:
        return passed(f"events of every kind go to {_names(ours)}")
    text = f"events go to {_names(ours)}, but {'; '.join(missed)}"
    helping = [
        each for each in perhaps if _lacking([*ours, each], prefix) != _lacking(ours, prefix)
    ]
    if helping:
        text += f" (unless {_names(helping)} leads here)"
    return warned(text, GAP_ADVICE)


def _judge_others(perhaps: Sequence[Route], prefix: str) -> Finding:
    missed = _gaps(perhaps, prefix)
    text = f"events go to {_names(perhaps)}: whether that leads here, the bucket does not tell"
    if missed:
        return warned(f"{text}; in any case {'; '.join(missed)}", GAP_ADVICE)
    return warned(text, UNKNOWN_ADVICE)


def _unreached(routes: Sequence[Route]) -> Finding:
    if not routes:
        return warned("the bucket sends no events", SETUP_ADVICE)
    return warned(f"the bucket's events go elsewhere only: {_names(routes)}", SETUP_ADVICE)


def _gaps(routes: Sequence[Route], prefix: str) -> list[str]:
    """What does not get through, in words: kinds of events first, then keys."""
    unsent, narrowed = _lacking(routes, prefix)
    gaps = [f"not {', '.join(unsent)}"] if unsent else []
    if narrowed:
        gaps.append(f"{', '.join(narrowed)} not of every key")
    filters = ", ".join(_filter(route) for route in routes if not route.covers(prefix))
    if gaps and filters:
        gaps.append(f"filters: {filters}")
    return gaps


def _lacking(routes: Sequence[Route], prefix: str) -> tuple[list[str], list[str]]:
    """Kinds of events that nothing sends of any key, and those sent of some keys only."""
    unsent = _by_kind(route for route in routes if route.touches(prefix))
    narrowed = _by_kind(route for route in routes if route.covers(prefix))
    return unsent, [kind for kind in narrowed if kind not in unsent]


def _by_kind(routes: Iterable[Route]) -> list[str]:
    """The kinds of events, or single events of a kind, that none of the routes sends."""
    known = list(routes)
    missing = []
    for kind, members in NEEDED.items():
        family = kind.rpartition(":")[0]
        unsent = [
            f"{family}:{member}"
            for member in members
            if not any(route.sends(f"{family}:{member}") for route in known)
        ]
        missing += [kind] if len(unsent) == len(members) else unsent
    return missing


def _filter(route: Route) -> str:
    told = f"{route.name} takes only {route.prefix!r}...{route.suffix!r}"
    return told if route.prefixes else f"{told}, which S3 wants percent-encoded"


def _names(routes: Iterable[Route]) -> str:
    return ", ".join(dict.fromkeys(route.name for route in routes))
