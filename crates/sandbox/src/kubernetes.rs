//! A stand-in for the Kubernetes API: namespaces and what stands in them, as kube-apiserver 1.36 was seen to answer.

mod watch;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::world::{Credential, Role, World};

/// A refusal as the API server words it: a `Status`.
struct Refusal {
    code: u16,
    reason: &'static str,
    message: String,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
        }
    }

    fn not_found(resource: &str, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} \"{name}\" not found"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        (status, Json(body)).into_response()
    }
}

type Answer = Result<Response, Refusal>;

pub(crate) fn router(world: World) -> Router {
    Router::new()
        .route(
            "/version",
            get(async || Json(json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0"}))),
        )
        .route(
            "/api/v1/namespaces",
            get(list_namespaces).post(create_namespace),
        )
        .route(
            "/api/v1/namespaces/{namespace}",
            get(read_namespace)
                .delete(delete_namespace)
                .patch(annotate_namespace),
        )
        .route(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            post(review),
        )
        .route(
            "/api/v1/namespaces/{namespace}/{resource}",
            get(list_core).post(judge),
        )
        .route(
            "/api/v1/namespaces/{namespace}/{resource}/{name}",
            get(read_core).patch(apply_core),
        )
        .route(
            "/apis/{group}/{version}/namespaces/{namespace}/{resource}",
            get(list_group).post(judge),
        )
        .route("/apis/{group}/{version}/{resource}", post(judge))
        .route(
            "/apis/{group}/{version}/namespaces/{namespace}/{resource}/{name}",
            get(read_group).patch(apply_group),
        )
        .with_state(world)
}

/// An empty bearer is anonymous (403), a wrong one is 401, a missing right is 403 with the user's name.
fn authorise(world: &World, headers: &HeaderMap, right: &str) -> Result<Credential, Refusal> {
    let header = headers
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let value = header.strip_prefix("Bearer").unwrap_or_default().trim();
    if value.is_empty() {
        return Err(Refusal::new(
            403,
            "Forbidden",
            format!("User \"system:anonymous\" cannot {right}"),
        ));
    }
    let caller = world.state().credential(value, &[Role::Kubernetes]);
    let caller = caller.ok_or_else(|| Refusal::new(401, "Unauthorized", "Unauthorized"))?;
    let verb = right.split(' ').next().unwrap_or_default();
    if allows(&caller, right) {
        return Ok(caller);
    }
    let resource = right.split(' ').next_back().unwrap_or_default();
    let message = format!(
        "{resource} is forbidden: User \"{}\" cannot {verb} resource \"{resource}\"",
        caller.user
    );
    Err(Refusal::new(403, "Forbidden", message))
}

/// Whether the caller may do something; anybody who is known may ask.
async fn review(
    State(world): State<World>,
    headers: HeaderMap,
    Json(mut asked): Json<Value>,
) -> Answer {
    let header = headers
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let value = header
        .and_then(|header| header.strip_prefix("Bearer "))
        .unwrap_or_default();
    let caller = world.state().credential(value, &[Role::Kubernetes]);
    let caller = caller.ok_or_else(|| Refusal::new(401, "Unauthorized", "Unauthorized"))?;
    let wanted = &asked["spec"]["resourceAttributes"];
    let text = |name: &str| wanted[name].as_str().unwrap_or_default().to_owned();
    let allowed = allows(&caller, &format!("{} {}", text("verb"), text("resource")));
    asked["status"] = json!({"allowed": allowed});
    Ok((StatusCode::CREATED, Json(asked)).into_response())
}

/// Judges an object with `dryRun=All` and keeps nothing; anything else cannot be created this way.
async fn judge(
    axum::extract::RawQuery(query): axum::extract::RawQuery,
    Json(object): Json<Value>,
) -> Answer {
    if !query.unwrap_or_default().contains("dryRun=All") {
        let why = "the sandbox creates namespaces only; what stands in them is applied";
        return Err(Refusal::new(405, "MethodNotAllowed", why));
    }
    for part in ["apiVersion", "kind"] {
        if !object[part].is_string() {
            return Err(Refusal::new(422, "Invalid", format!("{part} is missing")));
        }
    }
    if !object["metadata"]["name"].is_string() {
        return Err(Refusal::new(422, "Invalid", "metadata.name is missing"));
    }
    Ok((StatusCode::CREATED, Json(object)).into_response())
}

/// A right alone, or its verb on everything.
fn allows(caller: &Credential, right: &str) -> bool {
    let verb = right.split(' ').next().unwrap_or_default();
    caller.scopes.contains(right) || caller.scopes.contains(verb)
}

#[derive(serde::Deserialize)]
struct Chunk {
    limit: Option<usize>,
    #[serde(rename = "continue")]
    from: Option<usize>,
}

async fn list_namespaces(
    State(world): State<World>,
    headers: HeaderMap,
    axum::extract::Query(chunk): axum::extract::Query<Chunk>,
) -> Answer {
    authorise(&world, &headers, "list namespaces")?;
    let all = world.state().cluster.namespaces();
    let from = chunk.from.unwrap_or(0);
    let to = chunk
        .limit
        .map_or(all.len(), |limit| (from + limit).min(all.len()));
    let shown = all.get(from..to).unwrap_or_default().iter().cloned();
    let items: Vec<Value> = shown.map(|one| told(&world, one)).collect();
    let mut metadata = json!({});
    if to < all.len() {
        metadata["continue"] = json!(to.to_string());
    }
    let list =
        json!({"kind": "NamespaceList", "apiVersion": "v1", "metadata": metadata, "items": items});
    Ok(Json(list).into_response())
}

/// A namespace as answers show it, with the hours that have passed since by order.
fn told(world: &World, mut namespace: Value) -> Value {
    let made = namespace["metadata"]["creationTimestamp"].as_str();
    if let Some(made) = made.and_then(|made| made.parse().ok()) {
        namespace["metadata"]["creationTimestamp"] = json!(world.told(made));
    }
    namespace
}

async fn create_namespace(
    State(world): State<World>,
    axum::extract::RawQuery(query): axum::extract::RawQuery,
    headers: HeaderMap,
    Json(object): Json<Value>,
) -> Answer {
    authorise(&world, &headers, "create namespaces")?;
    let name = object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty()
        || name.len() > 63
        || !name.bytes().all(label)
        || name.starts_with('-')
        || name.ends_with('-')
    {
        return Err(Refusal::new(
            422,
            "Invalid",
            format!("Namespace \"{name}\" is invalid: metadata.name"),
        ));
    }
    let mut state = world.state();
    if let Some(there) = state.cluster.namespace(&name) {
        let going = !there["metadata"]["deletionTimestamp"].is_null();
        let message = if going {
            format!("object is being deleted: namespaces \"{name}\" already exists")
        } else {
            format!("namespaces \"{name}\" already exists")
        };
        return Err(Refusal::new(409, "AlreadyExists", message));
    }
    if query.unwrap_or_default().contains("dryRun=All") {
        return Ok((StatusCode::CREATED, Json(object)).into_response());
    }
    let made = state.cluster.add_namespace(&name, object);
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

async fn read_namespace(
    State(world): State<World>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    authorise(&world, &headers, "get namespaces")?;
    let found = world
        .state()
        .cluster
        .namespace(&name)
        .ok_or_else(|| Refusal::not_found("namespaces", &name))?;
    Ok(Json(told(&world, found)).into_response())
}

/// A merge patch of a namespace's annotations.
async fn annotate_namespace(
    State(world): State<World>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(patch): Json<Value>,
) -> Answer {
    authorise(&world, &headers, "patch namespaces")?;
    let patched = world.state().cluster.annotate_namespace(&name, &patch);
    match patched {
        Some(Ok(namespace)) => Ok(Json(told(&world, namespace)).into_response()),
        Some(Err(())) => Err(Refusal::new(409, "Conflict", "uid mismatch")),
        None => Err(Refusal::not_found("namespaces", &name)),
    }
}

async fn delete_namespace(
    State(world): State<World>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Answer {
    authorise(&world, &headers, "delete namespaces")?;
    let options: Value = serde_json::from_str(&body).unwrap_or_default();
    let mut state = world.state();
    let found = state
        .cluster
        .namespace(&name)
        .ok_or_else(|| Refusal::not_found("namespaces", &name))?;
    for (field, said) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let wanted = &options["preconditions"][field];
        if !wanted.is_null() && *wanted != found["metadata"][field] {
            let message = format!(
                "Precondition failed: {said} in precondition: {wanted}, {said} in object meta: {}",
                found["metadata"][field]
            );
            return Err(Refusal::new(409, "Conflict", message));
        }
    }
    let deleted = state
        .cluster
        .delete_namespace(&name)
        .ok_or_else(|| Refusal::not_found("namespaces", &name))?;
    Ok(Json(deleted).into_response())
}

async fn list_core(
    State(world): State<World>,
    Path((namespace, resource)): Path<(String, String)>,
    axum::extract::Query(asked): axum::extract::Query<watch::Asked>,
    headers: HeaderMap,
) -> Answer {
    if asked.watches() {
        authorise(&world, &headers, &format!("watch {resource}"))?;
        return Ok(watch::stream(&world, namespace, resource, asked));
    }
    list(&world, &headers, &namespace, &resource, &asked)
}

async fn list_group(
    State(world): State<World>,
    Path((_, _, namespace, resource)): Path<(String, String, String, String)>,
    axum::extract::Query(asked): axum::extract::Query<watch::Asked>,
    headers: HeaderMap,
) -> Answer {
    list(&world, &headers, &namespace, &resource, &asked)
}

fn list(
    world: &World,
    headers: &HeaderMap,
    namespace: &str,
    resource: &str,
    asked: &watch::Asked,
) -> Answer {
    authorise(world, headers, &format!("list {resource}"))?;
    let state = world.state();
    let of = |(key, object): (&(String, String, String), &Value)| {
        (key.0 == namespace && key.1 == resource && asked.selects(&key.2)).then(|| object.clone())
    };
    let items: Vec<Value> = state.cluster.objects.iter().filter_map(of).collect();
    let metadata = json!({"resourceVersion": state.cluster.version().to_string()});
    Ok(
        Json(json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
            .into_response(),
    )
}

type Object = (String, String, String);

async fn read_core(
    State(world): State<World>,
    Path(key): Path<Object>,
    headers: HeaderMap,
) -> Answer {
    read(&world, &headers, &key)
}

async fn read_group(
    State(world): State<World>,
    Path((_, _, namespace, resource, name)): Path<(String, String, String, String, String)>,
    headers: HeaderMap,
) -> Answer {
    read(&world, &headers, &(namespace, resource, name))
}

fn read(world: &World, headers: &HeaderMap, key: &Object) -> Answer {
    authorise(world, headers, &format!("get {}", key.1))?;
    let found = world.state().cluster.objects.get(key).cloned();
    Ok(Json(found.ok_or_else(|| Refusal::not_found(&key.1, &key.2))?).into_response())
}

async fn apply_core(
    State(world): State<World>,
    Path(key): Path<Object>,
    headers: HeaderMap,
    body: String,
) -> Answer {
    apply(&world, &headers, &key, &body)
}

async fn apply_group(
    State(world): State<World>,
    Path((_, _, namespace, resource, name)): Path<(String, String, String, String, String)>,
    headers: HeaderMap,
    body: String,
) -> Answer {
    apply(&world, &headers, &(namespace, resource, name), &body)
}

/// Server-side apply. On an object that is going away it still succeeds; a creation in such a namespace is refused.
fn apply(
    world: &World,
    headers: &HeaderMap,
    (namespace, resource, name): &Object,
    body: &str,
) -> Answer {
    let caller = authorise(world, headers, &format!("patch {resource}"))?;
    let content_type = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if content_type != "application/apply-patch+yaml" {
        return Err(Refusal::new(
            415,
            "UnsupportedMediaType",
            "the sandbox knows server-side apply only",
        ));
    }
    let object: Value = serde_json::from_str(body)
        .map_err(|error| Refusal::new(400, "BadRequest", error.to_string()))?;
    let mut state = world.state();
    let there = state
        .cluster
        .namespace(namespace)
        .ok_or_else(|| Refusal::not_found("namespaces", namespace))?;
    let key = (namespace.clone(), resource.clone(), name.clone());
    let exists = state.cluster.objects.contains_key(&key);
    // Applying something new is a creation too.
    if !exists && !allows(&caller, &format!("create {resource}")) {
        let message = format!(
            "{resource} is forbidden: User \"{}\" cannot create resource \"{resource}\"",
            caller.user
        );
        return Err(Refusal::new(403, "Forbidden", message));
    }
    let role = object["roleRef"]["name"].as_str().unwrap_or_default();
    if resource == "rolebindings" && !allows(&caller, "bind clusterroles") {
        let message = format!(
            "rolebindings \"{name}\" is forbidden: user \"{}\" is attempting to grant RBAC permissions not currently held (role {role})",
            caller.user
        );
        return Err(Refusal::new(403, "Forbidden", message));
    }
    if !there["metadata"]["deletionTimestamp"].is_null() && !exists {
        let message = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        return Err(Refusal::new(403, "Forbidden", message));
    }
    let applied = state.cluster.put(namespace, resource, name, object);
    let status = if exists {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, Json(applied)).into_response())
}
