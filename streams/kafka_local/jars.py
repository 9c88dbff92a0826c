"""Fetches Kafka's jars by coordinate and trusts only the hashes of the lock file.

Maven Central (or HYPERCARE_MAVEN_MIRROR) delivers, jgo asks for each coordinate
by itself. jgo's own resolution of dependencies is never used: it mixes versions
of Kafka's jars. What does not hash to the locked SHA-256 never enters the cache.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from streams.kafka_local.errors import DownloadError, KafkaLocalError

Progress = Callable[[str], None]

VERSIONS = ("4.4.0", "3.9.2")
DOWNLOAD_THREADS = 8
DOWNLOAD_TIMEOUT_S = 60
DOWNLOAD_ATTEMPTS = 3
FREE_BYTES_MIN = 200_000_000
"""A version's jars take 46 to 60 MB, each held twice while it is being checked."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One locked jar: Maven coordinate and the SHA-256 it must have."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        """Name of the file in the cache, the same as in a Maven repository."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def coordinate(self) -> str:
        """Group, artifact and version, as Maven writes them."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def url_path(self) -> str:
        """Where a Maven repository keeps this jar, below its base address."""
        folder = self.group.replace(".", "/")
        return f"{folder}/{self.artifact}/{self.version}/{self.filename}"


def locked_jars(version: str) -> list[Jar]:
    """List the jars of a Kafka version, in class path order.

    Examples
    --------
    >>> len(locked_jars("4.4.0")), len(locked_jars("3.9.2"))
    (45, 57)
    """
    if version not in VERSIONS:
        raise KafkaLocalError(
            f"no lock file for Kafka {version}; choose one of {', '.join(VERSIONS)}"
        )
    name = f"kafka-{version}.lock"
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return [
        _parse(line, f"{name}:{number}")
        for number, line in enumerate(text.splitlines(), start=1)
        if line and not line.startswith("#")
    ]


def _parse(line: str, place: str) -> Jar:
    coordinate, _, digest = line.partition(" ")
    parts = coordinate.split(":")
    if len(parts) != 3 or len(digest) != 64:
        raise KafkaLocalError(
            f"{place}: expected `group:artifact:version sha256`, found {line!r}"
        )
    group, artifact, version = parts
    return Jar(group, artifact, version, digest)


def cache_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Say where downloaded jars are kept: HYPERCARE_MAVEN_CACHE or the user's cache."""
    env = os.environ if environ is None else environ
    if named := env.get("HYPERCARE_MAVEN_CACHE"):
        return Path(named).expanduser() / "jars"
    base = env.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "hypercare" / "jars"


def mirror_url(environ: Mapping[str, str] | None = None) -> str | None:
    """Say which Maven repository serves the jars; None means Maven Central."""
    env = os.environ if environ is None else environ
    named = env.get("HYPERCARE_MAVEN_MIRROR", "").strip().rstrip("/")
    if named and not named.startswith(("http://", "https://")):
        raise KafkaLocalError(
            f"HYPERCARE_MAVEN_MIRROR={named} is not an http(s) address; give the "
            "base of a Maven repository, for example https://maven.example/central"
        )
    return named or None


def fetch(
    version: str, cache: Path, mirror: str | None, progress: Progress
) -> list[Path]:
    """Give the paths of a version's jars, downloading those not yet cached.

    Parameters
    ----------
    version : str
        A member of ``VERSIONS``.
    cache : Path
        Folder that holds verified jars; shared by versions and by processes.
    mirror : str or None
        Base address of a Maven repository; None for Maven Central.
    progress : callable
        Gets one line at the start, about every tenth jar, and at the end.

    Raises
    ------
    DownloadError
        When the network refuses or a jar is not the locked one.
    """
    jars = locked_jars(version)
    missing = [jar for jar in jars if not _is_cached(jar, cache)]
    if missing:
        _download_all(version, missing, cache, mirror, progress)
    return [cache / jar.filename for jar in jars]


