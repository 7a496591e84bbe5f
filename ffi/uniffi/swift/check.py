"""Does the hand-written Swift fit the generated one? check.py Tern.swift TernBindings.swift

No compiler: compares the types that are extended, the labels of the blocking functions that are called, the callbacks
that are implemented and the enum cases that are taken apart.
"""

import re
import sys

ours, generated = (open(path, encoding="utf-8").read() for path in sys.argv[1:3])
generated = re.sub(r"/\*.*?\*/", "", generated, flags=re.S)
wrong = []


def labels(arguments):
    return [a.split(":")[0].strip() for a in arguments.split(",") if ":" in a]


def declared(kind, name):
    """The labels of all that have the name: objects may have methods of one name."""
    found = re.findall(rf"{kind} +`?{name}`?\(((?:[^()]|\([^()]*\))*)\)", generated)
    return [labels(arguments) for arguments in found]


def compare(what, used, there):
    if used not in there:
        wrong.append(f"{what}: used with {used}, declared with {there}")


for name in re.findall(r"^extension (\w+)", ours, re.M):
    if not re.search(rf"^(open|public) (class|struct|enum) {name}\b|^enum {name}\b", generated, re.M):
        wrong.append(f"extension {name}: there is no such type")
calls = re.findall(r"\b(\w+Blocking)\(([^()]*)\)", ours)
for name, arguments in calls:
    compare(name, labels(arguments), declared("(?:open|public) func", name))
for name in set(re.findall(r"(?:open|public) +func (\w+Blocking)\(", generated)) - {name for name, _ in calls}:
    wrong.append(f"{name}: nothing is written over it")
for protocol, ours_of_it in re.findall(r"^private final class \w+: (\w+) {(.*?)^}", ours, re.M | re.S):
    body = re.search(rf"^public protocol {protocol}\b.*?^}}", generated, re.M | re.S)
    methods = re.findall(r"func (\w+)\(([^)]*)\)", body.group(0)) if body else []
    for name, arguments in methods:
        used = re.search(rf"    func {name}\(([^)]*)\) throws", ours_of_it)
        compare(f"{protocol}.{name}", labels(used.group(1)) if used else None, [labels(arguments)])
    if not methods:
        wrong.append(f"{protocol}: there is no such protocol")
for name, pattern in re.findall(r"case \.(\w+)\(([^)]*)\): return", ours):
    there = next(iter(declared("case", name)), [])
    for place, part in enumerate(p.strip() for p in pattern.split(",")):
        if part != "_" and part.removeprefix("let ") != (there[place] if place < len(there) else None):
            wrong.append(f"case {name}: {part} is not field {place} of {there}")
    compare(f"case {name}", len(pattern.split(",")), [len(there)])

for line in wrong:
    print("FAIL Swift:", line)
if wrong:
    sys.exit(1)
print(f"ok   Swift: the hand-written file fits the generated one ({len(calls)} calls; names only, no compiler)")
