"""The manifests of deploy/kubernetes against the API schemas of Kubernetes 1.33, and what they promise about security.

Usage: python manifests.py, with PyPI `kubernetes-validate` 1.37.0, which brings the schemas of 1.25 to 1.37, and PyYAML
"""

import json
import re
import tomllib
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "deploy" / "kubernetes"
# The oldest version that is supported: the feature of k8s-openapi in Cargo.toml.
KUBERNETES = "1.33"
# No objects of the API.
OTHERS = (".sops.yaml", "kustomization.yaml")

failures = []
passed = 0


def check(what, holds, seen=""):
    global passed
    if holds:
        passed += 1
    else:
        failures.append(f"FAILED {what}: {seen}")


def validate(name, document):
    # Flux takes the block of SOPS away before it applies the object.
    document = {key: value for key, value in document.items() if key != "sops"}
    try:
        problem = not kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except Exception as error:  # also: a kind that the schemas do not know
        problem = f"{'.'.join(map(str, getattr(error, 'path', [])))}: {getattr(error, 'message', error)}"
    check(f"{name}: {document['kind']} is valid", not problem, problem)


def pairs(rules):
    return {(group, resource) for rule in rules for group in rule["apiGroups"] for resource in rule["resources"]}


names = sorted(path.name for path in BASE.glob("*.yaml") if path.name not in OTHERS)
read = {name: [one for one in yaml.safe_load_all((BASE / name).read_text()) if one] for name in names}
for name, documents in read.items():
    for document in documents:
        validate(name, document)

# Files.
kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
listed = sorted(kustomization["resources"])
shipped = [name for name in names if ".example." not in name]
check("kustomization.yaml lists the files that are no example", listed == shipped, listed)
for name, secret in [(name, one) for name in names for one in read[name] if one["kind"] == "Secret"]:
    values = secret.get("data", {}) | secret.get("stringData", {})
    encrypted = "sops" in secret and all(value.startswith("ENC[") for value in values.values())
    refused = ".example." in name and all(value == f"<{key}>" for key, value in values.items())
    check(f"{name} holds ciphertext, or placeholders that forgeline refuses", encrypted or refused, list(values))

# The pod.
deployment = read["deployment.yaml"][0]["spec"]
pod = deployment["template"]["spec"]
(container,) = pod["containers"]
volumes = {volume["name"]: volume for volume in pod["volumes"]}
writable = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"] if not mount.get("readOnly")}
check("exactly two places are writable", set(writable) == {"/var/lib/forgeline", "/tmp"}, writable)
claim = writable.get("/var/lib/forgeline", {}).get("persistentVolumeClaim", {}).get("claimName")
check("the journal is on the claim", claim == read["pvc.yaml"][0]["metadata"]["name"], claim)
check("/tmp has a bound", "sizeLimit" in writable.get("/tmp", {}).get("emptyDir", {}), writable)
context = pod["securityContext"]
ids = {context.get(name) for name in ("runAsUser", "runAsGroup", "fsGroup")}
check("the pod is not root", context.get("runAsNonRoot") is True and ids == {65532}, context)
check("seccomp is on", context.get("seccompProfile") == {"type": "RuntimeDefault"}, context)
confined = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
check("the container is confined", container["securityContext"] == confined, container["securityContext"])
check("the pod shares nothing with the node", not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}, list(pod))
check("no service links", pod.get("enableServiceLinks") is False)
check("one replica, recreated", (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"}))
probes = [container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
check("only readiness asks more than /livez", probes == ["/livez", "/livez", "/readyz"], probes)
network, budget, service = (read[f"{name}.yaml"][0]["spec"] for name in ("networkpolicy", "pdb", "service"))
selectors = [deployment["selector"]["matchLabels"], network["podSelector"]["matchLabels"], budget["selector"]["matchLabels"]]
labels = deployment["template"]["metadata"]["labels"]
check("every selector finds the pod", all(one == labels for one in [*selectors, service["selector"]]), selectors)

# Tokens and variables.
tokens = read["secret.example.yaml"][0]["stringData"].keys()
given = {variable["name"]: variable.get("value") for variable in container["env"]}
check("tokens are files", given == {f"{name}_FILE": f"/run/secrets/forgeline/{name}" for name in tokens}, given)
check("tokens are no variables", all(source.keys() == {"configMapRef"} for source in container["envFrom"]))
check("token files are renewed", not any("subPath" in mount for mount in container["volumeMounts"]))
sources = "".join(path.read_text() for path in (ROOT / "crates/forgeline/src").rglob("*.rs"))
known = set(re.findall(r'"([A-Z][A-Z0-9_]+)"', sources)) | {"TMPDIR"}
systemd = "".join((ROOT / "deploy/systemd" / f"forgeline.{kind}").read_text() for kind in ("service", "env.example"))
server = json.loads((ROOT / "server.json").read_text())
used = set(read["configmap.yaml"][0]["data"]) | set(given)
used |= {variable["name"] for variable in server["packages"][0]["environmentVariables"]}
used |= set(re.findall(r"^#?(?:Environment=)?([A-Z][A-Z0-9_]+)=", systemd, re.MULTILINE))
unknown = {name for name in used if name.removesuffix("_FILE") not in known and name not in known}
check("forgeline knows every variable that is set", not unknown, unknown)

# Rights.
rules = read["clusterrole.yaml"][0]["rules"]
broad = {"*", "escalate", "impersonate", "watch", "update", "deletecollection"}
wide = [rule for rule in rules if broad & {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}]
check("no rule is wide", not wide, wide)
deletes = [rule["resources"] for rule in rules if "delete" in rule["verbs"]]
check("only namespaces are deleted", deletes == [["namespaces"]], deletes)
secrets = {verb for rule in rules if "secrets" in rule["resources"] for verb in rule["verbs"]}
check("secrets are only listed", secrets <= {"list"}, secrets)
check("only `edit` is bound", [rule.get("resourceNames") for rule in rules if "bind" in rule["verbs"]] == [["edit"]])
policy = read["admissionpolicy.yaml"][0]["spec"]
written = pairs(rule for rule in rules if {"create", "patch", "delete"} & set(rule["verbs"]))
missing = written - pairs(policy["matchConstraints"]["resourceRules"])
check("the admission policy covers all that is written", not missing, missing)
account = read["serviceaccount.yaml"][0]["metadata"]
user = f"'system:serviceaccount:{account['namespace']}:{account['name']}'"
check("the admission policy means our account", user in policy["matchConditions"][0]["expression"], user)
own = read["namespace.yaml"][0]["metadata"]["labels"]
check("forgeline may not delete its own namespace", "app.kubernetes.io/managed-by" not in own, own)

# One release, one name.
version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
(image,) = kustomization["images"]
package = server["packages"][0]["identifier"]
check("one version", (image["newTag"], server["version"]) == (version, version), (version, image, server["version"]))
check("one image", image["name"] == container["image"] and package == f"{image['newName']}:{version}", (image, package))
containerfile = (ROOT / "deploy" / "Containerfile").read_text()
label = f'io.modelcontextprotocol.server.name="{server["name"]}"'
check("the image names its entry in the registry", label in containerfile, label)
check("the image is not root", "\nUSER 65532:65532\n" in containerfile)

print("\n".join([*failures, f"{passed} passed, {len(failures)} failed"]))
raise SystemExit(bool(failures))
