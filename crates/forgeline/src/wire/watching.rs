//! Tokens that stand in the cluster's Secrets follow them while a server runs.

use std::collections::BTreeMap;

use forgeline_kubernetes::Kubernetes;
use forgeline_upstream::TokenHandle;

use crate::env::Env;

/// Watches every Secret that the configuration refers to, until the process ends.
pub(super) fn begin(env: &Env, cluster: Option<&Kubernetes>) {
    let Some(cluster) = cluster else { return };
    let mut secrets: BTreeMap<(String, String), Vec<(String, TokenHandle)>> = BTreeMap::new();
    for ((namespace, secret, key), token) in env.tokens_in_cluster() {
        let keys = secrets.entry((namespace, secret)).or_default();
        keys.push((key, token));
    }
    for ((namespace, secret), keys) in secrets {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            cluster
                .follow_secret(&namespace, &secret, |found| {
                    for (key, token) in &keys {
                        token.offer(found.get(key).map(String::as_str));
                    }
                })
                .await;
        });
    }
}
