"""The manifests agree with the code, the images and each other."""

import re
import tomllib
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest

from core.settings import CONFIG_VARIABLE, PREFIX
from tests.deploy.images import ROOT, entrypoint, stages
from tests.deploy.manifests import (
    COMPONENT,
    OVERLAYS,
    SERVICES,
    amount,
    container,
    enter,
    labels,
    of_kind,
    pod,
    probe_paths,
    selects,
    variables,
    workloads,
)

PORT = int(entrypoint()[entrypoint().index("--port") + 1])
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

pytestmark = pytest.mark.parametrize("overlay", OVERLAYS)
each_service = pytest.mark.parametrize("service", SERVICES)


def claims(overlay: str, service: str) -> dict[str, PurePosixPath]:
    """Where the volumes that outlive a pod are mounted, by name."""
    templates = workloads(overlay)[service]["spec"].get("volumeClaimTemplates", [])
    names = {template["metadata"]["name"] for template in templates}
    return {mount["name"]: PurePosixPath(mount["mountPath"]) for mount in container(overlay, service)["volumeMounts"] if mount["name"] in names}


def test_there_are_four_workloads_and_what_keeps_data_is_no_deployment(overlay: str) -> None:
    assert {name: workload["kind"] for name, workload in workloads(overlay).items()} == {
        "embedder": "Deployment",
        "gateway": "StatefulSet",
        "generator": "Deployment",
        "retriever": "StatefulSet",
    }


