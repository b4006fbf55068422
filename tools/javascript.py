"""Checks the types of the front end's JavaScript, as its JSDoc comments say them: `make lint`.

The compiler is TypeScript's native one, a program that needs no Node. It comes from npm once, is
compared with the hash that stands here, and stays in build/.
"""

import hashlib
import io
import os
import platform
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = "7.0.2"
HASHES = {
    "linux-x64": "7ecad6f67377e831856367ab062ef394f21506a611405bf8ac0ff039348637d3",
    "linux-arm64": "c83d931ac9dd7549cde6e71246aa9d6a9812843023df3e277fe3b5dcf41dd0ea",
    "darwin-x64": "eba158cb54050f723d5ff781438f33de5640054440bb4f2bd170cfe9bc2eb551",
    "darwin-arm64": "902e2fe1cf0799198ef902c6b8c310a450fef629a6baba41d45641ef75c04ebd",
}
"""The sha256 of each platform's package."""

OPTIONS = (
    *("--checkJs", "--strict", "--noEmit"),
    *("--target", "esnext", "--module", "esnext", "--moduleResolution", "bundler"),
    *("--lib", "esnext,dom,dom.iterable", "--types", ""),
)


def compiler() -> Path:
    """Where it lies, once it is there."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"{platform.system().lower()}-{machine}"
    folder = ROOT / "build" / f"typescript-{VERSION}"
    if not folder.exists():
        if name not in HASHES:
            sys.exit(f"There is no hash of TypeScript for {name} in {Path(__file__).name}.")
        part = folder.with_suffix(".part")
        with tarfile.open(fileobj=io.BytesIO(fetched(name))) as archive:
            archive.extractall(part, filter="data")
        part.rename(folder)
    return folder / "package" / "lib" / "tsc"


def fetched(name: str) -> bytes:
    """The package's archive. npm's own setting says from which registry."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    package = f"typescript-{name}"
    url = f"{registry}/@typescript/{package}/-/{package}-{VERSION}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=120) as answer:
            data: bytes = answer.read()
    except OSError as error:
        sys.exit(f"The types of the JavaScript need TypeScript once, from {url}: {error}")
    if hashlib.sha256(data).hexdigest() != HASHES[name]:
        sys.exit(f"{url} is not the TypeScript {VERSION} that was chosen: its sha256 is another.")
    return data


def main() -> int:
    files = sorted((ROOT / "aifarm" / "web" / "static").glob("*.js"))
    return subprocess.run([compiler(), *OPTIONS, *files], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
