"""launch/k8s: manifests with the fields their kinds have and no others, which fit together and what they run.

The shapes below are the parts used of Kubernetes' and Kubeflow Trainer 2's own definitions, closed: a field
that they do not name is a mistake, as it is to `kubectl apply`.
"""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from danlu.device import containers, hosting
from danlu.serve.vllm.plan import Wish, plan
from serve.vllm.exports import export
from shell import ROOT

FOLDER = ROOT / "launch/k8s"
MANIFESTS = {
    (path.stem, each["kind"]): each
    for path in sorted(FOLDER.glob("*.yaml"))
    for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))
}
RESOURCES = {"cuda": "nvidia.com/gpu", "ascend": "huawei.com/Ascend910"}


def shape(required: str = "", **properties: Any) -> dict[str, Any]:
    """An object of these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def many(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


TEXT = {"type": "string", "minLength": 1}
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
NUMBER = {"type": "integer", "minimum": 1}
TEXTS = {"type": "object", "additionalProperties": TEXT}
AMOUNTS = {
    "type": "object",
    "properties": dict.fromkeys(RESOURCES.values(), NUMBER)
    | {
        "cpu": {"pattern": "^[0-9]+$"},
        "memory": {"pattern": "^[0-9]+Gi$"},
        "storage": {"pattern": "^[0-9]+Gi$"},
    },
    "additionalProperties": False,
}
NEEDS = shape("", requests=AMOUNTS, limits=AMOUNTS)
METADATA = shape("name", name=NAME, labels=TEXTS)
KEY = shape("name key", name=NAME, key=TEXT)
ENV = many(shape("name", name=TEXT, value=TEXT, valueFrom=shape("secretKeyRef", secretKeyRef=KEY)))
PROBE = shape(
    "httpGet periodSeconds",
    httpGet=shape("path port", path=TEXT, port=TEXT),
    periodSeconds=NUMBER,
    timeoutSeconds=NUMBER,
    failureThreshold=NUMBER,
)
CONTAINER = shape(
    "name image volumeMounts",
    name=NAME,
    image=TEXT,
    workingDir=TEXT,
    command=many(TEXT),
    args=many(TEXT),
    env=ENV,
    ports=many(shape("name containerPort", name=NAME, containerPort=NUMBER)),
    startupProbe=PROBE,
    readinessProbe=PROBE,
    livenessProbe=PROBE,
    resources=NEEDS,
    securityContext=shape("", allowPrivilegeEscalation={"const": False}),
    volumeMounts=many(shape("name mountPath", name=NAME, mountPath=TEXT, readOnly={"type": "boolean"})),
)
VOLUME = shape(
    "name",
    name=NAME,
    persistentVolumeClaim=shape("claimName", claimName=NAME, readOnly={"type": "boolean"}),
    emptyDir=shape("medium", medium={"const": "Memory"}),
    hostPath=shape("path type", path=TEXT, type={"enum": ["File", "Directory"]}),
)
POD = shape(
    "containers volumes",
    containers=many(CONTAINER),
    volumes=many(VOLUME),
    schedulerName=NAME,
    securityContext=shape("", fsGroup=NUMBER),
    terminationGracePeriodSeconds=NUMBER,
)
JOB = shape("spec", spec=shape("template", template=shape("spec", metadata=shape(labels=TEXTS), spec=POD)))
JOB["properties"]["metadata"] = shape("labels", labels=TEXTS)
KINDS = {
    "PersistentVolumeClaim": (
        "v1",
        shape(
            "accessModes resources",
            accessModes=many({"enum": ["ReadWriteOnce", "ReadWriteMany"]}),
            resources=NEEDS,
        ),
    ),
    "Service": (
        "v1",
        shape(
            "selector ports",
            selector=TEXTS,
            ports=many(shape("port targetPort", name=NAME, port=NUMBER, targetPort=TEXT)),
        ),
    ),
    "Deployment": (
        "apps/v1",
        shape(
            "selector template",
            replicas=NUMBER,
            strategy=shape("type", type={"enum": ["Recreate", "RollingUpdate"]}),
            selector=shape("matchLabels", matchLabels=TEXTS),
            template=shape("metadata spec", metadata=shape("labels", labels=TEXTS), spec=POD),
        ),
    ),
    "TrainingRuntime": (
        "trainer.kubeflow.org/v1alpha1",
        shape(
            "mlPolicy template",
            mlPolicy=shape("numNodes torch", numNodes=NUMBER, torch=shape()),
            podGroupPolicy=shape("volcano", volcano=shape()),
            template=shape(
                "spec",
                spec=shape(
                    "replicatedJobs", replicatedJobs=many(shape("name template", name=NAME, template=JOB))
                ),
            ),
        ),
    ),
    "TrainJob": (
        "trainer.kubeflow.org/v1alpha1",
        shape(
            "runtimeRef trainer",
            runtimeRef=shape("apiGroup kind name", apiGroup=TEXT, kind=TEXT, name=NAME),
            trainer=shape(
                "numNodes numProcPerNode command args resourcesPerNode",
                numNodes=NUMBER,
                numProcPerNode=NUMBER,
                command=many(TEXT),
                args=many(TEXT),
                resourcesPerNode=NEEDS,
            ),
        ),
    ),
}


@pytest.mark.parametrize("file, kind", MANIFESTS)
def test_a_manifest_has_the_fields_of_its_kind_and_no_others(file, kind):
    version, spec = KINDS[kind]
    whole = shape(
        "apiVersion kind metadata spec",
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=METADATA,
        spec=spec,
    )
    jsonschema.validate(MANIFESTS[file, kind], whole)


def pod(device: str, what: str) -> dict[str, Any]:
    """The specification of the pods that train or serve on such devices."""
    if what == "serve":
        return MANIFESTS[f"serve-{device}", "Deployment"]["spec"]["template"]["spec"]
    runtime = MANIFESTS[f"train-{device}", "TrainingRuntime"]["spec"]["template"]["spec"]
    return runtime["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("what", ["train", "serve"])
@pytest.mark.parametrize("device", RESOURCES)
def test_pods_have_what_they_mount_and_name_no_registry(device, what):
    spec = pod(device, what)
    (container,) = spec["containers"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    assert container["image"] == f"danlu-{what}:{device}"
    claim = MANIFESTS["storage", "PersistentVolumeClaim"]["metadata"]["name"]
    assert volumes["work"]["persistentVolumeClaim"]["claimName"] == claim
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert {"name": "HOME", "value": "/tmp"} in container["env"]


@pytest.mark.parametrize("device", RESOURCES)
def test_a_job_starts_a_process_a_device_of_its_own_runtime(device):
    job = MANIFESTS[f"train-{device}", "TrainJob"]["spec"]
    runtime = MANIFESTS[f"train-{device}", "TrainingRuntime"]
    assert job["runtimeRef"]["name"] == runtime["metadata"]["name"]
    (replicated,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    # By these two the trainer finds the container that it tells its place.
    assert replicated["template"]["metadata"]["labels"] == {
        "trainer.kubeflow.org/trainjob-ancestor-step": "trainer"
    }
    assert replicated["name"] == pod(device, "train")["containers"][0]["name"] == "node"
    trainer = job["trainer"]
    assert trainer["numNodes"] > 1
    assert trainer["resourcesPerNode"]["limits"][RESOURCES[device]] == trainer["numProcPerNode"]
    begin = containers.begin(hosting.ALIASES.get(device, device))
    assert trainer["command"] == [*begin, *"torchrun -m danlu train pretrain".split()]
    assert "resume=true" in trainer["args"] and "run_dir=/danlu/runs/pretrain" in trainer["args"]


@pytest.mark.parametrize("device", RESOURCES)
def test_a_server_is_asked_what_danlu_vllm_asks_it(device, tmp_path, monkeypatch):
    node = {"cuda": "nvidia", "ascend": "davinci"}[device]
    (tmp_path / "dev").mkdir()
    (tmp_path / f"dev/{node}0").touch()
    monkeypatch.setenv("HOST_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    wish = Wish(str(export(tmp_path / "full_sft_512-hf")), device=device, runtime="docker")
    words = list(plan(wish).command)
    words = words[words.index("--model") :]
    said: list[str] = []
    for word in words:
        said += [word] if word.startswith("--") else [f"{said.pop()}={word}"]
    (container,) = pod(device, "serve")["containers"]
    assert sorted(said) == sorted(
        arg.replace("/danlu/out/full_sft_512-hf", "/model") if "name" not in arg else arg
        for arg in container["args"]
    )
    begin = containers.begin(hosting.ALIASES.get(device, device))
    assert container["command"] == [*begin, *"python3 -m vllm.entrypoints.openai.api_server".split()]
    limits = container["resources"]["limits"]
    assert limits[RESOURCES[device]] == 1


@pytest.mark.parametrize("device", RESOURCES)
def test_a_server_is_found_by_its_service_and_asked_for_its_health(device):
    deployment = MANIFESTS[f"serve-{device}", "Deployment"]["spec"]
    service = MANIFESTS[f"serve-{device}", "Service"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels and service["selector"].items() <= labels.items()
    (container,) = pod(device, "serve")["containers"]
    (port,) = container["ports"]
    assert service["ports"][0]["targetPort"] == port["name"]
    assert f"--port={port['containerPort']}" in container["args"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": port["name"]}
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 600
    assert any(each["name"] == "VLLM_API_KEY" and "value" not in each for each in container["env"])


@pytest.mark.parametrize("device", RESOURCES)
def test_training_may_write_where_its_image_s_user_would(device):
    assert pod(device, "train")["securityContext"] == {"fsGroup": 1000}


def test_volcano_starts_all_pods_on_ascend_or_none():
    assert "volcano" in MANIFESTS["train-ascend", "TrainingRuntime"]["spec"]["podGroupPolicy"]
    assert pod("ascend", "train")["schedulerName"] == "volcano"
