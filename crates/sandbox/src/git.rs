//! Real bare repositories: made from a template, written by `git fast-import`, served by `git http-backend`.

pub(crate) mod copied;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Runs git without the user's configuration and without ever asking.
fn git() -> Command {
    let mut command = Command::new("git");
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .await
        .map_err(|error| format!("git cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// Makes the template that [`init`] copies; called once. `copied`: every repository is of the kind that needs no git.
pub(crate) async fn prepare(root: &Path, copied: bool) -> Result<(), String> {
    let template = root.join("template.git");
    if copied {
        return said(copied::prepare(&template));
    }
    run(git()
        .args([
            "init",
            "--quiet",
            "--bare",
            "--initial-branch=main",
            "--template=",
        ])
        .arg(&template))
    .await?;
    run(git()
        .arg("-C")
        .arg(&template)
        .args(["config", "http.receivepack", "true"]))
    .await?;
    Ok(())
}

fn said(result: std::io::Result<()>) -> Result<(), String> {
    result.map_err(|error| error.to_string())
}

/// Makes an empty bare repository: a copy of the template, which is faster than asking git.
pub(crate) async fn init(root: &Path, dir: &Path) -> Result<(), String> {
    let (template, dir) = (root.join("template.git"), dir.to_owned());
    let copied = tokio::task::spawn_blocking(move || copy(&template, &dir)).await;
    copied
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("the repository cannot be made: {error}"))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Adds a commit to a branch (made when it is not there).
pub(crate) async fn commit(
    dir: &Path,
    branch: &str,
    user: &str,
    message: &str,
    files: &BTreeMap<String, String>,
) -> Result<(), String> {
    commit_from(dir, branch, branch, user, message, files).await
}

/// Adds a commit to a branch; a branch that is not there starts at `base`, or with no parent where that is not there
/// either.
pub(crate) async fn commit_from(
    dir: &Path,
    base: &str,
    branch: &str,
    user: &str,
    message: &str,
    files: &BTreeMap<String, String>,
) -> Result<(), String> {
    if copied::is(dir) {
        return said(copied::commit_from(dir, base, branch, message, files));
    }
    let mut stream = format!(
        "commit refs/heads/{branch}\ncommitter {user} <{user}@example.org> {} +0000\ndata {}\n{message}\n",
        jiff::Timestamp::now().as_second(),
        message.len()
    );
    let there = refs(dir);
    let from = [branch, base]
        .into_iter()
        .find(|name| there.contains_key(&format!("refs/heads/{name}")));
    if let Some(from) = from {
        stream.push_str(&format!("from refs/heads/{from}^0\n"));
    }
    for (path, text) in files {
        stream.push_str(&format!(
            "M 100644 inline {path}\ndata {}\n{text}\n",
            text.len()
        ));
    }
    let mut command = git();
    command
        .arg("-C")
        .arg(dir)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| format!("git cannot be run: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        input
            .write_all(stream.as_bytes())
            .await
            .map_err(|error| error.to_string())?;
    }
    let output = child
        .wait_with_output()
        .await
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The files of another repository's branch as one new first commit.
pub(crate) async fn generate(
    from: &Path,
    from_branch: &str,
    dir: &Path,
    branch: &str,
    user: &str,
) -> Result<(), String> {
    if copied::is(dir) {
        return said(copied::generate(from, from_branch, dir, branch));
    }
    run(git()
        .arg("-C")
        .arg(dir)
        .args(["fetch", "--quiet"])
        .arg(from)
        .arg(from_branch))
    .await?;
    let email = format!("{user}@example.org");
    let made = run(git()
        .arg("-C")
        .arg(dir)
        .envs([("GIT_AUTHOR_NAME", user), ("GIT_COMMITTER_NAME", user)])
        .envs([
            ("GIT_AUTHOR_EMAIL", &email),
            ("GIT_COMMITTER_EMAIL", &email),
        ])
        .args(["commit-tree", "FETCH_HEAD^{tree}", "-m", "Initial commit"]))
    .await?;
    let name = format!("refs/heads/{branch}");
    run(git()
        .arg("-C")
        .arg(dir)
        .args(["update-ref", &name, made.trim()]))
    .await?;
    set_head(dir, branch).map_err(|error| error.to_string())
}

/// A file of a branch: its blob and its text. `None`: no such file or branch.
pub(crate) async fn file(dir: &Path, branch: &str, path: &str) -> Option<(String, String)> {
    if copied::is(dir) {
        return copied::file(dir, branch, path);
    }
    let name = format!("{branch}:{path}");
    let mut ask = git();
    ask.arg("-C")
        .arg(dir)
        .args(["rev-parse", "--verify", "--quiet", &name]);
    let blob = run(&mut ask).await.ok()?.trim().to_owned();
    let mut show = git();
    show.arg("-C").arg(dir).args(["cat-file", "blob", &blob]);
    Some((blob, run(&mut show).await.ok()?))
}

/// Moves the default branch to a branch's head: a merge by fast-forward.
pub(crate) async fn merge(dir: &Path, branch: &str) -> Result<(), String> {
    if copied::is(dir) {
        return said(copied::point(dir, &head(dir), branch));
    }
    let (target, from) = (
        format!("refs/heads/{}", head(dir)),
        format!("refs/heads/{branch}"),
    );
    run(git()
        .arg("-C")
        .arg(dir)
        .args(["update-ref", &target, &from]))
    .await
    .map(drop)
}

/// Puts a branch's files on the default branch as a commit of its own: a squashed merge.
pub(crate) async fn squash(dir: &Path, branch: &str, user: &str) -> Result<(), String> {
    if copied::is(dir) {
        return said(copied::squash(dir, branch));
    }
    let target = format!("refs/heads/{}", head(dir));
    let email = format!("{user}@example.org");
    let made = run(git()
        .arg("-C")
        .arg(dir)
        .envs([("GIT_AUTHOR_NAME", user), ("GIT_COMMITTER_NAME", user)])
        .envs([
            ("GIT_AUTHOR_EMAIL", &email),
            ("GIT_COMMITTER_EMAIL", &email),
        ])
        .args([
            "commit-tree",
            &format!("refs/heads/{branch}^{{tree}}"),
            "-p",
            &target,
        ])
        .args(["-m", "Squashed"]))
    .await?;
    run(git()
        .arg("-C")
        .arg(dir)
        .args(["update-ref", &target, made.trim()]))
    .await
    .map(drop)
}

/// Makes a branch at the default branch's head.
pub(crate) async fn branch(dir: &Path, name: &str) -> Result<(), String> {
    if copied::is(dir) {
        return said(copied::point(dir, name, &head(dir)));
    }
    let (target, from) = (
        format!("refs/heads/{name}"),
        format!("refs/heads/{}", head(dir)),
    );
    run(git()
        .arg("-C")
        .arg(dir)
        .args(["update-ref", &target, &from]))
    .await
    .map(drop)
}

/// Removes a branch.
pub(crate) async fn delete_branch(dir: &Path, branch: &str) -> Result<(), String> {
    if copied::is(dir) {
        return said(copied::delete_branch(dir, branch));
    }
    let name = format!("refs/heads/{branch}");
    run(git().arg("-C").arg(dir).args(["update-ref", "-d", &name]))
        .await
        .map(drop)
}

/// Pushes all branches and tags, forced and pruning, as Gitea's push mirror does.
pub(crate) async fn push_mirror(dir: &Path, address: &str) -> Result<(), String> {
    let mut command = git();
    command.arg("-C").arg(dir).args([
        "-c",
        "credential.helper=",
        "push",
        "--quiet",
        "--force",
        "--prune",
        address,
    ]);
    command.args(["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]);
    run(&mut command).await.map(drop)
}

/// Branches, tags and other refs to object ids, read from the files.
pub(crate) fn refs(dir: &Path) -> BTreeMap<String, String> {
    let mut refs = BTreeMap::new();
    if let Ok(packed) = std::fs::read_to_string(dir.join("packed-refs")) {
        for line in packed.lines().filter(|line| !line.starts_with(['#', '^'])) {
            if let Some((id, name)) = line.split_once(' ') {
                refs.insert(name.to_owned(), id.to_owned());
            }
        }
    }
    loose(&dir.join("refs"), "refs", &mut refs);
    refs
}

fn loose(dir: &Path, prefix: &str, refs: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            loose(&entry.path(), &name, refs);
        } else if let Ok(id) = std::fs::read_to_string(entry.path())
            && !name.ends_with(".lock")
        {
            refs.insert(name, id.trim().to_owned());
        }
    }
}

/// The branch that HEAD names.
pub(crate) fn head(dir: &Path) -> String {
    let head = std::fs::read_to_string(dir.join("HEAD")).unwrap_or_default();
    head.trim()
        .strip_prefix("ref: refs/heads/")
        .unwrap_or("main")
        .to_owned()
}

/// Points HEAD at a branch.
pub(crate) fn set_head(dir: &Path, branch: &str) -> std::io::Result<()> {
    std::fs::write(dir.join("HEAD"), format!("ref: refs/heads/{branch}\n"))
}

/// A commit.
pub(crate) struct Commit {
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) at: i64,
    pub(crate) parents: Vec<String>,
    pub(crate) message: String,
}

/// The newest commits of a branch, newest first.
pub(crate) async fn commits(dir: &Path, branch: &str, limit: usize) -> Result<Vec<Commit>, String> {
    if copied::is(dir) {
        return copied::commits(dir, branch, limit).map_err(|error| error.to_string());
    }
    let count = format!("--max-count={limit}");
    let form = "--format=%H%x00%ct%x00%P%x00%B%x01";
    let text = run(git()
        .arg("-C")
        .arg(dir)
        .args(["log", &count, form, branch, "--"]))
    .await?;
    let read = |commit: &str| {
        let mut parts = commit.trim_start().split('\0');
        Some(Commit {
            id: parts.next()?.to_owned(),
            at: parts.next()?.parse().ok()?,
            parents: parts
                .next()?
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            message: parts.next()?.to_owned(),
        })
    };
    Ok(text.split('\u{1}').filter_map(read).collect())
}

/// One request of git's smart HTTP protocol, through `git http-backend` (a CGI program).
pub(crate) async fn serve(
    dir: &Path,
    rest: &str,
    method: &Method,
    query: &str,
    headers: &HeaderMap,
    body: Body,
    user: &str,
) -> Response {
    match backend(dir, rest, method, query, headers, body, user).await {
        Ok(response) => response,
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
    }
}

async fn backend(
    dir: &Path,
    rest: &str,
    method: &Method,
    query: &str,
    headers: &HeaderMap,
    body: Body,
    user: &str,
) -> Result<Response, String> {
    let body = http_body_util::BodyExt::collect(body)
        .await
        .map_err(|error| error.to_string())?
        .to_bytes();
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let mut command = git();
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", dir)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/{rest}"))
        .env("REQUEST_METHOD", method.as_str())
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", text("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .env("GIT_PROTOCOL", text("git-protocol"))
        .env("REMOTE_USER", user)
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command
        .spawn()
        .map_err(|error| format!("git http-backend cannot be run: {error}"))?;
    let (mut input, mut output) = match (child.stdin.take(), child.stdout.take()) {
        (Some(input), Some(output)) => (input, output),
        _ => return Err("git http-backend has no pipes".into()),
    };
    let feed = async move {
        // It may end before it has read everything.
        drop(input.write_all(&body).await);
        drop(input);
    };
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(feed, output.read_to_end(&mut answer));
    read.map_err(|error| error.to_string())?;
    // The answer is complete; how the program ended adds nothing.
    drop(child.wait().await);
    cgi(&answer)
}

fn cgi(answer: &[u8]) -> Result<Response, String> {
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or("git http-backend answered nothing")?;
    let mut response = Response::new(Body::from(answer[end + 4..].to_vec()));
    for line in String::from_utf8_lossy(&answer[..end]).lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("status") {
            let code = value
                .trim()
                .get(..3)
                .and_then(|code| code.parse().ok())
                .unwrap_or(500);
            *response.status_mut() =
                StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        } else if let (Ok(name), Ok(value)) = (
            name.parse::<HeaderName>(),
            HeaderValue::from_str(value.trim()),
        ) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}
