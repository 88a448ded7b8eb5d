"""Disables one rule of the engine or of a step at a time; the suite must notice each time.

Usage: python3 tests/mutate.py [NAME ...]

Works on a copy below target/mutate with a build directory of its own, so the working tree stays as it is. Prints for each
rule which command noticed, and ends with 1 when one was missed.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPY = ROOT / "target" / "mutate"
LIMIT = 600

ENGINE = ["cargo", "test", "--quiet", "--locked", "-p", "forgeline-step-engine"]


def selftest(text):
    return ["cargo", "run", "--quiet", "--locked", "-p", "forgeline", "--", "selftest", "--only", text]


def end_to_end(name):
    return ["cargo", "test", "--quiet", "--locked", "-p", "forgeline", "--test", "end_to_end", "--", name]


ENGINE_DIR = "crates/step-engine/src"
STEPS_DIR = "crates/provision/src/steps"

# Name, file, what stands there, what it becomes, and the command that must fail.
RULES = [
    (
        "the intent is durable before the effect",
        f"{ENGINE_DIR}/host/embedded.rs",
        "        self.commit(intents.collect()).await?;\n        let progress",
        "        let intents: Vec<Record> = intents.collect();\n        intents.into_iter().for_each(|intent| self.hold(intent));\n        let progress",
        ENGINE,
    ),
    (
        "a look after an ambiguous attempt",
        f"{ENGINE_DIR}/run_op.rs",
        "                turn.ambiguous = true;\n                look = true;\n",
        "                turn.ambiguous = true;\n",
        ENGINE,
    ),
    (
        "the claim in the creation",
        "crates/provision/src/ownership.rs",
        '    format!("forgeline claim {} until {until:.0}", cx.run_id)',
        '    format!("{until:.0}")',
        selftest("lost after at"),
    ),
    (
        "the claim stays until the receipt is durable",
        f"{STEPS_DIR}/gitea_repository.rs",
        "                self.create(&new, template(with)?.as_ref()).await\n",
        "                let made = self.create(&new, template(with)?.as_ref()).await;\n"
        '                drop(self.0.gitea.set_description(&new.full_name, "").await);\n                made\n',
        selftest("library_create, none, plain, Light: crash at record"),
    ),
    (
        "the step that failed is undone too",
        f"{ENGINE_DIR}/history.rs",
        "                self.ambiguous\n                    || self.error.as_ref().is_none_or(|error| match error.effect {",
        "                false && self.error.as_ref().is_none_or(|error| match error.effect {",
        ENGINE,
    ),
    (
        "mirrors are listed before one is added",
        f"{STEPS_DIR}/push_mirror.rs",
        '        is_created(&with["gitea"])\n    }\n',
        '        is_created(&with["gitea"]) || true\n    }\n',
        end_to_end("actors"),
    ),
    (
        "a mirror that a person adds meanwhile is not taken for ours",
        f"{STEPS_DIR}/push_mirror.rs",
        "        let signed = mirror.interval == mirror_interval(&cx.run_id);\n",
        "        let signed = true;\n",
        end_to_end("actors"),
    ),
    (
        "a second look when an undo finds nothing",
        f"{ENGINE_DIR}/run_op.rs",
        "            Ok(Ok(Undone::NotThere)) if looked => {",
        "            Ok(Ok(Undone::NotThere)) if looked || looked == looked => {",
        ENGINE,
    ),
    (
        "the settle time before a look at what may have come",
        f"{ENGINE_DIR}/run_op.rs",
        "            wait = wait.max(self.timing.settle);",
        "            wait = wait.min(self.timing.settle);",
        ENGINE,
    ),
    (
        "the settle time before an undo of what may be under way",
        f"{ENGINE_DIR}/run_op.rs",
        "    if open {\n        turn.wait(cx, turn.timing.settle).await;",
        "    if open {\n        turn.wait(cx, turn.timing.settle * 0).await;",
        ENGINE,
    ),
    (
        "the quiet end",
        f"{ENGINE_DIR}/plan.rs",
        "        if let Some(op) = self.settle() {\n            return Next::Start(vec![op]);\n        }\n        let unknown",
        "        let unknown",
        ENGINE,
    ),
    (
        "the re-check",
        f"{ENGINE_DIR}/host/embedded.rs",
        "    progress.marked().filter_map(due).max()\n",
        "    progress.marked().filter_map(due).max().filter(|_| false)\n",
        ENGINE,
    ),
    (
        "the due time of the re-check",
        f"{ENGINE_DIR}/engine/recheck.rs",
        "            Some(due) if due > self.inner.journal.now() || !row.state.is_terminal() => {",
        "            Some(_) if !row.state.is_terminal() => {",
        ENGINE,
    ),
    (
        "the locks of resources",
        f"{ENGINE_DIR}/journal/admission.rs",
        "        if let Some(resource) = shared.filter(|_| holder.holds_resources()) {",
        "        if let Some(resource) = shared.filter(|_| false) {",
        ENGINE,
    ),
    (
        "a run that another one followed takes nothing back",
        f"{ENGINE_DIR}/journal/admission.rs",
        "    if let Some(newest) = newest.filter(|newest| newest.run_id != run.run_id) {",
        "    if let Some(newest) = newest.filter(|_| false) {",
        ENGINE,
    ),
    (
        "archive, look again, delete",
        f"{STEPS_DIR}/github_repository.rs",
        "            if let Some(why) = self.foreign_work(cx, name).await? {\n                github\n",
        "        if let Some(why) = None::<String> {\n            github\n",
        selftest("pushed on GitHub before github PATCH"),
    ),
    (
        "what a forced push would destroy",
        f"{STEPS_DIR}/refs.rs",
        "        for (name, id) in &self.github {\n            match",
        "        for (name, id) in self.github.iter().take(0) {\n            match",
        end_to_end("ownership"),
    ),
    (
        "the epoch in every commit",
        f"{ENGINE_DIR}/journal/sqlite/writer.rs",
        "    if now == epoch {",
        "    if now >= epoch {",
        ENGINE,
    ),
    (
        "the gate asks for the scope",
        "crates/auth/src/gate.rs",
        "        if needed != Scope::Admin && !caller.may(needed) {",
        "        if false && !caller.may(needed) {",
        end_to_end("attacks"),
    ),
    (
        "one reading of a message",
        "crates/auth/src/gate.rs",
        "    let Ok(Value::Object(message)) = strict_json(&bytes) else {",
        "    let Ok(Value::Object(message)) = serde_json::from_slice(&bytes) else {",
        end_to_end("attacks"),
    ),
    (
        "the person's own right",
        "crates/mcp-server/src/access.rs",
        "            provisioner.person_may(user, &wishes).await?;",
        "            let _ = provisioner.person_may(user, &wishes).await;",
        end_to_end("callers"),
    ),
    (
        "a credential is for the project as it was made",
        "crates/mcp-server/src/access.rs",
        "        facts.project == own.name && facts.since.as_deref() == Some(own.since.as_str())",
        "        facts.project == own.name",
        end_to_end("callers"),
    ),
    (
        "nothing is destroyed that cannot be recorded",
        "crates/forgeline/src/wire/keeping.rs",
        "            Err(error) => Err(error.to_string()),",
        "            Err(_) => Ok(id),",
        end_to_end("audit"),
    ),
    (
        "each line of the audit log is bound to the one before",
        "crates/auth/src/audit/line.rs",
        '    let whole = format!("{DOMAIN}\\n{prev}\\n{text}");',
        '    let whole = format!("{DOMAIN}\\n{}\\n{text}", prev.len());',
        end_to_end("audit"),
    ),
    (
        "a bad rotation is not taken over",
        "crates/upstream/src/token/handle.rs",
        "                self.trouble = Some(error);",
        "                self.trouble = None;\n                drop(error);",
        end_to_end("tokens"),
    ),
]


def copy():
    COPY.mkdir(parents=True, exist_ok=True)
    source = COPY / "source"
    shutil.rmtree(source, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    return source


def run(command, source):
    environment = {**__import__("os").environ, "CARGO_TARGET_DIR": str(COPY / "build"), "CARGO_TERM_COLOR": "never"}
    try:
        ran = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return "it did not end", ""
    text = ran.stdout + ran.stderr
    if "could not compile" in text:
        return None, text
    return (noticed(text) if ran.returncode else ""), text


def noticed(text):
    failed = re.findall(r"^    ([\w:]+)$", text, re.M)
    violations = re.findall(r"^VIOLATION (.*)$", text, re.M)
    names = sorted(set(failed)) + violations
    return f"{', '.join(names[:2])}{f' and {len(names) - 2} more' if len(names) > 2 else ''}" or "it failed"


def main():
    wanted = sys.argv[1:]
    rules = [rule for rule in RULES if not wanted or any(word in rule[0] for word in wanted)]
    source = copy()
    missed = []
    for name, file, old, new, command in rules:
        path = source / file
        text = path.read_text()
        if text.count(old) != 1:
            sys.exit(f"{name}: {file} does not hold exactly once:\n{old}")
        path.write_text(text.replace(old, new))
        began = time.monotonic()
        by, said = run(command, source)
        path.write_text(text)
        if by is None:
            sys.exit(f"{name}: the change does not compile\n{said[-3000:]}")
        print(f"{'noticed' if by else 'MISSED '} {time.monotonic() - began:5.0f} s  {name}: {by}", flush=True)
        if not by:
            missed.append(name)
    print(f"{len(rules) - len(missed)} of {len(rules)} rules are held by a test")
    sys.exit(1 if missed else 0)


main()
