"""The ways on which events reach the service, each built on MiniStack as an operator would.

A route makes what lies between the bucket and the service; `Scene` is both ends.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from datasync.forwarder import handler_file, zipped
from tests.support.s3_server import S3Server
from tests.support import sns_relay
from tests.support.service_process import ServiceProcess
from tests.support.sns import Signer
from tests.support.sns_relay import relay
from tests.support.world import eventually

KEY = "an-api-key"
SECRET = "a-shared-secret"
NOTIFICATION = "/sync/s3-notification"
EVENTS = [
    "s3:ObjectCreated:*",
    "s3:ObjectRemoved:*",
    "s3:ObjectRestore:Completed",
    "s3:LifecycleExpiration:*",
]


@dataclass
class Scene:
    """A versioned bucket of MiniStack, and the settings of a service that mirrors it."""

    server: S3Server
    bucket: str
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    command: Sequence[str] = ("-m", "datasync", "serve")
    signer: Signer | None = None
    ends: ExitStack = field(default_factory=ExitStack)  # what ends with the scene

    def client(self, name: str) -> Any:
        return boto3.client(
            name,  # type: ignore[call-overload]  # the name is not a literal here
            endpoint_url=self.server.endpoint_url,
            aws_access_key_id=self.server.access_key,
            aws_secret_access_key=self.server.secret_key,
            region_name=self.server.region,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )

    def service(self, **settings: str) -> ServiceProcess:
        """Start the service; reconciliations are off, so that only events bring anything."""
        given = {"ENABLE_PERIODIC_SYNC": "false", "API_KEYS": KEY, **self.settings, **settings}
        return ServiceProcess(self.server, self.bucket, self.folder, self.command, **given)

    def notify(self, **targets: Any) -> None:
        self.client("s3").put_bucket_notification_configuration(
            Bucket=self.bucket, NotificationConfiguration=targets
        )

    # What routes are made of

    def queue(self) -> tuple[str, str]:
        """A queue that S3 and SNS may send to: its URL and ARN."""
        client = self.client("sqs")
        url = client.create_queue(QueueName=self.bucket)["QueueUrl"]
        asked = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        arn = asked["Attributes"]["QueueArn"]
        policy = _allow("sqs:SendMessage", arn, "s3.amazonaws.com", "sns.amazonaws.com")
        client.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        return url, arn

    def topic(self) -> str:
        """A topic that S3 may publish to: its ARN."""
        client = self.client("sns")
        arn: str = client.create_topic(Name=self.bucket)["TopicArn"]
        policy = _allow("sns:Publish", arn, "s3.amazonaws.com")
        client.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=policy)
        return arn

    def function(self, **variables: str) -> str:
        """The real forwarder with these settings: its ARN."""
        client = self.client("lambda")
        made = client.create_function(
            FunctionName=self.bucket,
            Runtime="python3.12",
            Role="arn:aws:iam::000000000000:role/forwarder",
            Handler="s3_lambda_handler.lambda_handler",
            Code={"ZipFile": zipped(handler_file())},
            Timeout=35,
            Environment={"Variables": variables},
        )
        client.add_permission(
            FunctionName=self.bucket,
            StatementId="bucket",
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
            SourceArn=f"arn:aws:s3:::{self.bucket}",
        )
        return str(made["FunctionArn"])


def _allow(action: str, arn: str, *services: str) -> str:
    statements = [
        {"Effect": "Allow", "Principal": {"Service": each}, "Action": action, "Resource": arn}
        for each in services
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


# Routes: what must be there before the service starts, and what is connected to it afterwards


def lambda_prepare(scene: Scene) -> None:
    """S3 -> Lambda -> HTTP, signed and without a key."""
    scene.settings["NOTIFICATION_SECRET"] = SECRET


def lambda_connect(scene: Scene, service: ServiceProcess) -> None:
    arn = scene.function(API_ENDPOINT=service.url, NOTIFICATION_SECRET=SECRET)
    scene.notify(LambdaFunctionConfigurations=[{"LambdaFunctionArn": arn, "Events": EVENTS}])


def sqs_prepare(scene: Scene) -> None:
    """S3 -> SQS -> the service's own consumer."""
    url, arn = scene.queue()
    scene.settings["SQS_QUEUE_URL"] = url
    scene.settings["AWS_ENDPOINT_URL_SQS"] = scene.server.endpoint_url
    scene.notify(QueueConfigurations=[{"QueueArn": arn, "Events": EVENTS}])


