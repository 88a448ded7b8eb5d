//! `forgeline audit verify`.

use std::path::Path;

use forgeline_auth::audit::{Finding, Verdict, Verifier, public_key};
use forgeline_upstream::{Origin, Token};
use serde_json::json;

use crate::cli::{AuditVerify, Format};
use crate::config::AuditKeys;
use crate::env::Env;
use crate::{exit, output};

/// The log is not as it was written.
const TAMPERED: u8 = 1;
/// Its end is missing.
const SHORT: u8 = 7;

pub(super) fn verify(env: &Env, args: &AuditVerify) -> u8 {
    let verifier = match verifier(env, args) {
        Ok(verifier) => verifier,
        Err(why) => {
            output::complain(&why, None, Some("see `forgeline audit verify --help`"));
            return exit::USAGE;
        }
    };
    let log = args.log.clone().unwrap_or_else(|| env.data_dir());
    match verifier.look(&log) {
        Ok(finding) => told(&finding, args.output.format),
        Err(why) => {
            let help = "name the log with --log, or its directory";
            output::complain(&why, None, Some(help));
            exit::USAGE
        }
    }
}

fn verifier(env: &Env, args: &AuditVerify) -> Result<Verifier, String> {
    let configured = AuditKeys::read(env);
    // A key that is configured and cannot be read is not taken for none.
    let needed = args.key_file.is_none() || args.pubkey.is_none();
    if let Some(problem) = configured.problems.first().filter(|_| needed) {
        return Err(format!(
            "{}; name the keys with --key-file and --pubkey",
            problem.message
        ));
    }
    let key = match &args.key_file {
        Some(path) => Some(key_in(path)?),
        None => configured
            .key
            .map(|key| key.current().expose().as_bytes().to_vec()),
    };
    let public = match &args.pubkey {
        Some(text) => Some(public_key(text).ok_or("--pubkey is not 64 hexadecimal digits")?),
        None => configured.signing.and_then(|key| public_key(&key.public())),
    };
    let checkpoint = args.checkpoint.clone();
    Ok(Verifier::default()
        .with_key(key)
        .with_public(public)
        .with_checkpoints(checkpoint)
        .without_older(args.without_older))
}

fn key_in(path: &Path) -> Result<Vec<u8>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let origin = Origin::File {
        variable: "--key-file".into(),
        path: path.to_owned(),
    };
    let token = Token::new(&text, origin).map_err(|error| error.to_string())?;
    Ok(token.expose().as_bytes().to_vec())
}

fn told(finding: &Finding, format: Format) -> u8 {
    let (word, code) = match finding.verdict {
        Verdict::Intact => ("intact", exit::OK),
        Verdict::Tampered => ("tampered", TAMPERED),
        Verdict::Short => ("truncated or torn", SHORT),
    };
    if format == Format::Table {
        let keyed = match finding.keyed {
            true => "bound with a key",
            false => "bound without a key: whoever can write the file can write it anew",
        };
        output::print(&format!(
            "{word}: {} lines, {keyed}; {} checkpoints hold",
            finding.lines, finding.checkpoints
        ));
        if let Some(why) = &finding.why {
            output::print(&format!("  {why}"));
        }
        for open in &finding.open {
            output::print(&format!("  announced, and its end is not recorded: {open}"));
        }
    } else {
        output::json(&json!({
            "verdict": word, "lines": finding.lines, "why": finding.why, "keyed": finding.keyed,
            "checkpoints": finding.checkpoints, "open": finding.open,
        }));
    }
    code
}
