"""Published chat templates: out of packages that carry some, fetched when a test runs, never committed."""

import ast
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

# Kind of package and pinned version. Source archives are fetched for what a wheel leaves out.
WHEELS = [
    "trl==1.16.0", "unsloth==2026.10.9", "unsloth-zoo==2026.10.9", "axolotl==0.19.0", "fschat==0.2.36",
    "mlx-lm==0.32.2", "mlx-vlm==0.7.10", "llamafactory==0.9.5", "haystack-ai==3.4.1", "xtuner==0.2.0", "ms-swift==4.6.0",
    "litellm==1.109.1", "sglang==0.5.23",
]
SOURCES = ["llama-cpp-python==0.3.16"]

SMALLEST = 40  # bytes; shorter strings are parts of something


def fetch(folder: Path) -> list[Path]:
    """The packages' archives. One that cannot be had is said so and left out."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for package, kind in [(p, "--only-binary=:all:") for p in WHEELS] + [(p, "--no-binary=:all:") for p in SOURCES]:
        place = folder / package
        if not place.is_dir() or not any(place.iterdir()):
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", kind, "-d", str(place), package]
            if subprocess.run(command, capture_output=True).returncode:
                print(f"left out, not to be had: {package}", file=sys.stderr)
                continue
        found += sorted(place.iterdir())
    return found


def templates(archives: list[Path]) -> dict[str, str]:
    """Every different template in them, by where it was first found."""
    found: dict[str, str] = {}
    for archive in archives:
        for name, data in files(archive):
            for i, source in enumerate(extract(name, data)):
                found.setdefault(source, f"{archive.name}:{name}#{i}")
    return {place: source for source, place in found.items()}


def files(archive: Path):
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as z:
            for info in z.infolist():
                if info.filename.endswith((".jinja", ".j2", ".jinja2", ".py", ".json")) and info.file_size < 1 << 20:
                    yield info.filename, z.read(info)
    else:
        with tarfile.open(archive) as t:
            for member in t:
                if member.isfile() and member.name.endswith((".jinja", ".j2", ".py", ".json")) and member.size < 1 << 20:
                    yield member.name, t.extractfile(member).read()


def extract(name: str, data: bytes) -> list[str]:
    text = data.decode("utf-8", "replace")
    if name.endswith(".py"):
        try:
            strings = [n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        except SyntaxError:
            return []
        return [s for s in strings if is_template(s)]
    if name.endswith(".json"):
        try:
            strings = list(strings_of(json.loads(text)))
        except ValueError:
            return []
        return [s for s in strings if is_template(s)]
    return [text] if is_template(text) else []


def strings_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings_of(item)


def is_template(text: str) -> bool:
    return len(text) >= SMALLEST and "{%" in text and "messages" in text and ("{{" in text or "{%-" in text)
