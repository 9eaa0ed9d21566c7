"""AWS Lambda: hands S3 events to a DataSync service, or fails loudly.

One file, standard library only, to be zipped alone; Python 3.9 to 3.14. S3 calls it directly or
through SNS, SQS or EventBridge; the event goes out as it came, keys untouched. Delivery that did
not happen raises, so that Lambda tries again and, after that, its dead-letter queue keeps the
event; of a batch from SQS only the messages that were not taken are given back.

Environment: API_ENDPOINT (base URL of the service), NOTIFICATION_SECRET (signs each request),
API_KEY (sent as X-API-Key), TIMEOUT_SECONDS=30 (for all tries together), RETRY_ATTEMPTS=3 (tries
of one request in all). Proxy variables are ignored: events and keys go where API_ENDPOINT says.
"""

import contextlib
import email.utils
import hashlib
import hmac
import http.client
import json
import os
import random
import re
import select
import socket
import ssl
import threading
import time
import urllib.parse
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

PATH = "/sync/s3-notification"
PORTS = {"http": 80, "https": 443}
MAX_BODY_BYTES = 2**20  # what the service takes in one request
MARGIN_SECONDS = 0.5  # left before Lambda's own deadline, to fail in words and not by force
SHORTEST_TRY_SECONDS = 0.1
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
IDLE_SECONDS = 55.0  # load balancers drop what was idle for 60
ANSWER_BYTES = 65536
REJECTED = re.compile(rb'"status":\s*"rejected"')  # a detail of the answer; these come first


class DeliveryFailed(Exception):
    """The service did not take the event."""


class Refused(DeliveryFailed):
    """The service, or something in its place, answered that no retry can help."""


class RecordsRefused(Refused):
    """The reason lies in the records, perhaps in one of them only."""


