"""Renews the mesh's certificates while the system runs, and hands each member its own as Kubernetes mounts a Secret."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from services.deployment.files import write_private
from services.deployment.pki import RENEWED_SHARE, AuthorityMissingError, identities, is_valid, renew_certificates

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

MAX_CHECK_SECONDS = 60.0
CHECKS = 10
"""Minimum number of checks between the time a certificate is due and its end."""
CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"
"""The files of an identity, named as in a Secret of cert-manager's."""
DATA = "..data"
"""The link through which all files of an identity are seen."""
FILE_MODE, FOLDER_MODE = 0o640, 0o750
"""For the group, too: Envoy's container has another user than the one that renews."""


def identity_folder(pki: Path, name: str) -> Path:
    """Return the folder of an identity: its certificate, its key, and the authority of the mesh."""
    return pki / "identities" / name


def publish_identities(pki: Path) -> None:
    """Bring the folder of each identity up to date. Raises OSError."""
    for name in identities():
        files = {CERTIFICATE: f"{name}.crt", KEY: f"{name}.key", AUTHORITY: "ca.crt"}
        _publish(identity_folder(pki, name), {file: (pki / source).read_bytes() for file, source in files.items()})


def are_published(pki: Path) -> bool:
    """Whether every identity has its folder, with a certificate that is valid now."""
    folders = (identity_folder(pki, name) for name in identities())
    return all(is_valid(folder / CERTIFICATE, folder / KEY) for folder in folders)


async def keep_certificates(pki: Path, lifetime: dt.timedelta, say: Callable[[str], None]) -> None:
    """Renew the certificates in `pki` before they expire, until cancelled; a failure is reported and retried."""
    pause_seconds = min(MAX_CHECK_SECONDS, lifetime.total_seconds() * RENEWED_SHARE / CHECKS)
    failed = False
    while True:
        await asyncio.sleep(pause_seconds)
        try:
            renewed = renew_certificates(pki, lifetime=lifetime)
            publish_identities(pki)
        except (OSError, AuthorityMissingError) as error:
            if not failed:
                say(f"cannot renew the mesh certificates ({error!r}); retrying")
            failed = True
        else:
            if renewed:
                say(f"mesh certificates renewed: {', '.join(renewed)}")
            failed = False


def _publish(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Replace the files of a folder all at once, if they differ.

    They are links through one that is replaced, so nobody sees a certificate beside another one's key. The files before
    stay until the next time: someone may be reading them.
    """
    if all(_content(folder / name) == content for name, content in contents.items()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder.parent, folder):
        path.chmod(FOLDER_MODE)
    former = (folder / DATA).readlink().name if (folder / DATA).is_symlink() else ""
    version = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    version.chmod(FOLDER_MODE)
    for name, content in contents.items():
        write_private(version / name, content)
        (version / name).chmod(FILE_MODE)
    _link(folder / DATA, version.name)
    for name in contents:
        if not (folder / name).is_symlink():
            _link(folder / name, f"{DATA}/{name}")
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink() and path.name not in (version.name, former):
            shutil.rmtree(path)


def _link(path: Path, target: str) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(path)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
