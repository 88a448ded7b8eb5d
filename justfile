# Everything that CI does, in the same way.
verify:
    bash .ci/run

# The promise, whole: every pair of troubles in the protocol, every fault at every request of every workflow, crashes at
# every record, 500 killed processes. About 40 minutes.
prove seed="1":
    cargo test --locked -p forgeline-step-engine --test engine -- --include-ignored protocol
    cargo run --locked -p forgeline -- selftest --full --seed {{seed}} -o json >target/prove.json
    python3 -c 'import json; r = json.load(open("target/prove.json")); print({k: v for k, v in r.items() if k != "matrix"})'

# One rule disabled at a time: the suite must notice each time. About half an hour.
mutate *rules:
    python3 tests/mutate.py {{rules}}

# Advisories, licences, sources, and who may use which library. Takes ten minutes to install, so it is apart.
deny:
    cargo install --locked cargo-deny@0.19.0
    cargo deny --all-features check

# Show the snapshots that a change makes, to look at and accept.
snapshots:
    INSTA_UPDATE=always cargo test --workspace --locked
    git diff --stat -- '*.snap'

# What a caller's check and a flood of strangers cost.
door:
    cargo bench --locked -p forgeline-auth --bench jwt
    cargo build --locked
    python3 benches/door.py target/debug/forgeline

# The figures of a release: cold start, memory, size, wall time, requests.
measure:
    cargo build --release --locked
    python3 benches/measure.py target/release/forgeline
