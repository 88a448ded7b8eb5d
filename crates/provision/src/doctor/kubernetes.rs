//! The cluster: reachable, and the right to each verb on each kind.

use forgeline_kubernetes::manifest::Policy;
use forgeline_kubernetes::{Kubernetes, Review};
use forgeline_upstream::Error;
use futures::future::join_all;

use super::{Check, Parts, Right};
use crate::refusal::{Need, Refusal};

const fn review(verb: &'static str, group: &'static str, resource: &'static str) -> Review {
    Review {
        verb,
        group,
        resource,
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const NETWORKING: &str = "networking.k8s.io";

/// What making a namespace needs. Server-side apply of something new asks for `create` beside `patch`.
const TO_MAKE: [Review; 8] = [
    review("create", "", "namespaces"),
    review("get", "", "namespaces"),
    review("create", "", "limitranges"),
    review("patch", "", "limitranges"),
    review("create", "", "resourcequotas"),
    review("patch", "", "resourcequotas"),
    review("create", NETWORKING, "networkpolicies"),
    review("patch", NETWORKING, "networkpolicies"),
];

/// What taking it back needs besides: to see that nobody else uses it, and to delete it.
const TO_UNDO: [Review; 17] = [
    review("delete", "", "namespaces"),
    review("list", "", "pods"),
    review("list", "", "services"),
    review("list", "", "configmaps"),
    review("list", "", "secrets"),
    review("list", "", "serviceaccounts"),
    review("list", "", "persistentvolumeclaims"),
    review("list", "", "resourcequotas"),
    review("list", "", "limitranges"),
    review("list", "apps", "deployments"),
    review("list", "apps", "statefulsets"),
    review("list", "apps", "daemonsets"),
    review("list", "batch", "jobs"),
    review("list", "batch", "cronjobs"),
    review("list", NETWORKING, "ingresses"),
    review("list", NETWORKING, "networkpolicies"),
    review("list", RBAC, "rolebindings"),
];

fn refused(cluster: &Kubernetes, error: &Error) -> Refusal {
    Refusal::of(
        error,
        &Need {
            credential: cluster.credential(),
            right: "a token that the cluster accepts",
            fix: "put a service account's token into KUBE_TOKEN, or correct KUBECONFIG",
        },
    )
}

pub(super) async fn checks(parts: &Parts) -> Vec<Check> {
    let subject = "Kubernetes";
    let Some(cluster) = &parts.kubernetes else {
        let why = if parts.needs_cluster {
            "the configuration of Kubernetes is not whole"
        } else {
            "the mode of infra needs no cluster"
        };
        return vec![Check::skip("kubernetes.reachable", subject, why)];
    };
    let (version, make, undo) = tokio::join!(
        cluster.version(),
        missing(cluster, to_make(parts)),
        missing(cluster, TO_UNDO.map(|review| (review, None)).to_vec())
    );
    let mut checks = match version {
        Ok(version) => vec![Check::ok("kubernetes.reachable", subject, version)],
        Err(error) => {
            return vec![Check::refused(
                "kubernetes.reachable",
                subject,
                &refused(cluster, &error),
            )];
        }
    };
    let fix = "grant them with the ClusterRole of deploy/kubernetes/clusterrole.yaml";
    checks.push(match make {
        Ok((missing, rights)) if missing.is_empty() => Check::ok(
            "kubernetes.access",
            "rights in the cluster",
            "may make namespaces and what stands in them",
        )
        .with_rights(rights),
        Ok((missing, rights)) => Check {
            code: Some("kubernetes.missing_scope".into()),
            ..Check::fail(
                "kubernetes.access",
                "rights in the cluster",
                format!("{} may not {}", cluster.credential(), missing.join(", ")),
                fix,
            )
        }
        .with_rights(rights),
        Err(error) => Check::refused(
            "kubernetes.access",
            "rights in the cluster",
            &refused(cluster, &error),
        ),
    });
    checks.push(match undo {
        Ok((missing, rights)) if missing.is_empty() => Check::ok(
            "kubernetes.undo",
            "right to take a namespace back",
            "may look into it and delete it",
        )
        .with_rights(rights),
        Ok((missing, rights)) => Check::warn(
            "kubernetes.undo",
            "right to take a namespace back",
            format!(
                "{} may not {}: a namespace of a failed run stays",
                cluster.credential(),
                missing.join(", ")
            ),
            fix,
        )
        .with_rights(rights),
        Err(error) => Check::refused(
            "kubernetes.undo",
            "right to take a namespace back",
            &refused(cluster, &error),
        ),
    });
    checks
}

/// What the policy asks for besides.
fn to_make(parts: &Parts) -> Vec<(Review, Option<String>)> {
    let mut all = TO_MAKE.map(|review| (review, None)).to_vec();
    if parts.infra_repository.is_some() {
        // What stands in the namespace comes by Git.
        all.retain(|(review, _)| review.resource == "namespaces");
        return all;
    }
    if let Ok(policy) = Policy::read(&parts.infra_policy) {
        if !policy.subjects.is_empty() {
            all.push((review("create", RBAC, "rolebindings"), None));
            all.push((review("patch", RBAC, "rolebindings"), None));
            all.push((review("bind", RBAC, "clusterroles"), Some(policy.role)));
        }
        if policy.image_pull_secret.is_some() {
            let default = Some("default".to_owned());
            all.push((review("patch", "", "serviceaccounts"), default));
        }
    }
    all
}

/// Which of these are not allowed, and all of them as rights.
async fn missing(
    cluster: &Kubernetes,
    reviews: Vec<(Review, Option<String>)>,
) -> Result<(Vec<String>, Vec<Right>), Error> {
    let looks = reviews.iter().map(|(review, name)| async move {
        let allowed = cluster.may(review, name.as_deref()).await?;
        Ok::<_, Error>((review.to_string(), allowed))
    });
    let (mut missing, mut rights) = (Vec::new(), Vec::new());
    for look in join_all(looks).await {
        let (what, allowed) = look?;
        if !allowed {
            missing.push(what.clone());
        }
        rights.push(Right {
            variable: "KUBE_TOKEN or KUBECONFIG".into(),
            right: what,
            ok: Some(allowed),
        });
    }
    Ok((missing, rights))
}
