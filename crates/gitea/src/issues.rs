//! Issues: written over gitea-mcp, looked up over REST without a text query, which is strongly consistent.

use forgeline_upstream::{Error, FullName, Kind, Reach};
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Gitea, read};
use crate::dialect::Operation;

/// An issue as Gitea answers it; only what we use.
#[derive(Clone, Debug, Deserialize)]
pub struct Issue {
    /// Its number in the repository. Numbers restart when a repository is made anew.
    pub number: u64,
    /// At most 255 characters.
    #[serde(default)]
    pub title: String,
    /// Markdown.
    #[serde(default)]
    pub body: String,
    /// `open` or `closed`.
    #[serde(default)]
    pub state: String,
    /// For people.
    #[serde(default)]
    pub html_url: String,
    /// When it was opened.
    pub created_at: Timestamp,
    /// Its labels; empty too where a server leaves them out of its answer.
    #[serde(default)]
    #[serde(deserialize_with = "labels")]
    pub labels: Vec<Label>,
}

/// A label of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Label {
    /// Gitea's number for it.
    pub id: u64,
    /// Its name.
    pub name: String,
}

/// Servers answer labels as objects, as names, as null, or not at all; only objects tell the id.
fn labels<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Label>, D::Error> {
    let value = Value::deserialize(from)?;
    let items = value.as_array().cloned().unwrap_or_default();
    Ok(items
        .into_iter()
        .filter_map(|item| serde_json::from_value(item).ok())
        .collect())
}

/// An issue to open.
#[derive(Clone, Debug)]
pub struct NewIssue {
    /// At most 255 characters; a longer one is cut by Gitea.
    pub title: String,
    /// Markdown; holds the marker by which it is found again.
    pub body: String,
    /// Labels of the repository.
    pub labels: Vec<Label>,
}

impl Gitea {
    /// Opens an issue, over gitea-mcp where that has a tool. Opening is not unique. Labels that Gitea drops silently are
    /// found by reading the issue back.
    ///
    /// # Errors
    /// As every write.
    pub async fn create_issue(&self, name: &FullName, new: &NewIssue) -> Result<Issue, Error> {
        let operation = format!("open an issue in repository {name}");
        let ids: Vec<u64> = new.labels.iter().map(|label| label.id).collect();
        let names: Vec<&str> = new.labels.iter().map(|label| label.name.as_str()).collect();
        let given = |value: Value| {
            if new.labels.is_empty() {
                Value::Null
            } else {
                value
            }
        };
        let values = json!({
            "owner": name.owner(), "repository": name.name(), "title": new.title, "body": new.body,
            "label_ids": given(json!(ids)), "label_names": given(json!(names)),
        });
        let over_mcp = self
            .over_mcp(Operation::CreateIssue, &operation, &values)
            .await?;
        let answer = match over_mcp {
            Some(answer) => answer,
            None => {
                let body = json!({"title": new.title, "body": new.body, "labels": ids});
                let path = format!("/repos/{name}/issues");
                self.write(&operation, Method::POST, &path, Some(body))
                    .await?
            }
        };
        let issue: Issue = read("gitea-mcp", &operation, answer)?;
        // A server that follows redirects opens it in another repository and answers success.
        let elsewhere = !issue.html_url.is_empty()
            && !issue
                .html_url
                .to_ascii_lowercase()
                .contains(&format!("/{name}/").to_ascii_lowercase());
        if elsewhere || (issue.body != new.body && issue.title != new.title) {
            let message = "the server answered success with another issue";
            return Err(Error::new(
                "gitea-mcp",
                &operation,
                Kind::Unexpected,
                Reach::Unknown,
                message,
            ));
        }
        if !new.labels.is_empty() {
            self.prove_labels(name, &issue, &ids, &operation).await?;
        }
        Ok(issue)
    }

    /// Sets the labels again where a server dropped some.
    async fn prove_labels(
        &self,
        name: &FullName,
        issue: &Issue,
        ids: &[u64],
        operation: &str,
    ) -> Result<(), Error> {
        let unproved = |error: Error| Error {
            reach: Reach::Unknown,
            ..error
        };
        let now = self.issue(name, issue.number).await.map_err(unproved)?;
        let has = |id: &u64| {
            now.as_ref()
                .is_some_and(|now| now.labels.iter().any(|label| label.id == *id))
        };
        if ids.iter().all(has) {
            return Ok(());
        }
        let path = format!("/repos/{name}/issues/{}/labels", issue.number);
        let set = self.write(operation, Method::PUT, &path, Some(json!({"labels": ids})));
        set.await.map(drop).map_err(unproved)
    }

