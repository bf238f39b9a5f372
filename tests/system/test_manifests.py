"""What launch/gke.sh sends to Kubernetes, by the schemas of Kubernetes and of JobSet themselves."""

import subprocess

import pytest
import yaml

from tests.conftest import ROOT

pytestmark = pytest.mark.system
COMMON = ["--dry-run", "--name=mine", "--image=region/project/nwt:1", "--nodes=2", "--chips=4"]
AFTER = ["--", "--config=configs/dvae_lwt.py", "--workdir=/runs/é 'x'"]
KINDS = {
  "gpu": ["--gpu=nvidia-h100-80gb", "--volume=pvc:claim"],
  "tpu": ["--tpu=tpu-v6e-slice", "--topology=4x4", "--slices=2", "--spot", "--volume=bucket:runs"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_fault_71_manifests_by_their_schemas(kind):
  kubernetes = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate to test manifests")
  reason = "pip install kubeflow-trainer-api to test manifests"
  models = pytest.importorskip("kubeflow_trainer_api.models", reason=reason)
  command = ["bash", "launch/gke.sh", *COMMON, *KINDS[kind], *AFTER]
  text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
  documents = list(yaml.safe_load_all(text))
  for document in documents[:-1]:
    kubernetes.validate(document, "1.33", strict=True)
  jobset = documents[-1]
  read = models.JobsetV1alpha2JobSet.from_dict(jobset).to_dict()
  for name in ("metadata", "spec"):  # a field that the model does not know is lost in it
    assert read[name].keys() == jobset[name].keys()
  assert read["spec"]["failurePolicy"] == jobset["spec"]["failurePolicy"]
  for replicated in jobset["spec"]["replicatedJobs"]:
    assert replicated.keys() == {"name", "replicas", "template"}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": replicated["template"]["spec"]}
    kubernetes.validate(job, "1.33", strict=True)
    job["spec"]["template"]["spec"]["containers"][0]["arg"] = []
    with pytest.raises(kubernetes.ValidationError):
      kubernetes.validate(job, "1.33", strict=True)