class Unavailable(DeliveryFailed):
    """No answer, 429 or 5xx: the same request may succeed later."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def lambda_handler(event: Any, context: Any) -> Dict[str, Any]:
    """Deliver one event; Lambda's entry point. Raises: DeliveryFailed, ValueError.

    Answers a batch of SQS with the messages to be delivered again; raises when not one was taken,
    which slows down the polling and loses nothing where ReportBatchItemFailures was forgotten.
    """
    log = Log(str(getattr(context, "aws_request_id", "") or ""))
    try:
        source, records = read_event(event)
        log.fields.update(source=source, records=len(records))
        target = read_target()
        delivery = Delivery(target, time.monotonic() + _budget_seconds(target, context), log)
        failed = delivery.send(event, records)
        if delivery.error and not (source == "sqs" and delivery.taken):
            raise delivery.error
    except (DeliveryFailed, ValueError) as error:
        log.write("ERROR", "delivery failed", reason=str(error))
        raise
    status, tries, ids = delivery.status, delivery.tries, [each["messageId"] for each in failed]
    if ids:
        log.write("WARNING", "partly delivered", failed=ids[:10], reason=str(delivery.error))
    else:
        log.write("INFO", "delivered", status=status, attempts=tries)
    if source == "sqs":
        return {"batchItemFailures": [{"itemIdentifier": each} for each in ids]}
    return {"statusCode": status, "records": len(records), "attempts": tries}


def read_event(event: Any) -> Tuple[str, List[Any]]:
    """Who called, and the records. Raises: ValueError when it is no S3 event."""
    if isinstance(event, dict):
        if isinstance(event.get("Records"), list):
            return _source(event["Records"]), event["Records"]
        if event.get("Event") == "s3:TestEvent":
            return "test", []
        if event.get("detail-type"):
            return "eventbridge", [event]
    raise ValueError("this is no S3 event: it has neither Records nor a detail-type")


def _source(records: List[Any]) -> str:
    """It is "sqs" only if the answer can name each record that fails."""
    mappings = [record for record in records if isinstance(record, dict)]
    named = [each for each in mappings if isinstance(each.get("messageId"), str)]
    if records and sum(each.get("eventSource") == "aws:sqs" for each in named) == len(records):
        return "sqs"
    return "sns" if any(each.get("EventSource") == "aws:sns" for each in mappings) else "s3"


class Target(NamedTuple):
    """Where events go, as whom, and how long that may take."""

    scheme: str
    host: str
    port: int
    path: str
    api_key: str
    secret: str
    timeout_seconds: float
    attempts: int


def read_target() -> Target:
    """The settings of this function. Raises: ValueError naming the variable, not its value."""
    return Target(
        *_endpoint(os.environ.get("API_ENDPOINT", "").strip()),
        api_key=_secret("API_KEY"),
        secret=_secret("NOTIFICATION_SECRET"),
        timeout_seconds=_number("TIMEOUT_SECONDS", 30.0),
        attempts=int(_number("RETRY_ATTEMPTS", 3)),
    )


def _endpoint(text: str) -> Tuple[str, str, int, str]:
    example = "API_ENDPOINT must be the base URL of the service, such as https://host:8888"
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        raise ValueError(example) from None
    if "@" in parts.netloc:
        raise ValueError("API_ENDPOINT must not hold credentials; set API_KEY")
    plain = text.isascii() and text.isprintable() and not set(" ?#") & set(text)
    if parts.scheme not in PORTS or not parts.hostname or not plain:
        raise ValueError(example)
    base = parts.path.rstrip("/")
    return parts.scheme, parts.hostname, port, base if base.endswith(PATH) else base + PATH


def _secret(name: str) -> str:
    text = os.environ.get(name, "").strip()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("{} must consist of printable ASCII characters".format(name))
    return text


def _number(name: str, default: float) -> float:
    value = 0.0
    with contextlib.suppress(ValueError):
        value = float(os.environ.get(name, "").strip() or default)
    if not 1 <= value <= 900:
        raise ValueError("{} must be a number from 1 to 900".format(name))
    return value


def _budget_seconds(target: Target, context: Any) -> float:
    remaining = getattr(context, "get_remaining_time_in_millis", lambda: float("inf"))
    left = float(remaining()) / 1000 - MARGIN_SECONDS
    return max(SHORTEST_TRY_SECONDS, min(target.timeout_seconds, left))


# Delivery: as a whole, in parts, again


class Delivery:
    """The requests of one invocation, until `deadline` (monotonic), and what came of them."""

    def __init__(self, target: Target, deadline: float, log: "Log") -> None:
        self._target, self._deadline, self._log = target, deadline, log
        self._over: Optional[DeliveryFailed] = None  # why no other request is worth a try
        self.error: Optional[DeliveryFailed] = None  # the first one that cost a record
        self.taken = self.tries = self.status = 0

    def send(self, event: Dict[str, Any], records: List[Any]) -> List[Any]:
        """Deliver the records, halved as often as needed; returns those that were not taken.

        A body over the limit and one refused for its content are handled alike: halving ends with
        the bad record alone, in fewer requests than one for each record. So is a batch of which
        the service took a part only: what it took does no harm a second time.
        """
        # Of a single message it is enough that one of its events is for us.
        wholly = _source(records) == "sqs" and len(records) > 1
        try:
            self.status = self._until_taken(_encoded(event, records), wholly)
            self.taken += 1
            return []
        except RecordsRefused as error:
            failed: DeliveryFailed = error
        except DeliveryFailed as error:
            self._over = failed = error
        if isinstance(failed, RecordsRefused) and len(records) > 1:
            middle = len(records) // 2
            return self.send(event, records[:middle]) + self.send(event, records[middle:])
        self.error = self.error or failed
        return records

    def _until_taken(self, body: bytes, wholly: bool) -> int:
        if self._over:
            raise self._over
        if len(body) > MAX_BODY_BYTES:
            raise RecordsRefused("a body of {} bytes is over the limit".format(len(body)))
        attempt = 1
        while True:
            try:
                status, answer = self._once(body, self._target.attempts - attempt + 1)
                if wholly and REJECTED.search(answer):
                    raise RecordsRefused("the service rejected some of the records")
                return status
            except Unavailable as error:
                pause = _pause_seconds(attempt, error.retry_after)
                last = attempt >= self._target.attempts
                if last or time.monotonic() + pause >= self._deadline:
                    raise DeliveryFailed("{} (try {})".format(error, attempt)) from None
                self._log.write("WARNING", "trying again", reason=str(error), pause=round(pause, 3))
            time.sleep(pause)
            attempt += 1

    def _once(self, body: bytes, tries_left: int) -> Tuple[int, bytes]:
        """One try, with its share of the time, so that one hanging connection is not all."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DeliveryFailed("the time was over")
        self.tries += 1
        return post(body, self._target, max(SHORTEST_TRY_SECONDS, left / tries_left))


def _encoded(event: Dict[str, Any], records: List[Any]) -> bytes:
    document = {**event, "Records": records} if "Records" in event else event
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _pause_seconds(attempt: int, retry_after: float) -> float:
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**attempt)
    return max(retry_after, random.uniform(longest / 2, longest))


def post(body: bytes, target: Target, timeout_seconds: float) -> Tuple[int, bytes]:
    """One try; returns the 2xx status and the answer. Raises: Refused, Unavailable."""
    ends = time.monotonic() + timeout_seconds
    try:
        status, retry_after, text = _exchange(body, target, ends)
    except (OSError, http.client.HTTPException) as error:
        named = _one_line(error) if isinstance(error, OSError) else type(error).__name__
        reason = "timed out" if time.monotonic() >= ends else named
        raise Unavailable("no answer: {}".format(reason)) from None
    if 200 <= status < 300:
        return status, text
    if 300 <= status < 400:
        raise Refused("a redirect ({}) was not followed; correct API_ENDPOINT".format(status))
    message = "the service answered {}: {}".format(status, _detail(text, target))
    if status == 429 or status >= 500:
        raise Unavailable(message, _retry_after(retry_after))
    raise (RecordsRefused if status in (400, 413, 422) else Refused)(message)


