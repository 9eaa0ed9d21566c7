"""What SNS does and MiniStack does not: sign its messages. A relay between the two.

MiniStack posts a topic's messages to the relay, which signs them and posts them to the service.
    python -m tests.support.sns_relay serve <folder>
starts the service with a gate whose requests to SNS are answered from that folder: the
certificate, and the address of MiniStack behind the address that confirms a subscription.
"""

import json
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from datasync.composition import Components, compose
from datasync.config.loading import load_settings
from datasync.config.settings import Settings
from datasync.services.events.sns import CONFIRMATION, SnsGate
from tests.support.sns import Signer

CERTIFICATE, ENDPOINT = "certificate.pem", "endpoint"


@contextmanager
def relay(signer: Signer, target: str) -> Iterator[str]:
    """A running relay; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            message = _signed(signer, json.loads(body))
            headers = {
                "Content-Type": "text/plain; charset=UTF-8",
                "x-amz-sns-message-type": message["Type"],
            }
            try:
                answer = httpx.post(
                    target, content=json.dumps(message), headers=headers, timeout=20, verify=False
                )
                self.send_response(answer.status_code)
            except httpx.TransportError:  # the service has ended
                self.send_response(502)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _signed(signer: Signer, message: dict[str, str]) -> dict[str, str]:
    """The same message as SNS would send it."""
    kept = {
        name: text for name, text in message.items() if name not in ("Signature", "SigningCertURL")
    }
    if message["Type"] == CONFIRMATION:
        kept["SubscribeURL"] = f"{signer.home}/?{urlsplit(message['SubscribeURL']).query}"
    return signer.sign(**{**kept, "version": kept.pop("SignatureVersion")})


def composed(folder: Path, settings: Settings) -> Components:
    """The parts of the service, with SNS answered from the folder."""

    def fetch(url: str) -> bytes:
        if url.endswith(".pem"):
            return (folder / CERTIFICATE).read_bytes()
        endpoint = (folder / ENDPOINT).read_text()
        asked = httpx.get(f"{endpoint}/?{urlsplit(url).query}", trust_env=False, verify=False)
        return asked.raise_for_status().content

    return replace(compose(settings), topics=SnsGate(settings.sns_topic_arns, fetch))


def main() -> None:
    """Serve until stopped."""
    import uvicorn

    from datasync.app import bind, create_app, server_config

    folder = Path(sys.argv[2])
    app = create_app(composer=lambda settings: composed(folder, settings))
    settings = load_settings()
    listener = bind(settings.api_host, settings.api_port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):  # raised again by the server once it has stopped
        uvicorn.Server(server_config(app)).run(sockets=[listener])


if __name__ == "__main__":
    main()
