//! The audit log's files over time: rotation, restarts, many writers at once, two processes.

use std::path::Path;

use forgeline_auth::audit::{AuditLog, Entry, FILE, Phase, Settings, Verdict, Verifier};
use forgeline_upstream::{Origin, Token};
use futures::future::join_all;

fn log(dir: &Path, longest: u64) -> AuditLog {
    AuditLog::new(Settings {
        dir: dir.to_owned(),
        key: None,
        signing_key: None,
        longest,
        about: "test".into(),
    })
}

fn entry(number: usize) -> Entry {
    Entry {
        target: format!("thing {number}"),
        ..Entry::of(Phase::Outcome, "svc:test")
    }
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".jsonl"))
        .collect();
    names.sort();
    names
}

fn verdict(path: &Path) -> Verdict {
    Verifier::default().look(path).unwrap().verdict
}

#[tokio::test]
async fn a_long_file_is_closed_and_the_next_one_goes_on_from_it() {
    let dir = tempfile::tempdir().unwrap();
    for start in 0..3 {
        let log = log(dir.path(), 3000);
        for number in 0..20 {
            log.write(entry(start * 20 + number)).await.unwrap();
        }
        log.close().await.unwrap();
    }
    let all = files(dir.path());
    assert!(all.len() > 4, "{all:?}");
    let found = Verifier::default().look(dir.path()).unwrap();
    assert_eq!(found.verdict, Verdict::Intact, "{found:?}");
    assert!(found.lines >= 63, "{found:?}");
    assert!(found.checkpoints >= 3, "{found:?}");
    // Each file alone is whole too, and a missing one is seen.
    for name in &all {
        let alone = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join(name), alone.path().join(FILE)).unwrap();
        let path = alone.path().join(FILE);
        let found = Verifier::default().without_older(true).look(&path).unwrap();
        assert_eq!(found.verdict, Verdict::Intact, "{name}");
    }
    std::fs::rename(dir.path().join(&all[1]), dir.path().join("elsewhere")).unwrap();
    assert_eq!(verdict(dir.path()), Verdict::Tampered);
    std::fs::rename(dir.path().join("elsewhere"), dir.path().join(&all[1])).unwrap();
    std::fs::remove_file(dir.path().join(FILE)).unwrap();
    assert_eq!(verdict(dir.path()), Verdict::Short);
}

#[tokio::test]
async fn many_at_once_are_all_there_and_in_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path(), u64::MAX);
    let written = join_all((0..500).map(|number| log.write(entry(number)))).await;
    assert!(written.iter().all(Result::is_ok));
    let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
    for number in 0..500 {
        assert!(text.contains(&format!("\"thing {number}\"")), "{number}");
    }
    assert_eq!(verdict(dir.path()), Verdict::Intact);
}

#[tokio::test]
async fn a_second_writer_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (log(dir.path(), u64::MAX), log(dir.path(), u64::MAX));
    first.write(entry(1)).await.unwrap();
    let refused = second.write(entry(2)).await.unwrap_err();
    assert!(refused.to_string().contains("another process"), "{refused}");
    first.write(entry(3)).await.unwrap();
    first.close().await.unwrap();
    // Once the first has ended, the second may write.
    second.write(entry(4)).await.unwrap();
    assert_eq!(verdict(dir.path()), Verdict::Intact);
}

#[tokio::test]
async fn a_file_that_is_taken_away_takes_nothing_with_it_that_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path(), u64::MAX);
    log.write(entry(1)).await.unwrap();
    std::fs::rename(dir.path().join(FILE), dir.path().join("stolen")).unwrap();
    log.write(entry(2)).await.unwrap();
    let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
    assert!(
        text.contains("taken away") && text.contains("\"thing 2\""),
        "{text}"
    );
    log.close().await.unwrap();
    assert_eq!(verdict(dir.path()), Verdict::Short);
    // Both parts together are the whole chain.
    let stolen = std::fs::read_to_string(dir.path().join("stolen")).unwrap();
    std::fs::write(dir.path().join(FILE), stolen + &text).unwrap();
    assert_eq!(verdict(dir.path()), Verdict::Intact);
}

#[tokio::test]
async fn a_log_is_not_gone_on_with_under_another_key() {
    let dir = tempfile::tempdir().unwrap();
    let first = log(dir.path(), u64::MAX);
    first.write(entry(1)).await.unwrap();
    first.close().await.unwrap();
    let key = Token::new(&"k".repeat(40), Origin::variable("FORGELINE_AUDIT_KEY")).unwrap();
    let keyed = AuditLog::new(Settings {
        key: Some(key),
        dir: dir.path().to_owned(),
        signing_key: None,
        longest: u64::MAX,
        about: "test".into(),
    });
    let refused = keyed.write(entry(2)).await.unwrap_err();
    assert!(refused.to_string().contains("another key"), "{refused}");
    assert_eq!(verdict(dir.path()), Verdict::Intact);
}

#[tokio::test]
async fn refusals_beyond_a_rate_are_counted_and_fill_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path(), u64::MAX);
    for number in 0..5000 {
        log.note_now_and_then(entry(number));
    }
    log.write(entry(0)).await.unwrap();
    log.write(entry(0)).await.unwrap();
    let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
    assert!(text.lines().count() < 300, "{}", text.lines().count());
    assert!(text.contains("before this line were not written"), "{text}");
    assert_eq!(verdict(dir.path()), Verdict::Intact);
}

#[tokio::test]
async fn a_log_that_was_cut_under_its_writer_shows_the_gap() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path(), u64::MAX);
    for number in 0..5 {
        log.write(entry(number)).await.unwrap();
    }
    let path = dir.path().join(FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    let cut: Vec<&str> = text.lines().take(2).collect();
    std::fs::write(dir.path().join("new"), cut.join("\n") + "\n").unwrap();
    std::fs::rename(dir.path().join("new"), &path).unwrap();
    log.write(entry(5)).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("taken away") && text.contains("\"thing 5\""),
        "{text}"
    );
    assert_eq!(verdict(dir.path()), Verdict::Tampered);
}
