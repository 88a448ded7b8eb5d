//! The gate in front of `/mcp`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::caller::Caller;
use crate::static_token::{StaticToken, digest};

/// Who may come in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate {
    tokens: Arc<Vec<StaticToken>>,
}

impl Gate {
    /// A gate for these bearers; without any it lets nobody in.
    pub fn new(tokens: Vec<StaticToken>) -> Self {
        Self {
            tokens: Arc::new(tokens),
        }
    }

    /// The same gate, behind which everybody may only look.
    #[must_use]
    pub fn read_only(&self) -> Self {
        let tokens = self.tokens.iter().cloned();
        Self::new(tokens.map(StaticToken::read_only).collect())
    }

    /// Whose bearer these headers carry. `None`: nobody's. Exactly one header `Authorization: Bearer TOKEN` counts; a
    /// token in the query never does.
    pub fn authenticate(&self, headers: &HeaderMap) -> Option<Caller> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer")
            || token.is_empty()
            || !token.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return None;
        }
        let presented = digest(token);
        // All of them are compared, so that the time tells nothing.
        let found: Vec<&StaticToken> = self
            .tokens
            .iter()
            .filter(|known| known.matches(&presented))
            .collect();
        found.first().map(|known| known.caller().clone())
    }
}

/// Lets known callers in, as a [`Caller`] among the request's extensions; everybody else gets 401 with a challenge.
pub async fn bearer(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let Some(caller) = gate.authenticate(request.headers()) else {
        tracing::info!(target: "audit", path = request.uri().path(), "a caller was not authenticated");
        let challenge = [(WWW_AUTHENTICATE, "Bearer realm=\"forgeline\"")];
        return (
            StatusCode::UNAUTHORIZED,
            challenge,
            "unauthorized: send a valid `Authorization: Bearer` header\n",
        )
            .into_response();
    };
    request.headers_mut().remove(AUTHORIZATION);
    request.headers_mut().remove(COOKIE);
    request.extensions_mut().insert(caller);
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use forgeline_upstream::{Origin, Token, TokenFault, TokenHandle};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn gate() -> Gate {
        let token = Token::new(SECRET, Origin::variable("FORGELINE_STATIC_TOKEN")).unwrap();
        Gate::new(vec![
            StaticToken::new(TokenHandle::fixed(token), Caller::admin("svc:test")).unwrap(),
        ])
    }

    fn with(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn only_the_exact_bearer_is_known() {
        assert_eq!(
            gate()
                .authenticate(&with(&format!("Bearer {SECRET}")))
                .unwrap()
                .name,
            "svc:test"
        );
        let last = &SECRET[..SECRET.len() - 1];
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            &format!("Bearer {last}"),
            &format!("Bearer {SECRET}0"),
            &format!("Bearer  {SECRET}"),
            &format!("Basic {SECRET}"),
            &format!("Bearer {SECRET}, Bearer {SECRET}"),
        ] {
            assert!(gate().authenticate(&with(wrong)).is_none(), "{wrong}");
        }
        assert!(gate().authenticate(&HeaderMap::new()).is_none());
    }

    #[test]
    fn a_short_bearer_is_refused_at_start() {
        let token = Token::new("short", Origin::variable("FORGELINE_STATIC_TOKEN")).unwrap();
        let error = StaticToken::new(TokenHandle::fixed(token), Caller::admin("x")).unwrap_err();
        assert_eq!(error.fault, TokenFault::TooShort);
    }
}