def _is_cached(jar: Jar, cache: Path) -> bool:
    path = cache / jar.filename
    return path.is_file() and _sha256(path) == jar.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download_all(
    version: str,
    missing: list[Jar],
    cache: Path,
    mirror: str | None,
    progress: Progress,
) -> None:
    _prepare(cache)
    _use_pip_certificates()
    progress(f"Kafka {version}: downloading {len(missing)} jars to {cache}")
    step = max(1, len(missing) // 6)
    done = 0
    lock = threading.Lock()

    def one(jar: Jar) -> None:
        nonlocal done
        _download(jar, cache, mirror)
        with lock:
            done += 1
            if done % step == 0 or done == len(missing):
                progress(f"Kafka {version}: {done} of {len(missing)} jars")

    pool = ThreadPoolExecutor(DOWNLOAD_THREADS)
    try:
        for future in [pool.submit(one, jar) for jar in missing]:
            future.result()
    finally:
        # After a failure or Ctrl-C the jars still in the queue are not begun.
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(cache).free
    except OSError as error:
        raise KafkaLocalError(
            f"can not write the jar cache {cache}: {error.strerror}. "
            "Set HYPERCARE_MAVEN_CACHE to a folder that can be written."
        ) from error
    if free < FREE_BYTES_MIN:
        raise KafkaLocalError(
            f"{free // 1_000_000} MB free at {cache}, {FREE_BYTES_MIN // 1_000_000} "
            "MB needed. Free some, or set HYPERCARE_MAVEN_CACHE to another disk."
        )


def _use_pip_certificates() -> None:
    """Trust what pip trusts: requests, which jgo uses, reads its own variable."""
    if "REQUESTS_CA_BUNDLE" in os.environ or "CURL_CA_BUNDLE" in os.environ:
        return
    bundle = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    if bundle:
        os.environ["REQUESTS_CA_BUNDLE"] = bundle


def _download(jar: Jar, cache: Path, mirror: str | None) -> None:
    # A folder of its own for each try: a cut download is never mistaken for a
    # cached file, and the final rename is atomic for processes that share it.
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as staging:
        path = _fetch_one(jar, Path(staging), mirror)
        digest = _sha256(path)
        if digest != jar.sha256:
            raise DownloadError(
                f"checksum of {jar.filename} is {digest}, the lock file says "
                f"{jar.sha256}. {_source(mirror)} does not serve the locked "
                "jar (a proxy's error page, a cut download or a changed file); "
                "nothing was kept. Try again, or another HYPERCARE_MAVEN_MIRROR."
            )
        path.replace(cache / jar.filename)


def _fetch_one(jar: Jar, staging: Path, mirror: str | None) -> Path:
    try:
        import requests
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise KafkaLocalError(
            "the Maven client jgo is not installed; install it with "
            "`pip install 'hypercare[demo]'`"
        ) from error
    for attempt in range(1, DOWNLOAD_ATTEMPTS + 1):
        context = MavenContext(
            repo_cache=staging / str(attempt),
            resolver=PythonResolver(),
            remote_repos={"mirror": mirror} if mirror else None,
            timeout=DOWNLOAD_TIMEOUT_S,
        )
        component = context.project(jar.group, jar.artifact).at_version(jar.version)
        try:
            return Path(component.artifact().resolve())
        except (requests.exceptions.ProxyError, requests.exceptions.SSLError) as error:
            raise DownloadError(_network_words(jar, mirror, error)) from error
        except requests.RequestException as error:
            if attempt == DOWNLOAD_ATTEMPTS:
                raise DownloadError(_network_words(jar, mirror, error)) from error
        except RuntimeError as error:
            # jgo's word for every answer other than 200.
            raise DownloadError(
                f"{_source(mirror)} did not deliver {jar.url_path} (not found or "
                "refused). Check HYPERCARE_MAVEN_MIRROR."
            ) from error
        except OSError as error:
            raise KafkaLocalError(_disk_words(jar, staging, error)) from error
    raise AssertionError("the last attempt returns or raises")


def _source(mirror: str | None) -> str:
    return mirror or "Maven Central"


def _network_words(jar: Jar, mirror: str | None, error: Exception) -> str:
    return (
        f"could not reach {_source(mirror)} for {jar.coordinate} "
        f"({type(error).__name__}: {_innermost(error)}). Behind a proxy set "
        "HTTPS_PROXY, with certificates of your own REQUESTS_CA_BUNDLE or PIP_CERT, "
        "with a mirror of Maven Central HYPERCARE_MAVEN_MIRROR=https://..."
    )


def _innermost(error: BaseException) -> str:
    """Say why in the words of the operating system, not of four libraries."""
    reason: object = error
    while isinstance(reason, BaseException):
        inner = getattr(reason, "reason", None) or reason.__cause__
        inner = inner or (reason.args[0] if reason.args else None)
        if not isinstance(inner, BaseException):
            break
        reason = inner
    return str(reason).partition(">: ")[2] or str(reason)


def _disk_words(jar: Jar, staging: Path, error: OSError) -> str:
    place = staging.parent
    if error.errno == errno.ENOSPC:
        return (
            f"no space left at {place} for {jar.filename}. Set HYPERCARE_MAVEN_CACHE."
        )
    return (
        f"can not write {jar.filename} to {place}: {error}. Set HYPERCARE_MAVEN_CACHE."
    )
