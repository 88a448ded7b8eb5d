//! The client: one request, one answer, one deadline.

use std::fmt;
use std::time::Duration;

use forgeline_upstream::{Error, Kind, Origin, Reach, Throttle, Token, TokenError, TokenHandle};
use http::{HeaderValue, Method, header};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use serde_json::Value;

const CONNECT: Duration = Duration::from_secs(5);

/// How to reach the cluster.
#[derive(Clone)]
pub enum Access {
    /// An API server and a bearer.
    Endpoint {
        /// For example `https://127.0.0.1:6443`.
        url: url::Url,
        /// Taken anew for each request.
        token: TokenHandle,
        /// PEM certificates of the API server's authority. `None`: the system's trust roots.
        authority_pem: Option<Vec<u8>>,
    },
    /// The text of a kubeconfig; its current context is used.
    Kubeconfig(String),
    /// The service account of the pod that this runs in.
    InCluster,
}

/// Why the client could not be built.
#[derive(Debug)]
pub struct BuildError(String);

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Kubernetes client cannot be built: {}", self.0)
    }
}

impl std::error::Error for BuildError {}

/// A client of one cluster. Cheap to clone.
#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
    credential: String,
    /// `None`: the credential is not ours to read.
    token: Option<TokenHandle>,
    deadline: Duration,
    throttle: Throttle,
}

impl Kubernetes {
    /// A client whose calls may each take `deadline`. Needs a tokio runtime; sends nothing yet.
    ///
    /// # Errors
    /// A configuration that cannot be used.
    pub async fn new(access: Access, deadline: Duration) -> Result<Self, BuildError> {
        let (client, credential, token) = match access {
            Access::Endpoint {
                url,
                token,
                authority_pem,
            } => {
                let credential = token.origin().to_string();
                let client = endpoint(&url, token.clone(), authority_pem.as_deref())?;
                (client, credential, Some(token))
            }
            Access::Kubeconfig(text) => (
                kubeconfig(&text).await?,
                "the kubeconfig (KUBECONFIG)".to_owned(),
                None,
            ),
            Access::InCluster => {
                let config = Config::incluster().map_err(|error| BuildError(error.to_string()))?;
                let client = Client::try_from(tune(config))
                    .map_err(|error| BuildError(error.to_string()))?;
                (client, "the pod's service account".to_owned(), None)
            }
        };
        Ok(Self {
            client,
            credential,
            token,
            deadline,
            throttle: Throttle::default(),
        })
    }

    /// The same client, within these limits.
    #[must_use]
    pub fn within(self, throttle: Throttle) -> Self {
        Self { throttle, ..self }
    }

    /// The same client for requests of another priority.
    #[must_use]
    pub fn with_priority(&self, priority: forgeline_upstream::Priority) -> Self {
        Self {
            throttle: self.throttle.with_priority(priority),
            ..self.clone()
        }
    }

    /// What the requests are authenticated with, for messages.
    pub fn credential(&self) -> &str {
        &self.credential
    }

    pub(crate) fn raw(&self) -> &Client {
        &self.client
    }

    pub(crate) async fn send(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Value, Error> {
        let writes = method != Method::GET;
        let _place = self.throttle.enter("kubernetes", operation, writes).await?;
        let request = async {
            let used = self.token.as_ref().map(|token| (token, token.current()));
            let first = self.exchange(operation, method.clone(), path, body).await;
            match (first, used) {
                // A 401 did not act, and the token may have been rotated meanwhile.
                (Err(error), Some((token, used)))
                    if error.is_unauthenticated() && token.was_refused(&used) =>
                {
                    self.exchange(operation, method, path, body).await
                }
                (answer, _) => answer,
            }
        };
        forgeline_upstream::within("kubernetes", operation, self.deadline, request).await
    }

    async fn exchange(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Value, Error> {
        let unsendable = |error: &dyn fmt::Display| {
            Error::new(
                "kubernetes",
                operation,
                Kind::Invalid,
                Reach::NotSent,
                &error.to_string(),
            )
        };
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json");
        let bytes = match body {
            Some((content_type, body)) => {
                request = request.header(header::CONTENT_TYPE, content_type);
                serde_json::to_vec(body).map_err(|error| unsendable(&error))?
            }
            None => Vec::new(),
        };
        let request = request
            .body(Body::from(bytes))
            .map_err(|error| unsendable(&error))?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| lost(operation, &error))?;
        let (head, body) = response.into_parts();
        let bytes = body.collect_bytes().await.map_err(|error| Error {
            reach: Reach::Unknown,
            ..lost(operation, &error)
        })?;
        let parsed: Option<Value> = serde_json::from_slice(&bytes).ok();
        if !head.status.is_success() {
            return Err(
                refusal(operation, head.status.as_u16(), parsed.as_ref(), &bytes)
                    .with_headers(&head.headers),
            );
        }
        parsed.ok_or_else(|| {
            let base = Error::new(
                "kubernetes",
                operation,
                Kind::Unexpected,
                Reach::Unknown,
                "the answer is not JSON",
            );
            Error {
                status: Some(head.status.as_u16()),
                ..base
            }
        })
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Endpoint { .. } => "Endpoint",
            Self::Kubeconfig(_) => "Kubeconfig",
            Self::InCluster => "InCluster",
        })
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubernetes")
            .field("credential", &self.credential)
            .finish_non_exhaustive()
    }
}