def sns_sqs_prepare(scene: Scene) -> None:
    """S3 -> SNS -> SQS -> the service's own consumer."""
    url, queue = scene.queue()
    topic = scene.topic()
    scene.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    scene.settings["SQS_QUEUE_URL"] = url
    scene.settings["AWS_ENDPOINT_URL_SQS"] = scene.server.endpoint_url
    scene.notify(TopicConfigurations=[{"TopicArn": topic, "Events": EVENTS}])


def sns_prepare(scene: Scene) -> None:
    """S3 -> SNS -> HTTP, signed by SNS and without a key."""
    topic, signer = scene.topic(), Signer(scene.server.region)
    scene.settings["SNS_TOPIC_ARNS"] = topic
    (scene.folder / sns_relay.CERTIFICATE).write_bytes(signer.certificate)
    (scene.folder / sns_relay.ENDPOINT).write_text(scene.server.endpoint_url)
    scene.command = ("-m", "tests.support.sns_relay", "serve", str(scene.folder))
    scene.signer = signer
    scene.notify(TopicConfigurations=[{"TopicArn": topic, "Events": EVENTS}])


def sns_connect(scene: Scene, service: ServiceProcess) -> None:
    assert scene.signer is not None
    url = scene.ends.enter_context(relay(scene.signer, f"{service.url}{NOTIFICATION}"))
    client, topic = scene.client("sns"), scene.settings["SNS_TOPIC_ARNS"]
    client.subscribe(TopicArn=topic, Protocol="http", Endpoint=url)

    def confirmed() -> bool:
        [found] = client.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        asked = client.get_subscription_attributes(SubscriptionArn=found["SubscriptionArn"])
        return bool(asked["Attributes"]["PendingConfirmation"] == "false")

    eventually(confirmed, 20)


def eventbridge_connect(scene: Scene, service: ServiceProcess) -> None:
    """S3 -> EventBridge -> API destination -> HTTP, with a key in a header."""
    client, name = scene.client("events"), scene.bucket
    auth = {"ApiKeyAuthParameters": {"ApiKeyName": "X-API-Key", "ApiKeyValue": KEY}}
    connection = client.create_connection(
        Name=name, AuthorizationType="API_KEY", AuthParameters=auth
    )
    destination = client.create_api_destination(
        Name=name,
        ConnectionArn=connection["ConnectionArn"],
        InvocationEndpoint=f"{service.url}{NOTIFICATION}",
        HttpMethod="POST",
    )
    wanted = {"source": ["aws.s3"], "detail": {"bucket": {"name": [scene.bucket]}}}
    client.put_rule(Name=name, EventPattern=json.dumps(wanted))
    target = {
        "Id": "service",
        "Arn": destination["ApiDestinationArn"],
        "RoleArn": "arn:aws:iam::000000000000:role/events",
    }
    client.put_targets(Rule=name, Targets=[target])
    scene.notify(EventBridgeConfiguration={})


def nothing(*_: object) -> None:
    """Nothing to do at this moment."""


@dataclass(frozen=True)
class Route:
    prepare: Callable[[Scene], None]
    connect: Callable[[Scene, ServiceProcess], None]
    source: str  # as the statistics name it


ROUTES: Mapping[str, Route] = {
    "lambda": Route(lambda_prepare, lambda_connect, "http.s3"),
    "sns": Route(sns_prepare, sns_connect, "http.s3"),
    "sqs": Route(sqs_prepare, nothing, "sqs.s3"),
    "sns-sqs": Route(sns_sqs_prepare, nothing, "sqs.s3"),
    "eventbridge": Route(nothing, eventbridge_connect, "http.eventbridge"),
}