def _retry_after(value: str) -> float:
    """Seconds to wait: the header is a number or a date (RFC 9110, 10.2.3)."""
    if value.isdecimal() and value.isascii():
        return float(value[:9])
    with contextlib.suppress(ValueError, TypeError, IndexError, OverflowError):
        return email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    return 0.0


def _detail(text: bytes, target: Target) -> str:
    """What the service said is wrong: `detail` of its JSON error, else the start of the text."""
    said = text.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        said = str(json.loads(said)["detail"])
    for secret in filter(None, (target.api_key, target.secret)):
        said = said.replace(secret, "***")  # some servers show the request in their errors
    return _one_line(said)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300]


# Requests


def _headers(body: bytes, target: Target) -> Dict[str, str]:
    """The headers of one try; its signature is from now."""
    headers = {"Content-Type": "application/json", "User-Agent": "datasync-lambda"}
    if target.api_key:
        headers["X-API-Key"] = target.api_key
    if target.secret:
        stamp = str(int(time.time()))
        signed = hmac.new(target.secret.encode(), stamp.encode() + b"." + body, hashlib.sha256)
        headers["X-DataSync-Timestamp"] = stamp
        headers["X-DataSync-Signature"] = "v1=" + signed.hexdigest()
    return headers


# At most one idle connection, where it leads, and since when it is idle by the clock on the wall,
# which also counts the time in which Lambda had stopped this process. Whoever uses it takes it out.
_kept: List[Tuple[http.client.HTTPConnection, Target, float]] = []


def _exchange(body: bytes, target: Target, ends: float) -> Tuple[int, str, bytes]:
    """Ask over the connection that was kept, else over a new one; see `_ask`.

    A kept one that ends before it answers was closed while it was idle: that costs no try.
    """
    kept = _take_kept(target)
    if kept is not None:
        try:
            return _ask(kept, body, target, ends)
        except (ConnectionError, ssl.SSLError):
            if time.monotonic() >= ends:
                raise
    return _ask(_connected(target, ends), body, target, ends)


def _connected(target: Target, ends: float) -> http.client.HTTPConnection:
    """A new connection. By itself http.client would give each address and TLS all of the time."""
    made = http.client.HTTPConnection(target.host, target.port)
    made.default_port = PORTS[target.scheme]  # is not named in the Host header
    made.sock = _reached(target.host, target.port, ends)
    made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as http.client does
    if target.scheme == "https":
        made.sock.settimeout(_left(ends))  # for the handshake as a whole
        context = ssl.create_default_context()
        made.sock = context.wrap_socket(made.sock, server_hostname=target.host)
    return made


def _reached(host: str, port: int, ends: float) -> socket.socket:
    """The first of a name's addresses that answers; each has its share of the time."""
    places: List[Any] = [each[4] for each in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)]
    for left in range(len(places), 1, -1):
        with contextlib.suppress(OSError):
            return socket.create_connection(places[-left][:2], _left(ends) / left)
    return socket.create_connection(places[-1][:2], _left(ends))


def _take_kept(target: Target) -> Optional[http.client.HTTPConnection]:
    while _kept:
        connection, leads_to, since = _kept.pop()
        poll = select.poll()
        poll.register(connection.sock, select.POLLIN)
        fresh = 0 <= time.time() - since < IDLE_SECONDS
        # An idle connection has nothing to say but that it ends.
        if fresh and leads_to == target and not poll.poll(0):
            return connection
        connection.close()
    return None


def _ask(
    connection: http.client.HTTPConnection, body: bytes, target: Target, ends: float
) -> Tuple[int, str, bytes]:
    """Status, Retry-After and the start of the text; then the connection is kept, or closed."""
    keep, text, sock = False, b"", connection.sock
    # Sockets only limit the wait for the next byte, which may be one of many.
    timer = threading.Timer(_left(ends), _shut, [sock])
    timer.daemon = True
    timer.start()
    try:
        sock.settimeout(_left(ends))
        with contextlib.suppress(ConnectionError):  # an early answer may tell why
            connection.request("POST", target.path, body, _headers(body, target))
        with connection.getresponse() as response:
            with contextlib.suppress(OSError, http.client.HTTPException):  # the status has come
                text = response.read(ANSWER_BYTES)
            keep = 200 <= response.status < 300 and response.isclosed() and not _kept
        return response.status, response.getheader("Retry-After", ""), text
    finally:
        timer.cancel()
        if keep and connection.sock is not None:
            _kept.append((connection, target, time.time()))
        else:
            connection.close()


def _left(ends: float) -> float:
    return max(0.001, ends - time.monotonic())


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended by itself
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # below TLS, which is still being read


class Log:
    """One JSON object a line; `fields` are in each. Neither bodies nor keys nor secrets are."""

    def __init__(self, request_id: str) -> None:
        self._started = time.monotonic()
        self.fields: Dict[str, Any] = {"request_id": request_id}

    def write(self, level: str, message: str, **fields: Any) -> None:
        """Write one line."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"timestamp": now, "level": level, "message": message, **self.fields, **fields}
        print(json.dumps({**line, "seconds": round(time.monotonic() - self._started, 3)}))
