"""deploy/kubernetes, as kubectl renders it."""

import re
import shutil
import subprocess
from functools import cache
from typing import Any

import pytest
import yaml

from core.settings import PREFIX, Settings, load_settings
from tests.deploy.images import ROOT, stages

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
SERVICES = ["embedder", "gateway", "generator", "retriever"]
COMPONENT = "app.kubernetes.io/component"

Resource = dict[str, Any]


def probe_paths() -> set[str]:
    """The paths that services/border.py lets through whatever the load; read, because importing it would load BentoML."""
    source = (ROOT / "services" / "border.py").read_text(encoding="utf-8")
    return set(re.findall(r'"(/\w+)"', re.search(r"PROBES = frozenset\(\{(.+)\}\)", source).group(1)))


@cache
def rendered(overlay: str) -> tuple[Resource, ...]:
    """The resources of an overlay. Skips the test where there is no kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: the manifests can't be rendered")
    command = ["kubectl", "kustomize", str(KUBERNETES / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "kustomize warns"
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, *kinds: str) -> dict[str, Resource]:
    """The resources of some kinds by name."""
    found = [resource for resource in rendered(overlay) if resource["kind"] in kinds]
    assert len({resource["metadata"]["name"] for resource in found}) == len(found)
    return {resource["metadata"]["name"]: resource for resource in found}


def workloads(overlay: str) -> dict[str, Resource]:
    """What runs pods, by name."""
    return of_kind(overlay, "Deployment", "StatefulSet")


def pod(overlay: str, service: str) -> Resource:
    """The pod template's spec."""
    return workloads(overlay)[service]["spec"]["template"]["spec"]


def container(overlay: str, service: str) -> Resource:
    """The one container of a service's pods."""
    (one,) = pod(overlay, service)["containers"]
    return one


def variables(overlay: str, service: str) -> dict[str, str]:
    """All variables of a service's container: from its image, from the settings, and its own."""
    own = container(overlay, service)
    found = dict(pair.split("=", 1) for pair in stages()["runtime"].arguments("ENV")[0].split())
    (named,) = [source["configMapRef"]["name"] for source in own["envFrom"] if "configMapRef" in source]
    found |= of_kind(overlay, "ConfigMap")[named]["data"]
    for one in own["env"]:
        # Cores, rounded up.
        limit = one.get("valueFrom", {}).get("resourceFieldRef", {}).get("resource")
        found[one["name"]] = str(amount(own["resources"]["limits"][limit.removeprefix("limits.")])) if limit else one["value"]
    return found


def enter(overlay: str, service: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that a container of `service` has."""
    for name, value in variables(overlay, service).items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, value)
    return load_settings()


def amount(quantity: str | int) -> int:
    """A quantity of Kubernetes as a whole number, rounded up: cores or bytes."""
    number, unit = re.fullmatch(r"(\d+)(m|[KMG]i)?", str(quantity)).groups()
    if unit == "m":
        return -(-int(number) // 1_000)
    return int(number) * {None: 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}[unit]


def selects(selector: Resource, labels: dict[str, str]) -> bool:
    """Whether a selector made of labels alone, as ours are, takes what has these."""
    assert set(selector) <= {"matchLabels"}
    return selector.get("matchLabels", {}).items() <= labels.items()


def labels(overlay: str, service: str) -> dict[str, str]:
    """The labels of a service's pods."""
    return workloads(overlay)[service]["spec"]["template"]["metadata"]["labels"]
