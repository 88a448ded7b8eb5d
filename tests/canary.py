#!/usr/bin/env python3
"""Looks for secrets in everything that the programs of the end-to-end tests printed, answered and kept.

canary.py DIRECTORY LOG: the directory is what FORGELINE_CANARY_DIR named while the tests ran, the log their own output
(panics are in it). Every token of every sandbox, every bearer and every key is a secret of its own there. None of them may
stand anywhere, in plain or in base64, but once in the line with which a sandbox exports it; a project's credential stands
in the one answer that shows it."""
import base64, collections, pathlib, re, subprocess, sys

directory, log = map(pathlib.Path, sys.argv[1:3])
files = [path for path in directory.iterdir() if path.is_file()]
secrets = {path.read_text() for path in files if path.name.endswith("-canary")}
shown = [path for path in files if not path.name.endswith("-canary")]
exports = [path for path in shown if path.name.endswith("-sandbox")]
assert len(secrets) > 500 and len(shown) > 1000, (len(secrets), len(shown))

def forms(secret):
    """The secret, and what stays of its base64 wherever it stands in a longer text."""
    yield secret
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):
            whole = encode(b"x" * shift + secret.encode()).decode().rstrip("=")
            yield whole[(shift * 8 + 5) // 6:-1]

needles = directory / "needles"
of = {form: secret for secret in secrets for form in forms(secret)}
needles.write_text("\n".join(of))
# A test may name a bearer in its own sources; its output may not.
searched = [str(path) for path in shown if path not in exports] + [str(log)]
listed = directory / "searched"
listed.write_text("\n".join(searched))
command = f"xargs -d '\\n' grep -a -o -H -F -f '{needles}' < '{listed}'"
found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, errors="replace")
hits = [line for line in found.stdout.splitlines() if line]
for hit in hits[:20]:
    name, form = hit.rsplit(":", 1)
    print(f"FOUND {of.get(form, form)[:6]}... in {name}")
exported = collections.Counter(path.read_text().split("='", 1)[-1].rstrip("'") for path in exports)
twice = [name for name, count in exported.items() if name in secrets and count > 1]
credentials = collections.Counter()
for path in shown:
    credentials.update(re.findall(rb"flp_[A-Za-z0-9_-]{43}", path.read_bytes()))
repeated = [token for token, count in credentials.items() if count > 1]
print(f"{len(secrets)} secrets in {sum(1 for _ in of)} forms, {len(searched)} files: {len(hits)} found, {len(twice)} exported "
      f"twice; {len(credentials)} project credentials, {len(repeated)} shown more than once")
assert credentials, "no project credential was shown: the search looks at the wrong files"
sys.exit(1 if hits or twice or repeated else 0)
