//! Secrets: from a variable, a file, or the reference in a configuration file; each handed out once, so that all who use it see
//! it change.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use forgeline_upstream::{Origin, Token, TokenError, TokenFault, TokenHandle};

use super::Env;
use crate::config::Problem;
use crate::config_file::{Reference, Said};

/// A token that was handed out.
#[derive(Clone)]
pub(super) struct Handed {
    token: TokenHandle,
    /// The reference in a configuration file that led to it. `None`: the environment did.
    reference: Option<Reference>,
}

/// Namespace, name and key of a Secret.
pub(crate) type Place = (String, String, String);

impl Env {
    /// Every reference in the files, also in their tables.
    pub(super) fn references(&self) -> impl Iterator<Item = &Reference> {
        self.files.iter().flat_map(|file| {
            let settings = file.said.values().filter_map(|said| match said {
                Said::Secret(reference) => Some(reference),
                Said::Text(_) => None,
            });
            let servers = file.mcp_servers.iter().flatten().map(|one| &one.token);
            let http = file.http.iter().flat_map(|http| &http.tokens);
            let callers = file.callers.iter().flatten().map(|one| &one.token);
            settings
                .chain(servers)
                .chain(http.map(|one| &one.token))
                .chain(callers)
        })
    }

    pub(super) fn referred_variables(&self) -> Vec<String> {
        self.references()
            .filter_map(|reference| match reference {
                Reference::Env(name) => Some(name.clone()),
                Reference::File(_) | Reference::Kubernetes { .. } => None,
            })
            .collect()
    }

    /// The Secrets in the cluster that the files refer to.
    pub(crate) fn wanted_from_cluster(&self) -> Vec<Place> {
        self.references()
            .filter_map(|reference| match reference {
                Reference::Kubernetes {
                    namespace,
                    secret,
                    key,
                } => Some((namespace.clone(), secret.clone(), key.clone())),
                Reference::Env(_) | Reference::File(_) => None,
            })
            .collect()
    }

    /// Keeps what was fetched from the cluster, or why it could not be.
    pub(crate) fn fetched(&mut self, place: Place, value: Result<String, String>) {
        self.fetched.insert(place, value);
    }

    /// What fetching the Secrets led to, without the values.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&Place, Result<bool, &str>)> {
        self.fetched.iter().map(|(place, found)| {
            let found = found.as_ref().map(|text| !text.trim().is_empty());
            (place, found.map_err(String::as_str))
        })
    }

    /// The token for this use, made once.
    fn handed(
        &self,
        what: &str,
        reference: Option<&Reference>,
        make: impl FnOnce() -> Result<TokenHandle, Problem>,
    ) -> Result<TokenHandle, Problem> {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        // Two of one name, as for the rotation of a bearer, are two tokens.
        let mut name = what.to_owned();
        let mut number = 1;
        while let Some(known) = handles.get(&name) {
            if known.reference.as_ref() == reference {
                return Ok(known.token.clone());
            }
            number += 1;
            name = format!("{what} ({number})");
        }
        let token = make()?;
        let reference = reference.cloned();
        handles.insert(
            name,
            Handed {
                token: token.clone(),
                reference,
            },
        );
        Ok(token)
    }

    /// Every token that was handed out so far, by what it is for.
    pub(crate) fn tokens(&self) -> Vec<(String, TokenHandle)> {
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let all = handles.iter();
        all.map(|(what, handed)| (what.clone(), handed.token.clone()))
            .collect()
    }

    /// The tokens in the cluster's Secrets that were handed out, and what each is for.
    pub(crate) fn tokens_in_cluster(&self) -> Vec<(Place, TokenHandle)> {
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let placed = handles
            .values()
            .filter_map(|handed| match &handed.reference {
                Some(Reference::Kubernetes {
                    namespace,
                    secret,
                    key,
                }) => {
                    let place = (namespace.clone(), secret.clone(), key.clone());
                    Some((place, handed.token.clone()))
                }
                Some(Reference::Env(_) | Reference::File(_)) | None => None,
            });
        placed.collect()
    }

    /// A secret from its variable, its file, or the reference in a configuration file. `None`: none of them is there.
    pub(crate) fn secret(&self, name: &str) -> Result<Option<TokenHandle>, Problem> {
        let file_name = format!("{name}_FILE");
        match (self.values.get(name), self.values.get(&file_name)) {
            (Some(_), Some(_)) => Err(Problem::new(
                "token.ambiguous",
                format!("both {name} and {file_name} are set"),
                format!("set only one of {name} and {file_name}"),
            )),
            (Some(text), None) => {
                let fixed = || {
                    Ok(TokenHandle::fixed(Token::new(
                        text,
                        Origin::variable(name),
                    )?))
                };
                self.handed(name, None, fixed).map(Some)
            }
            (None, Some(path)) => {
                let origin = Origin::File {
                    variable: name.to_owned(),
                    path: PathBuf::from(path),
                };
                let from_file = || Ok(TokenHandle::from_file(&origin)?);
                self.handed(name, None, from_file).map(Some)
            }
            (None, None) => {
                let said = self
                    .files
                    .iter()
                    .find_map(|file| Some((file, file.said.get(name)?)));
                match said {
                    Some((file, Said::Secret(reference))) => {
                        self.referred(reference, name, &file.path).map(Some)
                    }
                    _ => Ok(None),
                }
            }
        }
    }

    /// What a reference in the configuration file leads to. `what` names it in messages.
    pub(crate) fn referred(
        &self,
        reference: &Reference,
        what: &str,
        file: &Path,
    ) -> Result<TokenHandle, Problem> {
        self.handed(what, Some(reference), || {
            self.followed(reference, what, file)
        })
    }

    fn followed(
        &self,
        reference: &Reference,
        what: &str,
        file: &Path,
    ) -> Result<TokenHandle, Problem> {
        let place = |place: String| Origin::Referred {
            name: what.to_owned(),
            place: format!("{place} (named by {} for {what})", file.display()),
        };
        match reference {
            Reference::Env(variable) => {
                let origin = place(format!("environment variable {variable}"));
                match self.values.get(variable) {
                    Some(text) => Ok(TokenHandle::fixed(Token::new(text, origin)?)),
                    None => Err(TokenError {
                        origin,
                        fault: TokenFault::Absent,
                    }
                    .into()),
                }
            }
            Reference::File(path) => Ok(TokenHandle::from_file(&Origin::File {
                variable: what.to_owned(),
                path: path.clone(),
            })?),
            Reference::Kubernetes {
                namespace,
                secret,
                key,
            } => {
                let origin = place(format!("key {key} of Secret {namespace}/{secret}"));
                let wanted = (namespace.clone(), secret.clone(), key.clone());
                match self.fetched.get(&wanted) {
                    Some(Ok(text)) => Ok(TokenHandle::fixed(Token::new(text, origin)?)),
                    Some(Err(why)) => Err(Problem::new(
                        "token.unreadable",
                        format!("{origin} cannot be read: {why}"),
                        "create that Secret, and let forgeline's service account get it",
                    )),
                    None => Err(TokenError {
                        origin,
                        fault: TokenFault::Unreadable,
                    }
                    .into()),
                }
            }
        }
    }
}
