"""The Kubernetes manifests: what they say of the service is true, they fit together, and they
keep to the strictest of the Pod Security Standards."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from datasync.api.security import OPEN_PATHS, OPEN_WITH_KEYS
from datasync.app import STOP_SECONDS
from datasync.config.loading import load_settings
from datasync.config.settings import SECRET_FILES, SECRETS, Settings
from scripts.compose_setup import DATASYNC
from server import app as http_app
from tests.support.programs import needed
from tests.support.yaml_files import document

ROOT = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
FOLDERS = sorted(path.parent for path in ROOT.rglob("kustomization.yaml"))
BASE, EXAMPLE = ROOT / "base", ROOT / "overlays" / "example"
STATEFUL: dict[str, Any] = document(BASE / "statefulset.yaml")
POD: dict[str, Any] = STATEFUL["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
SERVICE: dict[str, Any] = document(BASE / "service.yaml")
POLICY: dict[str, Any] = document(BASE / "networkpolicy.yaml")
MONITOR: dict[str, Any] = document(ROOT / "components" / "service-monitor" / "servicemonitor.yaml")
PORT = Settings.model_fields["api_port"].default
NAME = "app.kubernetes.io/name"

each_folder = pytest.mark.parametrize(
    "folder", FOLDERS, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def kustomization(folder: Path) -> dict[str, Any]:
    return dict(document(folder / "kustomization.yaml"))


def literals(folder: Path) -> dict[str, str]:
    """The variables that a folder sets."""
    makers = kustomization(folder).get("configMapGenerator", [])
    found = [line.partition("=") for maker in makers for line in maker["literals"]]
    return {name: value for name, _, value in found}


def mount(name: str) -> str:
    (found,) = (each for each in CONTAINER["volumeMounts"] if each["name"] == name)
    return str(found["mountPath"])


def volume(name: str) -> dict[str, Any]:
    (found,) = (each for each in POD["volumes"] if each["name"] == name)
    return dict(found)


class TestFiles:
    @each_folder
    def test_what_is_named_is_there_and_what_is_there_is_named(self, folder: Path) -> None:
        spec = kustomization(folder)
        patches = [patch["path"] for patch in spec.get("patches", [])]
        named = [*spec.get("resources", []), *spec.get("components", []), *patches]
        assert all((folder / each).exists() for each in named)
        files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
        assert files == {each for each in named if not each.startswith("..")}

    def test_every_part_is_of_one_name(self) -> None:
        for path in [*BASE.glob("*.yaml"), ROOT / "components/service-monitor/servicemonitor.yaml"]:
            if path.name != "kustomization.yaml":
                found = document(path)
                assert found["metadata"]["labels"] == {NAME: "datasync"}, path.name
                assert "namespace" not in found["metadata"], path.name

    def test_no_secret_stands_in_them(self) -> None:
        for path in ROOT.rglob("*.yaml"):
            text = path.read_text(encoding="utf-8")
            assert "kind: Secret\n" not in text, path
            assert not re.search(r"AKIA|(?<![\w/-])[A-Za-z0-9+_-]{32,}(?![\w/-])", text), path

    def test_the_readme_names_the_files_that_secrets_become(self) -> None:
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        for folder in FOLDERS:
            for name, value in literals(folder).items():
                if name.lower() in SECRET_FILES:
                    assert f"`{Path(value).name}`" in readme, value
        assert mount("secrets") in readme

    def test_the_secret_of_the_metrics_is_the_one_that_the_readme_makes(self) -> None:
        credentials = MONITOR["spec"]["endpoints"][0]["authorization"]["credentials"]
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        made = f"secret generic {credentials['name']} --from-file={credentials['key']}"
        assert made in readme


class TestSettings:
    @each_folder
    def test_each_variable_is_a_setting_and_none_is_secret(self, folder: Path) -> None:
        assert set(literals(folder)) <= {name.upper() for name in Settings.model_fields}
        assert not set(literals(folder)) & {name.upper() for name in (*SECRETS, "database_url")}

    def test_they_are_good_together(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.chdir(tmp_path)
        given = {name: value for folder in FOLDERS for name, value in literals(folder).items()}
        for name, value in given.items():
            monkeypatch.setenv(name, value.replace(mount("secrets"), str(tmp_path)))
            if name.lower() in SECRET_FILES:
                (tmp_path / Path(value).name).write_text("ops:a-long-random-text:admin\n")
        settings = load_settings()
        assert (settings.log_file, settings.log_format) == (None, "json")
        assert settings.api_port == PORT
        assert settings.access_keys, "without keys the probe for readiness is answered 401"

    def test_secrets_are_files_of_the_secret(self) -> None:
        for folder in FOLDERS:
            for name, value in literals(folder).items():
                if name.lower() in SECRET_FILES:
                    assert str(Path(value).parent) == mount("secrets")
                    assert Path(value).name == name.removesuffix("_FILE").lower()
        (found,) = (each for each in CONTAINER["volumeMounts"] if each["name"] == "secrets")
        assert found["readOnly"] is True
        assert "subPath" not in found, "such a file does not change when the Secret does"

    def test_nothing_else_becomes_a_variable(self) -> None:
        """A Service of the name `api` would become API_PORT=tcp://..."""
        assert POD["enableServiceLinks"] is False
        assert "env" not in CONTAINER
        assert CONTAINER["envFrom"] == [{"configMapRef": {"name": "datasync"}}]