fn endpoint(
    url: &url::Url,
    token: TokenHandle,
    authority_pem: Option<&[u8]>,
) -> Result<Client, BuildError> {
    let bad = |error: &dyn fmt::Display| BuildError(error.to_string());
    let uri: http::Uri = url
        .as_str()
        .trim_end_matches('/')
        .parse()
        .map_err(|error: http::uri::InvalidUri| bad(&error))?;
    let plain = uri.scheme_str() == Some("http");
    let mut config = tune(Config::new(uri));
    config.root_cert = match authority_pem {
        Some(pem) => {
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            Some(
                certificates
                    .map_err(|error| bad(&format!("{error:?}")))?
                    .iter()
                    .map(|one| one.to_vec())
                    .collect(),
            )
        }
        // A plain address needs no roots.
        None if plain => Some(Vec::new()),
        None => None,
    };
    let auth = tower::filter::FilterLayer::new(move |mut request: http::Request<Body>| {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.current().expose()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(request)
    });
    let builder = ClientBuilder::try_from(config).map_err(|error| bad(&error))?;
    Ok(builder.with_layer(&auth).build())
}

async fn kubeconfig(text: &str) -> Result<Client, BuildError> {
    // The parser's own message may show lines of the file, and those hold secrets.
    let parsed = kube::config::Kubeconfig::from_yaml(text)
        .map_err(|_| BuildError("KUBECONFIG names a file that is no valid kubeconfig".into()))?;
    let options = kube::config::KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(parsed, &options)
        .await
        .map_err(|_| {
            BuildError("the kubeconfig's current context, cluster or user cannot be used".into())
        })?;
    judge(&config)?;
    Client::try_from(tune(config)).map_err(|error| BuildError(error.to_string()))
}

/// A credential that is missing or wrong in form is refused here, before any request.
fn judge(config: &Config) -> Result<(), BuildError> {
    let auth = &config.auth_info;
    if auth.exec.is_some() || auth.auth_provider.is_some() {
        let message =
            "the kubeconfig runs a command to log in; use a service account's token instead";
        return Err(BuildError(message.into()));
    }
    let origin = || Origin::Own("the token in the kubeconfig (KUBECONFIG)".into());
    let refused = |error: TokenError| BuildError(error.to_string());
    if let Some(token) = &auth.token {
        return Token::new(token.expose_secret(), origin())
            .map(drop)
            .map_err(refused);
    }
    if let Some(path) = &auth.token_file {
        let text = std::fs::read_to_string(path).map_err(|_| {
            BuildError(format!("the kubeconfig's token file {path} cannot be read"))
        })?;
        return Token::new(&text, origin()).map(drop).map_err(refused);
    }
    let certificate = auth.client_certificate.is_some() || auth.client_certificate_data.is_some();
    if certificate || auth.username.is_some() {
        return Ok(());
    }
    Err(BuildError(
        "the kubeconfig's user has neither a token nor a client certificate".into(),
    ))
}

/// Retries live in the step engine, deadlines around each call, and proxies nowhere.
fn tune(mut config: Config) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = None;
    config.write_timeout = None;
    config.proxy_url = None;
    config.headers.push((
        header::USER_AGENT,
        HeaderValue::from_static(concat!("forgeline/", env!("CARGO_PKG_VERSION"))),
    ));
    config
}

fn lost(operation: &str, error: &kube::Error) -> Error {
    let mut reach = Reach::Unknown;
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        // hyper-util's error is private to kube; its text for a connection that was never made is fixed.
        if cause.to_string() == "client error (Connect)" {
            reach = Reach::NotSent;
        }
        next = cause.source();
    }
    Error::new(
        "kubernetes",
        operation,
        Kind::Unavailable,
        reach,
        &forgeline_upstream::http::chain(error),
    )
}

/// What a refusal means. Measured against kube-apiserver 1.36: an empty bearer is 403 as `system:anonymous`, a
/// namespace that is going away refuses creations with 403 and its own name with 409, an unknown field is a 500.
fn refusal(operation: &str, status: u16, body: Option<&Value>, bytes: &[u8]) -> Error {
    let text = String::from_utf8_lossy(bytes);
    let message = body
        .and_then(|body| body["message"].as_str())
        .unwrap_or(&text);
    let mut error = Error::from_status("kubernetes", operation, status, message);
    let going_away =
        message.contains("is being terminated") || message.contains("object is being deleted");
    if going_away {
        error.kind = Kind::Unavailable;
    }
    if status == 500 && message.contains("field not declared in schema") {
        error.kind = Kind::Invalid;
        error.reach = Reach::Refused;
    }
    if status == 403 && message.contains("system:anonymous") {
        error.status = Some(401);
    }
    error
}
