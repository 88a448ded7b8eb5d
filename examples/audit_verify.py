#!/usr/bin/env python3
"""Looks whether an audit log of forgeline is as it was written: audit_verify.py LOG... [--key-file FILE] [--checkpoints FILE]

LOG: its files, the oldest first. A second implementation, made from the description of the format alone, that needs only
Python. Signatures of checkpoints are not looked at. Exit codes: 0 intact, 1 tampered, 7 truncated or torn."""
import argparse, hashlib, hmac, json, re, sys

options = argparse.ArgumentParser()
options.add_argument("log", nargs="+")
options.add_argument("--key-file")
options.add_argument("--checkpoints")
options.add_argument("--without-older", action="store_true")
options = options.parse_args()
key = open(options.key_file, "rb").read().strip() if options.key_file else None

def end(code, why):
    print(why)
    sys.exit(code)

def digest(prev, text):
    message = b"forgeline-audit-v1\n" + prev + b"\n" + text
    return (hmac.new(key, message, "sha256") if key else hashlib.sha256(message)).hexdigest().encode()

number, head, heads, first, torn = 0, b"0" * 64, {}, 1, b""
for name in options.log:
    *lines, rest = open(name, "rb").read().split(b"\n")
    for line in lines:
        found = re.fullmatch(rb'(.*),"hash":"([0-9a-f]{64})"\}', line)
        if torn or not found:
            end(1, f"after line {number}: no whole line")
        text, told = found[1] + b"}", found[2]
        record = json.loads(text)
        if not heads and record["seq"] > 1:
            first, number, head = record["seq"], record["seq"] - 1, record["prev"].encode()
        if record["seq"] != number + 1 or record["prev"].encode() != head or digest(head, text) != told:
            end(1, f"line {number + 1} is not as it was written")
        number, head = number + 1, told
        heads[number] = told.decode()
    torn = torn or rest
if options.checkpoints:
    origin = "forgeline-audit-v1\n(\\d+)\n([0-9a-f]{64})\n.*\n\n\u2014 forgeline .*\n\n"
    for count, told in re.findall(origin, open(options.checkpoints, encoding="utf-8").read()):
        if int(count) in heads or int(count) >= first or not heads:
            if heads.get(int(count)) != told:
                end(1 if int(count) in heads else 7, f"the checkpoint of line {count} does not hold")
if torn:
    end(7, f"after line {number}: a part of a line")
if first > 1 and not options.without_older:
    end(7, f"it begins with line {first}")
print(f"intact: {number} lines")