    /// The labels of a repository.
    ///
    /// # Errors
    /// As every read.
    pub async fn labels(&self, name: &FullName) -> Result<Vec<Label>, Error> {
        let operation = format!("list the labels of repository {name}");
        let listed = self
            .get_all(&operation, &format!("/repos/{name}/labels"))
            .await?;
        listed
            .into_iter()
            .map(|item| read("gitea", &operation, item))
            .collect()
    }

    /// Makes a label. Names are not unique in Gitea: list first.
    ///
    /// # Errors
    /// As every write.
    pub async fn create_label(&self, name: &FullName, label: &str) -> Result<Label, Error> {
        let operation = format!("create label {label} in repository {name}");
        let body = json!({"name": label, "color": "#4f46e5"});
        let path = format!("/repos/{name}/labels");
        let answer = self
            .write(&operation, Method::POST, &path, Some(body))
            .await?;
        read("gitea", &operation, answer)
    }

    /// Deletes a label. One that is not there is no error.
    ///
    /// # Errors
    /// As every write.
    pub async fn delete_label(&self, name: &FullName, id: u64) -> Result<(), Error> {
        let operation = format!("delete label {id} of repository {name}");
        let path = format!("/repos/{name}/labels/{id}");
        match self.write(&operation, Method::DELETE, &path, None).await {
            Err(error) if error.kind != Kind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All issues whose body holds this text, oldest first.
    ///
    /// # Errors
    /// As every read.
    pub async fn issues_with(&self, name: &FullName, text: &str) -> Result<Vec<Issue>, Error> {
        let operation = format!("list the issues of repository {name}");
        let path = format!("/repos/{name}/issues?state=all&type=issues");
        let listed = self.get_all(&operation, &path).await?;
        let mut issues: Vec<Issue> = listed
            .into_iter()
            .map(|item| read("gitea", &operation, item))
            .collect::<Result<_, _>>()?;
        issues.retain(|issue| issue.body.contains(text));
        issues.sort_by_key(|issue| issue.number);
        Ok(issues)
    }

    /// Whether there are issues or pull requests whose body does not hold this text.
    ///
    /// # Errors
    /// As every read.
    pub async fn has_issues_without(&self, name: &FullName, text: &str) -> Result<bool, Error> {
        let operation = format!("list the issues of repository {name}");
        let listed = self
            .get_all(&operation, &format!("/repos/{name}/issues?state=all"))
            .await?;
        Ok(listed
            .iter()
            .any(|issue| !issue["body"].as_str().unwrap_or_default().contains(text)))
    }

    /// How many issues and pull requests there are, open and closed.
    ///
    /// # Errors
    /// As every read.
    pub async fn issue_count(&self, name: &FullName) -> Result<u64, Error> {
        let operation = format!("count the issues of repository {name}");
        let path = format!("/repos/{name}/issues?state=all&limit=1&page=1");
        let reply = self
            .send(&operation, http::Method::GET, &path, None)
            .await?;
        let total = reply.headers.get("x-total-count");
        let total = total.and_then(|value| value.to_str().ok()?.parse().ok());
        let shown = reply.body.as_array().map_or(0, Vec::len);
        Ok(total.unwrap_or(u64::try_from(shown).unwrap_or(u64::MAX)))
    }

    /// Whether any issue or pull request has this label.
    ///
    /// # Errors
    /// As every read.
    pub async fn has_issues_with_label(&self, name: &FullName, id: u64) -> Result<bool, Error> {
        let operation = format!("list the issues of repository {name}");
        let listed = self
            .get_all(&operation, &format!("/repos/{name}/issues?state=all"))
            .await?;
        Ok(listed.iter().any(|issue| {
            let labels = issue["labels"].as_array().map(Vec::as_slice);
            labels
                .unwrap_or_default()
                .iter()
                .any(|found| found["id"] == id)
        }))
    }

    /// One issue by its number. `None`: no such number.
    ///
    /// # Errors
    /// As every read.
    pub async fn issue(&self, name: &FullName, number: u64) -> Result<Option<Issue>, Error> {
        let operation = format!("read issue {number} of repository {name}");
        let body = self
            .get_if_there(&operation, &format!("/repos/{name}/issues/{number}"))
            .await?;
        body.map(|body| read("gitea", &operation, body)).transpose()
    }

    /// Deletes an issue. Read its marker right before: numbers restart when a repository is made anew.
    ///
    /// # Errors
    /// As every write.
    pub async fn delete_issue(&self, name: &FullName, number: u64) -> Result<(), Error> {
        let operation = format!("delete issue {number} of repository {name}");
        self.write(
            &operation,
            Method::DELETE,
            &format!("/repos/{name}/issues/{number}"),
            None,
        )
        .await
        .map(drop)
    }
}