class TestPod:
    def test_there_is_one(self) -> None:
        assert (STATEFUL["kind"], STATEFUL["spec"]["replicas"]) == ("StatefulSet", 1)

    def test_it_keeps_to_the_restricted_standard(self) -> None:
        own = CONTAINER["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert POD["securityContext"]["runAsNonRoot"] is True
        assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(POD)
        kinds = {kind for each in POD["volumes"] for kind in each if kind != "name"}
        assert kinds == {"persistentVolumeClaim", "emptyDir", "secret"}
        labels = document(EXAMPLE / "namespace.yaml")["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"

    def test_its_user_is_the_images(self) -> None:
        given = POD["securityContext"]
        users = {given[name] for name in ("runAsUser", "runAsGroup", "fsGroup")}
        assert users == {DATASYNC}

    def test_it_can_write_only_where_it_must(self) -> None:
        assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
        writable = {m["mountPath"] for m in CONTAINER["volumeMounts"] if not m.get("readOnly")}
        assert writable == {"/data", "/tmp"}
        assert literals(BASE)["LOCAL_DOWNLOAD_DIR"].startswith(f"{mount('mirror')}/")

    def test_it_has_nothing_to_say_to_the_cluster(self) -> None:
        account = document(BASE / "serviceaccount.yaml")
        assert POD["automountServiceAccountToken"] is False
        assert account["automountServiceAccountToken"] is False
        assert POD["serviceAccountName"] == account["metadata"]["name"]

    def test_its_claim_is_the_one_that_is_made(self) -> None:
        claim = document(BASE / "volume.yaml")["metadata"]["name"]
        assert volume("mirror")["persistentVolumeClaim"]["claimName"] == claim
        assert document(EXAMPLE / "volume.yaml")["metadata"]["name"] == claim

    def test_the_image_is_pinned_and_the_example_names_another(self) -> None:
        name, _, tag = CONTAINER["image"].partition(":")
        (other,) = kustomization(EXAMPLE)["images"]
        assert name == other["name"]
        assert re.fullmatch(r"\d+\.\d+\.\d+", tag)
        assert re.fullmatch(r"\d+\.\d+\.\d+", other["newTag"])

    def test_it_has_time_to_stop(self) -> None:
        assert POD["terminationGracePeriodSeconds"] > STOP_SECONDS + 10

    def test_memory_is_bounded_and_the_processor_is_not(self) -> None:
        assert set(CONTAINER["resources"]["limits"]) == {"memory"}
        assert set(CONTAINER["resources"]["requests"]) == {"cpu", "memory"}


class TestProbes:
    @pytest.mark.parametrize(
        ("probe", "paths"),
        [
            ("startupProbe", OPEN_PATHS),
            ("livenessProbe", OPEN_PATHS),
            ("readinessProbe", OPEN_WITH_KEYS),
        ],
    )
    def test_it_asks_what_is_there_and_needs_no_key(
        self, probe: str, paths: frozenset[str]
    ) -> None:
        asked = CONTAINER[probe]["httpGet"]
        assert asked["path"] in paths
        assert asked["path"] in http_app.openapi()["paths"]
        assert asked["port"] in {port["name"] for port in CONTAINER["ports"]}

    def test_nothing_is_restarted_because_s3_or_the_disk_fails(self) -> None:
        for probe in ("startupProbe", "livenessProbe"):
            assert CONTAINER[probe]["httpGet"]["path"] == "/health/live"

    def test_a_health_check_may_take_its_three_seconds(self) -> None:
        assert CONTAINER["readinessProbe"]["timeoutSeconds"] > 3

    def test_migrations_have_minutes(self) -> None:
        probe = CONTAINER["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 300


class TestNetwork:
    def test_the_port_is_the_services(self) -> None:
        (port,) = CONTAINER["ports"]
        (offered,) = SERVICE["spec"]["ports"]
        assert port["containerPort"] == offered["port"] == PORT
        assert offered["targetPort"] == port["name"]
        assert literals(BASE)["API_PORT"] == str(PORT)

    def test_all_of_them_mean_the_pod(self) -> None:
        labels = STATEFUL["spec"]["template"]["metadata"]["labels"]
        assert STATEFUL["spec"]["selector"]["matchLabels"] == labels
        assert SERVICE["spec"]["selector"] == labels
        assert POLICY["spec"]["podSelector"]["matchLabels"] == labels
        assert STATEFUL["spec"]["serviceName"] == SERVICE["metadata"]["name"]

    def test_prometheus_finds_the_service(self) -> None:
        wanted = MONITOR["spec"]["selector"]["matchLabels"]
        assert wanted == SERVICE["metadata"]["labels"]
        (endpoint,) = MONITOR["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in SERVICE["spec"]["ports"]}
        assert endpoint["path"] in http_app.openapi()["paths"]

    def test_the_policy_lets_in_and_out_what_is_needed_and_no_more(self) -> None:
        spec = POLICY["spec"]
        assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
        (inwards,) = spec["ingress"]
        assert [port["port"] for port in inwards["ports"]] == [CONTAINER["ports"][0]["name"]]
        assert inwards["from"] == [{"podSelector": {}}]
        outwards = {port["port"] for rule in spec["egress"] for port in rule["ports"]}
        assert outwards == {53, 443}


class TestRendered:
    @pytest.mark.parametrize("folder", [BASE, EXAMPLE], ids=["base", "example"])
    def test_kustomize_takes_it(self, folder: Path) -> None:
        found = self._rendered(folder)
        kinds = ["ServiceAccount", "PersistentVolumeClaim", "StatefulSet", "Service"]
        assert {*kinds, "ConfigMap", "NetworkPolicy"} <= {each["kind"] for each in found}

    def test_the_example_is_put_together(self) -> None:
        found = {each["kind"]: each for each in self._rendered(EXAMPLE)}
        namespaces = {each["metadata"].get("namespace", "datasync") for each in found.values()}
        assert namespaces == {"datasync"}
        given = found["ConfigMap"]["data"]
        assert given["S3_BUCKET_NAME"] == "my-bucket"
        assert given["LOG_FILE"] == ""
        assert given["NOTIFICATION_SECRET_FILE"].startswith(mount("secrets"))
        (container,) = found["StatefulSet"]["spec"]["template"]["spec"]["containers"]
        assert (
            container["envFrom"][0]["configMapRef"]["name"]
            == found["ConfigMap"]["metadata"]["name"]
        )
        assert container["image"] == "registry.example.com/datasync:0.1.0"
        assert len(found["NetworkPolicy"]["spec"]["ingress"][0]["from"]) == 3
        assert "eks.amazonaws.com/role-arn" in found["ServiceAccount"]["metadata"]["annotations"]

    @staticmethod
    def _rendered(folder: Path) -> list[dict[str, Any]]:
        program = needed("kubectl", "install it as kubernetes.io tells for your system")
        command = [program, "kustomize", str(folder)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (ran.returncode, ran.stderr) == (0, "")
        return list(yaml.safe_load_all(ran.stdout))
