"""What one deploys: templates that are clean and grant little, and their Terraform twins."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import decode

from datasync.cli.lambda_commands import DEFAULT_OUTPUT
from tests.support.forwarding import SOURCE

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = {
    "lambda": ROOT / "lambda" / "template.yaml",
    "queue": ROOT / "lambda" / "queue-template.yaml",
}
EVENTS = [
    "s3:ObjectCreated:*",
    "s3:ObjectRemoved:*",
    "s3:ObjectRestore:Completed",
    "s3:LifecycleExpiration:*",
]
PATHS = sorted(TEMPLATES)
KINDS = {"lambda": "lambda_function", "queue": "queue"}  # of a block of a notification
GUIDE = (ROOT / "deploy" / "terraform" / "README.md").read_text(encoding="utf-8")
# What the guide's commands for EventBridge and Secrets Manager answer.
FROM_OTHER_COMMANDS = {"ConnectionArn", "ApiDestinationArn", "VersionId"}


@cache
def template(path: str) -> dict[str, Any]:
    document, problems = decode(str(TEMPLATES[path]))
    assert problems == []
    return dict(document)


def properties(path: str, resource: str) -> dict[str, Any]:
    return dict(template(path)["Resources"][resource]["Properties"])


@cache
def module(path: str) -> str:
    """All of a Terraform module."""
    folder = ROOT / "deploy" / "terraform" / path
    return "\n".join(file.read_text() for file in sorted(folder.glob("*.tf")))


def block(text: str, head: str) -> str:
    """The inside of `head { ... }`, or of brackets."""
    start = re.search(re.escape(head) + r"[^\n{\[]*[{\[]\n", text)
    assert start is not None, head
    indent = re.search(r"[ ]*$", text[: start.start()])
    assert indent is not None
    return re.split(rf"\n{indent[0]}[}}\]]", text[start.end() :])[0]


def statements(value: Any) -> Iterator[dict[str, Any]]:
    """Every statement of every policy below."""
    if isinstance(value, dict):
        if "Effect" in value:
            yield value
        for each in value.values():
            yield from statements(each)
    elif isinstance(value, list):
        for each in value:
            yield from statements(each)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_cfn_lint_finds_nothing() -> None:
    ran = subprocess.run(
        [str(Path(sys.executable).parent / "cfn-lint"), *map(str, TEMPLATES.values())],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr


@pytest.mark.parametrize("path", PATHS)
class TestBothPaths:
    def test_the_bucket_tells_of_every_change(self, path: str) -> None:
        configuration = properties(path, "BucketNotification")["Configuration"]
        assert configuration["Events"] == EVENTS
        assert re.findall(r'"(s3:[^"]+)"', block(module(path), "events = ")) == EVENTS

    def test_terraform_takes_no_notification_away_unasked(self, path: str) -> None:
        """Its resource replaces all that a bucket has."""
        assert block(module(path), 'variable "manage_notification"').endswith("= false")
        set_here = block(module(path), 'resource "aws_s3_bucket_notification" "events"')
        assert "count  = var.manage_notification ? 1 : 0\n" in set_here
        handed_out = block(module(path), 'output "notification"')
        target = f"{KINDS[path]}_arn"
        wanted = {"id", target, "events", "filter_prefix"}
        assert set(re.findall(r"^ {4}(\w+) +=", set_here, re.MULTILINE)) == wanted
        assert set(re.findall(r"^ {4}(\w+) +=", handed_out, re.MULTILINE)) == wanted
        for name in wanted:
            assert (
                f"module.datasync_queue.notification.{name.replace(target, 'queue_arn')}" in GUIDE
            )

    def test_no_policy_is_wide(self, path: str) -> None:
        found = list(statements(template(path)["Resources"]))
        assert len(found) >= 4
        for statement in found:
            assert "*" not in str(statement["Action"]), statement
            assert "*" not in listed(statement.get("Resource")), statement
        assert "Managed" not in str(template(path)["Resources"].get("ForwarderRole"))

    def test_terraform_grants_the_same(self, path: str) -> None:
        connector = template(path)["Resources"]["ConnectorRole"]
        wanted = {
            action
            for name, resource in template(path)["Resources"].items()
            if resource != connector
            for statement in statements(resource)
            for action in listed(statement["Action"])
        }
        granted = re.findall(r'"((?:s3|sqs|logs|sts):[A-Z]\w+)"', module(path))
        assert set(granted) == wanted
        assert not re.search(r'(Action|Resource)\s*=\s*"\*"', module(path))

    def test_what_could_not_be_delivered_is_kept_and_told(self, path: str) -> None:
        assert properties(path, "DeadLetters")["MessageRetentionPeriod"] == 14 * 86400
        alarm = properties(path, "DeadLetterAlarm")
        assert alarm["Dimensions"][0]["Value"] == {"Fn::GetAtt": ["DeadLetters", "QueueName"]}
        assert (alarm["MetricName"], alarm["Threshold"]) == (
            "ApproximateNumberOfMessagesVisible",
            1,
        )
        twin = block(module(path), 'resource "aws_cloudwatch_metric_alarm" "dead_letters"')
        for name in ("MetricName", "Namespace", "Statistic", "ComparisonOperator"):
            assert f'"{alarm[name]}"' in twin

    def test_lambda_takes_the_connector_inline(self, path: str) -> None:
        code = properties(path, "Connector")["Code"]["ZipFile"]
        ast.parse(code, feature_version=(3, 9))
        assert len(code) < 4096, "Lambda takes no more inline"


class TestTwins:
    """Each template and each module is deployed alone: what they share stands in both."""

    def test_the_templates_share_what_they_name_alike(self) -> None:
        one, other = (_parts_of_template(path) for path in PATHS)
        assert {"Connector", "ConnectorRole", "DeadLetterAlarm", "AlarmTopic"} <= set(one)
        # The function needs its queue and its log for more than the connector does.
        assert _unlike(one, other) == {"BucketNotification", "DeadLetters", "Logs"}

    def test_the_modules_share_what_they_name_alike(self) -> None:
        one, other = (_blocks(module(path)) for path in PATHS)
        assert 'resource "aws_sns_topic" "alarm"' in one
        assert _unlike(one, other) == {
            "locals",
            'output "notification"',
            'resource "aws_s3_bucket_notification" "events"',
            'resource "aws_sqs_queue" "dead_letters"',
            'variable "name"',
        }


def _parts_of_template(path: str) -> dict[str, Any]:
    """Parameters, conditions and resources by name, without what tells a reader of them."""
    parts: dict[str, Any] = {}
    for section in ("Parameters", "Conditions", "Resources"):
        for name, given in template(path)[section].items():
            parts[name] = {key: value for key, value in given.items() if key != "Description"}
            if "AlarmDescription" in parts[name].get("Properties", {}):
                parts[name]["Properties"] = {**given["Properties"], "AlarmDescription": ""}
    return parts


def _blocks(text: str) -> dict[str, str]:
    """The blocks of a module by their heads, without what tells a reader of them."""
    found = re.findall(r"^(\w[^\n{]*?) {\n(.*?)^}", text, re.MULTILINE | re.DOTALL)
    return {head: re.sub(r"(?m)^ *(alarm_)?description .*\n", "", body) for head, body in found}


def _unlike(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """What both have by the same name, and not the same."""
    return {name for name in one.keys() & other.keys() if one[name] != other[name]}


class TestLambdaPath:
    def test_the_variables_are_those_the_function_reads(self) -> None:
        read = re.findall(r'(?:environ\.get|_secret|_number)\("([A-Z_]+)"', SOURCE.read_text())
        given = properties("lambda", "Forwarder")["Environment"]["Variables"]
        assert sorted(given) == sorted(read)
        assert set(re.findall(r"([A-Z_]+) +=", block(module("lambda"), "variables = "))) == set(
            read
        )

    def test_secrets_are_shown_nowhere(self) -> None:
        for name, variable in (
            ("ApiKey", "api_key"),
            ("NotificationSecret", "notification_secret"),
        ):
            assert template("lambda")["Parameters"][name]["NoEcho"] is True
            assert "sensitive   = true" in block(module("lambda"), f'variable "{variable}"')
        assert "Secret" not in str(template("lambda")["Outputs"])

    def test_the_times_fit_together(self) -> None:
        function = properties("lambda", "Forwarder")
        assert template("lambda")["Parameters"]["TimeoutSeconds"]["MaxValue"] < function["Timeout"]
        assert properties("lambda", "DeadLetters")["VisibilityTimeout"] == 6 * function["Timeout"]
        assert f"timeout       = {function['Timeout']} #" in module("lambda")

    def test_the_function_is_the_packed_file(self) -> None:
        function = properties("lambda", "Forwarder")
        assert function["CodeUri"] == DEFAULT_OUTPUT.name
        assert function["Handler"] == f"{SOURCE.stem}.lambda_handler"
        for name in ("Handler", "Runtime"):
            assert f'= "{function[name]}"' in module("lambda")

    def test_lambda_tries_again_and_then_keeps_the_event(self) -> None:
        function = properties("lambda", "Forwarder")
        assert function["EventInvokeConfig"]["MaximumRetryAttempts"] == 2
        assert function["DeadLetterQueue"]["TargetArn"] == {"Fn::GetAtt": ["DeadLetters", "Arn"]}
        assert re.search(r"maximum_retry_attempts +=" + " 2\n", module("lambda"))

    def test_a_batch_that_is_redriven_can_fail_in_part(self) -> None:
        mapping = properties("lambda", "RedriveMapping")
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert '["ReportBatchItemFailures"]' in module("lambda")
        assert template("lambda")["Parameters"]["Redrive"]["Default"] == "false"

    def test_only_the_bucket_may_call(self) -> None:
        permission = properties("lambda", "BucketMayCall")
        assert permission["Principal"] == "s3.amazonaws.com"
        assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}
        assert permission["SourceArn"] == {"Fn::Sub": "arn:${AWS::Partition}:s3:::${BucketName}"}


class TestQueuePath:
    def test_only_the_bucket_may_send(self) -> None:
        (statement,) = statements(properties("queue", "EventsPolicy"))
        assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
        assert statement["Condition"] == {
            "ArnEquals": {"aws:SourceArn": {"Fn::Sub": "arn:${AWS::Partition}:s3:::${BucketName}"}},
            "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
        }
        assert re.search(r'ArnEquals +=.*"aws:SourceArn"', module("queue"))
        assert re.search(r'StringEquals +=.*"aws:SourceAccount"', module("queue"))

    def test_poison_goes_to_the_dead_letter_queue(self) -> None:
        redrive = properties("queue", "Events")["RedrivePolicy"]
        assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetters", "Arn"]}
        assert f"maxReceiveCount     = {redrive['maxReceiveCount']}\n" in module("queue")


class TestGuide:
    README = (ROOT / "lambda" / "README.md").read_text(encoding="utf-8")

    def test_the_table_of_variables_is_what_the_function_reads(self) -> None:
        read = re.findall(r'(?:environ\.get|_secret|_number)\("([A-Z_]+)"', SOURCE.read_text())
        assert sorted(re.findall(r"^\| `([A-Z_]+)` \|", self.README, re.MULTILINE)) == sorted(read)

    def test_it_names_parameters_and_outputs_that_there_are(self) -> None:
        given = {name for path in PATHS for name in template(path)["Parameters"]}
        made = {name for path in PATHS for name in template(path)["Outputs"]}
        overrides = set(re.findall(r"\b([A-Z]\w+)=(?!=)", self.README))
        placeholders = set(re.findall(r"<([A-Z][A-Za-z]+)( of the stack)?>", self.README))
        assert overrides - given == set()
        assert {name for name, _ in placeholders} - made == FROM_OTHER_COMMANDS

    def test_the_reasons_it_explains_are_those_the_function_gives(self) -> None:
        source = SOURCE.read_text()
        for words in ("the service answered ", "a redirect (", "no answer: ", "timed out"):
            assert words.rstrip("( ") in self.README and words in source

    def test_links_lead_somewhere(self) -> None:
        for folder in ("lambda", "deploy", "deploy/terraform"):
            text = (ROOT / folder / "README.md").read_text(encoding="utf-8")
            for link in re.findall(r"\]\((?!http|#)([^)#]+)\)", text):
                assert (ROOT / folder / link).exists(), link
