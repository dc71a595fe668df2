"""The manifests against Kubernetes' own schemas; who may reach whom, and who scales with what."""

import re

import pytest
import yaml

from core import telemetry
from tests.deploy.images import ROOT
from tests.deploy.manifests import (
    KUBERNETES,
    OVERLAYS,
    SERVICES,
    Resource,
    container,
    enter,
    labels,
    of_kind,
    probe_paths,
    rendered,
    selects,
    workloads,
)

OLDEST = "1.25"
OUTSIDE = {"somebody": "else"}
PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}

each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def depends(service: str) -> set[str]:
    """The services that this one's code calls."""
    source = (ROOT / "services" / service / "service.py").read_text(encoding="utf-8")
    return {name.lower() for name in re.findall(r"bentoml\.depends\((\w+)", source)}


def policies(overlay: str, service: str, direction: str) -> list[Resource]:
    """The rules in `direction` of all policies on the pods of `service`."""
    of_it = [
        policy["spec"] for policy in of_kind(overlay, "NetworkPolicy").values() if selects(policy["spec"]["podSelector"], labels(overlay, service))
    ]
    return [rule for spec in of_it if direction in spec["policyTypes"] for rule in spec.get(direction.lower(), [])]


def takes(peer: Resource, pod_labels: dict[str, str], namespace: str) -> bool:
    """Whether a peer of a rule is a pod with these labels in `namespace`."""
    if "ipBlock" in peer:
        return False
    place = peer.get("namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": "ekiben"}})
    return selects(peer.get("podSelector", {}), pod_labels) and selects(place, {"kubernetes.io/metadata.name": namespace})


def may_enter(overlay: str, service: str, pod_labels: dict[str, str], namespace: str) -> bool:
    rules = [rule for rule in policies(overlay, service, "Ingress") if {"protocol": "TCP", "port": "http"} in rule["ports"]]
    return any("from" not in rule or any(takes(peer, pod_labels, namespace) for peer in rule["from"]) for rule in rules)


def may_leave_to(overlay: str, service: str, target: str) -> bool:
    rules = [rule for rule in policies(overlay, service, "Egress") if {"protocol": "TCP", "port": "http"} in rule["ports"]]
    return any(takes(peer, labels(overlay, target), "ekiben") for rule in rules for peer in rule["to"])