def test_the_store_has_one_replica_and_a_volume(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    retriever = workloads(overlay)["retriever"]
    data = PurePosixPath(enter(overlay, "retriever", monkeypatch).retriever.data_dir)

    assert retriever["spec"]["replicas"] == 1
    assert claims(overlay, "retriever") == {"documents": data}


def test_jobs_and_records_outlive_the_gateways_pod(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = enter(overlay, "gateway", monkeypatch)

    for folder in (settings.jobs.data_dir, settings.records.data_dir):
        assert PurePosixPath(folder).is_relative_to(claims(overlay, "gateway")["jobs"])


def test_all_else_keeps_nothing(overlay: str) -> None:
    assert claims(overlay, "embedder") == claims(overlay, "generator") == {}


def test_the_gateway_has_room_for_all_uploads_it_admits_and_for_a_parser(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = enter(overlay, "gateway", monkeypatch)
    (scratch,) = [volume["emptyDir"]["sizeLimit"] for volume in pod(overlay, "gateway")["volumes"] if volume["name"] == "scratch"]

    assert amount(scratch) >= settings.gateway.max_concurrency * settings.gateway.max_body_bytes
    assert amount(container(overlay, "gateway")["resources"]["limits"]["memory"]) > settings.ingestion.parse_memory_bytes


def test_torch_has_as_many_threads_as_the_embedder_has_cores(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = amount(container(overlay, "embedder")["resources"]["limits"]["cpu"])

    assert enter(overlay, "embedder", monkeypatch).embedder.threads == cores


def test_only_the_gpu_overlay_asks_for_a_gpu_and_only_for_its_language_model(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = {name: amount(container(overlay, name)["resources"]["limits"].get("nvidia.com/gpu", 0)) for name in SERVICES}
    generator = enter(overlay, "generator", monkeypatch).generator

    assert gpus == dict.fromkeys(SERVICES, 0) | ({"generator": 1} if overlay == "gpu" else {})
    assert (generator.backend, generator.device) == (("causal", "cuda:0") if overlay == "gpu" else ("extractive", "auto"))
    assert (generator.model is not None) == (overlay == "gpu")


@each_service
class TestEachService:
    def test_every_variable_is_a_setting_that_holds(self, overlay: str, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = enter(overlay, service, monkeypatch)
        ours = {name: value for name, value in variables(overlay, service).items() if name.startswith(PREFIX)}

        assert ours[CONFIG_VARIABLE] == "container"
        for name in set(ours) - {CONFIG_VARIABLE}:
            section, key = name.removeprefix(PREFIX).lower().split("__")
            assert str(getattr(getattr(settings, section), key)) == ours[name]

    def test_finds_all_others_by_their_names_so_that_it_starts_none_itself(self, overlay: str, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = enter(overlay, service, monkeypatch)

        for name in ("embedder", "retriever", "generator"):
            url = urlsplit(getattr(settings, name).url)
            (port,) = of_kind(overlay, "Service")[name]["spec"]["ports"]
            assert (url.scheme, url.hostname, url.port) == ("http", name, port["port"])

    def test_its_service_and_its_workload_find_its_pods_and_no_others(self, overlay: str, service: str) -> None:
        everyone = {name: labels(overlay, name) for name in SERVICES}
        by_service = {"matchLabels": of_kind(overlay, "Service")[service]["spec"]["selector"]}
        by_workload = workloads(overlay)[service]["spec"]["selector"]

        for selector in (by_service, by_workload):
            assert [name for name in SERVICES if selects(selector, everyone[name])] == [service]
        assert everyone[service][COMPONENT] == service

    def test_its_port_is_the_one_the_server_listens_on(self, overlay: str, service: str) -> None:
        (listening,) = container(overlay, service)["ports"]
        (port,) = of_kind(overlay, "Service")[service]["spec"]["ports"]

        assert listening["containerPort"] == PORT
        assert port["targetPort"] == listening["name"]

    def test_probes_ask_whether_it_lives_and_whether_it_can_work(self, overlay: str, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
        own = container(overlay, service)
        probes = {name: own[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}
        paths = {name: probe["httpGet"]["path"] for name, probe in probes.items()}

        assert paths == {"startup": "/livez", "readiness": "/readyz", "liveness": "/livez"}
        assert set(paths.values()) <= probe_paths()
        assert {probe["httpGet"]["port"] for probe in probes.values()} == {own["ports"][0]["name"]}
        assert probes["readiness"]["timeoutSeconds"] > 2 * enter(overlay, service, monkeypatch).runtime.probe_timeout_s

    def test_it_may_finish_its_longest_request_before_it_is_killed(self, overlay: str, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
        pause = container(overlay, service)["lifecycle"]["preStop"]["exec"]["command"]
        longest_s = getattr(enter(overlay, service, monkeypatch), service).timeout_s

        assert pause[0] == "sleep"
        assert pod(overlay, service)["terminationGracePeriodSeconds"] >= int(pause[1]) + longest_s

    def test_it_is_the_images_user_and_may_do_nothing(self, overlay: str, service: str) -> None:
        user = re.search(r"useradd .*--uid (\d+)", stages()["runtime"].arguments("RUN")[0]).group(1)
        whole, own = pod(overlay, service)["securityContext"], container(overlay, service)["securityContext"]

        assert (whole["runAsNonRoot"], whole["runAsUser"], whole["fsGroup"]) == (True, int(user), int(user))
        assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert pod(overlay, service)["automountServiceAccountToken"] is False

    def test_it_can_write_where_it_has_to(self, overlay: str, service: str) -> None:
        mounts = {mount["mountPath"]: mount["name"] for mount in container(overlay, service)["volumeMounts"]}
        passing = {volume["name"] for volume in pod(overlay, service)["volumes"] if "emptyDir" in volume}
        found = variables(overlay, service)

        assert set(mounts.values()) == passing | set(claims(overlay, service))
        for variable in {"HOME", "BENTOML_HOME", "HF_HOME"} & set(found):
            assert any(PurePosixPath(found[variable]).is_relative_to(place) for place in mounts if mounts[place] in passing)

    def test_requests_are_within_limits(self, overlay: str, service: str) -> None:
        resources = container(overlay, service)["resources"]

        for kind in ("cpu", "memory"):
            assert 0 < amount(resources["requests"][kind]) <= amount(resources["limits"][kind])

    def test_its_image_has_its_name_and_this_version(self, overlay: str, service: str) -> None:
        name, _, tag = container(overlay, service)["image"].partition(":")

        assert name == f"ekiben-{service}"
        assert tag.removesuffix("-cuda") == VERSION
