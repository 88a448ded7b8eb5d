//! Issues: written over gitea-mcp, looked up over REST without a text query, which is strongly consistent.

use forgeline_upstream::{Error, FullName, Kind, Reach};
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::client::{Gitea, read};

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
}

/// An issue to open.
#[derive(Clone, Debug)]
pub struct NewIssue {
    /// At most 255 characters; a longer one is cut by Gitea.
    pub title: String,
    /// Markdown; holds the marker by which it is found again.
    pub body: String,
}

impl Gitea {
    /// Opens an issue over gitea-mcp (tool `issue_write`, or `create_issue` in older servers). Opening is not unique.
    ///
    /// # Errors
    /// As every write.
    pub async fn create_issue(&self, name: &FullName, new: &NewIssue) -> Result<Issue, Error> {
        let operation = format!("open an issue in repository {name}");
        let tools = self.mcp.tools().await.map_err(|error| Error {
            reach: Reach::NotSent,
            ..error
        })?;
        let mut arguments = json!({"owner": name.owner(), "repo": name.name(), "title": new.title, "body": new.body});
        let tool = if tools.contains("issue_write") {
            arguments["method"] = json!("create");
            "issue_write"
        } else {
            "create_issue"
        };
        let answer = self.tool(&operation, tool, arguments).await?;
        let issue: Issue = read("gitea-mcp", &operation, answer)?;
        if issue.body == new.body || issue.title == new.title {
            Ok(issue)
        } else {
            let message = "the server answered success with another issue";
            Err(Error::new(
                "gitea-mcp",
                &operation,
                Kind::Unexpected,
                Reach::Unknown,
                message,
            ))
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