@pytest.mark.parametrize("version", [OLDEST, "latest"])
def test_every_resource_is_one_that_kubernetes_takes(version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed: the schemas are missing")
    resources = {yaml.safe_dump(resource): resource for overlay in OVERLAYS for resource in rendered(overlay)}
    wanted = validate.latest_version().rpartition(".")[0] if version == "latest" else version
    without_schema = []
    for resource in resources.values():
        try:
            assert validate.validate(resource, wanted, strict=True) == wanted
        except validate.SchemaNotFoundError:
            without_schema.append(resource["kind"])

    assert without_schema == ["ServiceMonitor"]


def test_a_schema_refuses_what_it_does_not_know() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed: the schemas are missing")
    gateway = workloads("cpu")["gateway"]
    wrong = {**gateway, "spec": {**gateway["spec"], "replica": 2}}

    with pytest.raises(validate.ValidationError, match="replica"):
        validate.validate(wrong, OLDEST, strict=True)


@each_overlay
class TestNetwork:
    def test_nothing_passes_that_no_policy_names(self, overlay: str) -> None:
        default = of_kind(overlay, "NetworkPolicy")["default"]["spec"]

        assert (default["podSelector"], default["policyTypes"]) == ({}, ["Ingress", "Egress"])
        assert "ingress" not in default
        assert {port["port"] for rule in default["egress"] for port in rule["ports"]} == {53}

    def test_only_the_gateway_is_reached_from_outside(self, overlay: str) -> None:
        assert [service for service in SERVICES if may_enter(overlay, service, OUTSIDE, "default")] == ["gateway"]
        assert [service for service in SERVICES if may_enter(overlay, service, OUTSIDE, "ekiben")] == ["gateway"]

    def test_each_service_reaches_those_it_calls_and_no_others(self, overlay: str) -> None:
        for service in SERVICES:
            own = labels(overlay, service)
            others = set(SERVICES) - {service}
            assert {target for target in others if may_leave_to(overlay, service, target)} == depends(service)
            assert {target for target in others - {"gateway"} if may_enter(overlay, target, own, "ekiben")} == depends(service)

    def test_only_a_model_that_is_downloaded_opens_a_way_out(self, overlay: str) -> None:
        blocks = {
            service: [peer["ipBlock"]["cidr"] for rule in policies(overlay, service, "Egress") for peer in rule["to"] if "ipBlock" in peer]
            for service in SERVICES
        }
        resolver = ["169.254.20.10/32"]

        assert blocks == dict.fromkeys(SERVICES, resolver) | ({"generator": [*resolver, "0.0.0.0/0"]} if overlay == "gpu" else {})

    def test_prometheus_reaches_the_metrics_of_all(self, overlay: str) -> None:
        (monitor,) = of_kind(overlay, "ServiceMonitor").values()
        (endpoint,) = monitor["spec"]["endpoints"]

        for service in SERVICES:
            watched = of_kind(overlay, "Service")[service]
            assert selects(monitor["spec"]["selector"], watched["metadata"]["labels"])
            assert [port["name"] for port in watched["spec"]["ports"]] == [endpoint["port"]]
            assert may_enter(overlay, service, PROMETHEUS, "monitoring")
        assert endpoint["path"] in probe_paths()
        assert monitor["metadata"]["namespace"] == "ekiben"

    def test_no_service_has_an_address_outside_the_cluster(self, overlay: str) -> None:
        assert {service["spec"].get("type", "ClusterIP") for service in of_kind(overlay, "Service").values()} == {"ClusterIP"}
        assert not of_kind(overlay, "Ingress")


@each_overlay
class TestScaling:
    def test_what_keeps_nothing_scales_and_leaves_the_number_to_the_autoscaler(self, overlay: str) -> None:
        scaled = {name: one["spec"]["scaleTargetRef"] for name, one in of_kind(overlay, "HorizontalPodAutoscaler").items()}

        assert {(target["kind"], target["name"]) for target in scaled.values()} == {("Deployment", "embedder"), ("Deployment", "generator")}
        assert all("replicas" not in workloads(overlay)[target["name"]]["spec"] for target in scaled.values())

    def test_the_adapter_gives_their_metrics_from_series_that_there_are(self, overlay: str) -> None:
        rules = yaml.safe_load((KUBERNETES / "monitoring" / "adapter-values.yaml").read_text(encoding="utf-8"))["rules"]["custom"]
        given = {rule["name"]["as"]: rule for rule in rules}
        series = {telemetry.BATCH_WAIT_SECONDS.describe()[0].name, telemetry.RUNNING_SEQUENCES.describe()[0].name}
        asked = [metric["pods"] for one in of_kind(overlay, "HorizontalPodAutoscaler").values() for metric in one["spec"]["metrics"]]

        assert {metric["metric"]["name"] for metric in asked} <= set(given)
        for rule in rules:
            used = set(re.findall(r"ekiben_\w+", rule["metricsQuery"])) | {rule["seriesQuery"].partition("{")[0]}
            assert {re.sub(r"_(sum|count)$", "", name) for name in used} <= series

    def test_another_pod_is_called_for_before_the_queue_holds_a_whole_batch(self, overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = enter(overlay, "generator", monkeypatch)
        full = {"embedder": settings.embedder.max_batch_items, "generator": settings.generator.max_batch_items}
        if overlay == "gpu":
            full["generator"] = settings.generator.max_running
        for name, one in of_kind(overlay, "HorizontalPodAutoscaler").items():
            target = int(one["spec"]["metrics"][0]["pods"]["target"]["averageValue"])
            assert 0 < target < full[name]

    def test_budgets_let_one_pod_go_at_a_time_and_the_store_has_none(self, overlay: str) -> None:
        budgets = of_kind(overlay, "PodDisruptionBudget")

        assert set(budgets) == {"embedder", "gateway", "generator"}
        for name, budget in budgets.items():
            assert budget["spec"]["maxUnavailable"] == 1
            assert [service for service in SERVICES if selects(budget["spec"]["selector"], labels(overlay, service))] == [name]

    def test_replicas_spread_over_nodes(self, overlay: str) -> None:
        for service in set(SERVICES) - {"retriever"}:
            (spread,) = workloads(overlay)[service]["spec"]["template"]["spec"]["topologySpreadConstraints"]
            assert spread["topologyKey"] == "kubernetes.io/hostname"
            assert [name for name in SERVICES if selects(spread["labelSelector"], labels(overlay, name))] == [service]

    def test_a_rollout_keeps_what_there_is_unless_it_would_need_another_gpu(self, overlay: str) -> None:
        rolling = {name: workloads(overlay)[name]["spec"]["strategy"]["rollingUpdate"] for name in ("embedder", "generator")}
        gpus = "nvidia.com/gpu" in container(overlay, "generator")["resources"]["limits"]

        assert rolling["embedder"] == {"maxSurge": 1, "maxUnavailable": 0}
        assert rolling["generator"] == ({"maxSurge": 0, "maxUnavailable": 1} if gpus else {"maxSurge": 1, "maxUnavailable": 0})
