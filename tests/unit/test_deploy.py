"""deploy/: what can be known of it without a cloud, and that the commands in it are commands of this project."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from study.cli import parse_study
from study.tasks.resolve import checked

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "deploy"
FILES = ("cluster.yaml", "rayjob.yaml", "slurm.sh")


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all(text_of(name)))


def pinned_ray() -> str:
    """The version in constraints.txt."""
    [version] = re.findall(r"^ray==(.+)$", (PROJECT / "constraints.txt").read_text(), re.MULTILINE)
    return version


def commands(text: str) -> Iterator[list[str]]:
    """The words after python -m, of commands that may go over several lines, in comments too."""
    text = re.sub(r"\n#? +(?=--)", " ", text)
    for found in re.finditer(r"python -m (study\.[^;&\"'\n#]+)", text):
        yield shlex.split(found[1])


@pytest.mark.parametrize("name", FILES)
def test_its_commands_are_what_this_project_understands(name):
    runs = [words for words in commands(text_of(name)) if words[0] == "study.run"]
    assert runs
    for _, *words in runs:
        study, values = parse_study(words)
        spec = checked(study, values)
        assert (spec.address, spec.insecure_cluster, spec.name) == ("auto", False, "night")
    for verb, *_ in commands(text_of(name)):
        assert importlib.util.find_spec(verb) is not None


def test_the_cluster_is_what_ray_up_takes():
    [config] = documents("cluster.yaml")
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(config, json.loads(schema.read_text()))
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    assert types["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert types["gpu"]["min_workers"] == types["gpu"]["max_workers"] <= config["max_workers"]


@pytest.mark.parametrize("name", ["cluster.yaml", "slurm.sh"])
def test_every_ray_that_it_starts_asks_for_a_token(name):
    text = text_of(name)
    starts = [line for line in text.splitlines() if re.search(r"\bray start\b", line) and not line.startswith("#")]
    assert starts
    exported = "export RAY_AUTH_MODE=token" in text.split(starts[0])[0]
    assert all(exported or "RAY_AUTH_MODE=token ray start" in line for line in starts)
    assert "0.0.0.0" not in text


# KubeRay's CRD comes with no package, so this is no validation by it: the fields below were looked up in its v1 types
# and its guides, and are what this file uses of them and of a pod.
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITIES = {**STRINGS, "required": ["cpu", "memory"]}


def fields(*required: str, **optional: Any) -> dict[str, Any]:
    properties = {name: optional.pop(name) for name in required}
    closed = {"type": "object", "additionalProperties": False}
    return {**closed, "properties": {**properties, **optional}, "required": [*required]}


def listed(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


TEXT, NUMBER, FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
CONTAINER = fields(
    "name", "image", name=TEXT, image=TEXT,
    ports=listed(fields("containerPort", "name", containerPort=NUMBER, name=TEXT)),
    resources=fields("requests", "limits", requests=QUANTITIES, limits=QUANTITIES),
    volumeMounts=listed(fields("name", "mountPath", name=TEXT, mountPath=TEXT)),
)  # fmt: skip
POD = fields(
    "metadata", "spec", metadata=fields("labels", labels=STRINGS),
    spec=fields(
        "containers", containers=listed(CONTAINER), nodeSelector=STRINGS, tolerations=listed(STRINGS),
        terminationGracePeriodSeconds=NUMBER, restartPolicy={"enum": ["Never", "OnFailure"]},
        volumes=listed(fields("name", "persistentVolumeClaim", name=TEXT, persistentVolumeClaim=STRINGS)),
    ),
)  # fmt: skip
GROUP = {"rayStartParams": STRINGS, "template": POD}
RAY_JOB = fields(
    "entrypoint", "rayClusterSpec", entrypoint=TEXT, backoffLimit=NUMBER, shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=NUMBER, submitterPodTemplate=POD,
    rayClusterSpec=fields(
        "rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs", rayVersion=TEXT,
        authOptions=fields("mode", mode={"const": "token"}),
        headGroupSpec=fields("rayStartParams", "template", **GROUP),
        workerGroupSpecs=listed(
            fields(
                "groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template", groupName=TEXT,
                replicas=NUMBER, minReplicas=NUMBER, maxReplicas=NUMBER, **GROUP,
            )
        ),
    ),
)  # fmt: skip


def test_the_job_has_the_fields_that_kuberay_knows_and_its_parts_fit():
    claim, policy, job = documents("rayjob.yaml")
    assert (claim["kind"], policy["kind"], job["kind"]) == ("PersistentVolumeClaim", "NetworkPolicy", "RayJob")
    assert job["apiVersion"] == "ray.io/v1"
    jsonschema.validate(job["spec"], RAY_JOB)
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == pinned_ray()
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    label = policy["spec"]["podSelector"]["matchLabels"]
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    for pod in [*(group["template"] for group in groups), job["spec"]["submitterPodTemplate"]]:
        assert label.items() <= pod["metadata"]["labels"].items()
    for group in groups:
        spec = group["template"]["spec"]
        claims = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"]}
        [mount] = spec["containers"][0]["volumeMounts"]
        assert claims[mount["name"]] == claim["metadata"]["name"]
        assert f"--output-dir {mount['mountPath']}/" in job["spec"]["entrypoint"]


def test_the_image_is_of_the_pinned_ray():
    assert f"FROM rayproject/ray:{pinned_ray()}-" in text_of("Dockerfile")


def test_slurm_takes_the_script():
    subprocess.run(["bash", "-n", str(DEPLOY / "slurm.sh")], check=True)
    options = re.findall(r"^#SBATCH --([a-z-]+)", text_of("slurm.sh"), re.MULTILINE)
    assert {"nodes", "requeue", "signal", "time"} <= set(options)


def test_the_entrypoint_is_one_that_a_shell_takes():
    job = documents("rayjob.yaml")[-1]
    shell, option, script = shlex.split(job["spec"]["entrypoint"])
    assert (shell, option) == ("sh", "-c")
    subprocess.run(["sh", "-n", "-c", script], check=True)
