"""What is shipped for Prometheus and Grafana fits the service, its documents and each other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.core import TyperGroup
from typer.main import get_command

from datasync.cli.entry import app as command_line
from datasync.config.settings import Settings
from datasync.models.sync_models import State
from tests.support.metrics import exposition
from tests.support.promtool import promtool
from tests.support.yaml_files import document

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "monitoring"
DASHBOARD = FOLDER / "grafana" / "dashboards" / "datasync.json"
SEVERITIES = {"critical", "warning"}
CORE = {"stat", "gauge", "bargauge", "timeseries", "heatmap", "table", "state-timeline", "row"}
COLUMNS = 24


def _rules() -> list[dict[str, Any]]:
    return [rule for group in document(FOLDER / "alerts.yml")["groups"] for rule in group["rules"]]


def _dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return found


def _panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _dashboard()["panels"]
    return found


def _expressions(value: Any) -> Iterator[str]:
    """Every PromQL in a dashboard: of panels, variables and annotations."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("expr", "query", "definition") and isinstance(inner, str):
                yield inner
            else:
                yield from _expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _expressions(inner)


def _names(expressions: Iterator[str]) -> set[str]:
    return {name for text in expressions for name in re.findall(r"\bdatasync_\w+", text)}


def _exposed() -> set[str]:
    """The names of all samples, as expressions name them."""
    families = text_string_to_metric_families(exposition())
    return {sample.name for family in families for sample in family.samples}


# -- alerts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_happened_and_what_to_do(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"DataSync[A-Z]\w+", rule["alert"])
    assert rule["labels"]["severity"] in SEVERITIES
    assert set(rule["annotations"]) == {"summary", "description"}
    assert "What to do: " in rule["annotations"]["description"]
    assert len(rule["annotations"]["summary"]) < 100
    used = re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))
    assert set(used) <= {"instance", "reason"}
    assert _names(iter([rule["expr"]])) <= _exposed()


def test_commands_and_settings_that_alerts_name_exist() -> None:
    texts = " ".join(rule["annotations"]["description"] for rule in _rules())
    group = get_command(command_line)
    assert isinstance(group, TyperGroup)
    assert set(re.findall(r"`datasync ([a-z]+)", texts)) <= set(group.commands)
    words = {word.rstrip("_") for word in re.findall(r"\b[A-Z]{3,}(?:_[A-Z]+)+\b", texts)}
    assert words <= {name.upper() for name in Settings.model_fields}


def test_the_documents_list_of_alerts_is_theirs() -> None:
    text = (ROOT / "docs" / "METRICS.md").read_text("utf-8")
    listed = re.findall(r"^\| `(DataSync\w+)` \| (\w+) \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(
        (rule["alert"], rule["labels"]["severity"]) for rule in _rules()
    )
    assert set(re.findall(r"`(DataSync\w+)`", text)) == {rule["alert"] for rule in _rules()}


def test_every_alert_is_tried() -> None:
    tried = {
        name
        for test in document(FOLDER / "alerts_test.yml")["tests"]
        for asked in test["promql_expr_test"]
        for sample in asked["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    }
    assert tried == {rule["alert"] for rule in _rules()}


def test_the_stories_of_alerts_are_told_in_metrics_of_the_service() -> None:
    series = (
        each["series"]
        for test in document(FOLDER / "alerts_test.yml")["tests"]
        for each in test["input_series"]
    )
    assert _names(series) <= _exposed()


def test_prometheus_takes_its_configuration_and_the_rules() -> None:
    # The file with the key is where Prometheus runs, not here.
    promtool("check", "config", "--syntax-only", "prometheus.yml", folder=FOLDER)
    said = promtool("check", "rules", "alerts.yml", folder=FOLDER)
    assert f"{len(_rules())} rules found" in said


def test_alerts_fire_when_they_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml", folder=FOLDER)


def test_the_job_asks_the_service_with_a_key_from_a_file() -> None:
    config = document(FOLDER / "prometheus.yml")
    [job] = config["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("datasync", "/metrics")
    assert set(job["authorization"]) == {"credentials_file"}
    assert job["static_configs"] == [{"targets": ["datasync:8888"]}]
    assert config["rule_files"] == ["alerts.yml"]


# -- the dashboard -------------------------------------------------------------------------------


def test_the_dashboard_asks_for_metrics_of_the_service_only() -> None:
    asked = _names(_expressions(_dashboard()))
    assert asked <= _exposed()
    assert len(asked) > 40  # and nearly everything is shown


@pytest.mark.parametrize("panel", _panels(), ids=lambda panel: str(panel["title"]))
def test_a_panel_is_described_and_has_its_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["type"] in CORE
    if panel["type"] == "row":
        return
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert [target["refId"] for target in panel["targets"]] == list(
        "ABCDEF"[: len(panel["targets"])]
    )
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert target["expr"].count("(") == target["expr"].count(")")
        assert 'instance="$instance"' in target["expr"]


def test_panels_have_ids_of_their_own_and_cover_the_page_without_overlap() -> None:
    ids = [panel["id"] for panel in _panels()]
    assert len(set(ids)) == len(ids)
    covered: set[tuple[int, int]] = set()
    for panel in _panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & covered, panel["title"]
        covered |= cells
    height = max(y for _, y in covered) + 1
    assert covered == {(x, y) for x in range(COLUMNS) for y in range(height)}


def test_the_first_row_answers_what_everybody_asks() -> None:
    first = {panel["title"] for panel in _panels() if panel["gridPos"]["y"] == 0}
    wanted = {"In sync?", "Behind by", "Lag p99", "Pending", "Failed", "Held deletes", "Disk free"}
    assert wanted <= first


def test_the_dashboard_fits_every_prometheus_and_service() -> None:
    dashboard = _dashboard()
    variables = {each["name"]: each["type"] for each in dashboard["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query", "service": "textbox"}
    assert dashboard["uid"] == "datasync"
    assert dashboard["id"] is None  # Grafana gives it
    assert all(link["url"].startswith("${service}/") for link in dashboard["links"])


def test_every_state_has_a_colour() -> None:
    [panel] = [panel for panel in _panels() if panel["title"] == "Keys by state"]
    coloured = {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]}
    assert coloured == {state.value for state in State}


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    provisioning = FOLDER / "grafana" / "provisioning"
    [source] = document(provisioning / "datasources" / "prometheus.yml")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    interval = document(FOLDER / "prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
    [provider] = document(provisioning / "dashboards" / "datasync.yml")["providers"]
    assert provider["type"] == "file"
