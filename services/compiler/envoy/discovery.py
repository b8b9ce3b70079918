"""What a running Envoy reads again when it changes, as files: the replicas of services (EDS) and certificates (SDS).

profile = local(settings)
for name, text in discovery_files(profile).items():  # All there are, before Envoy starts.
    write_private(Path(profile.discovery) / name, text.encode())

More replicas: the same with the profile that has them, or `endpoints` alone. Envoy reads a file when it is moved into
its folder, never when it is written in place. A renewed certificate needs no new file here: the folders of certificates
are watched as well, and while certificate and key do not fit each other, the ones before them stay in use.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from services.compiler.envoy.profiles import Pipe, found_by_dns
from services.compiler.envoy.typed import Json, readable, typed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.compiler.envoy.profiles import Address, Certificate, Profile

MESH_CERTIFICATE = "mesh-certificate"
"""The secret that is Envoy's identity on the mesh."""
MESH_AUTHORITY = "mesh-authority"
"""The secret that is the mesh's certificate authority."""
PUBLIC_CERTIFICATE = "public-certificate"
"""The secret that is the certificate of the public port."""
SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - the name of a message


def discovery_files(profile: Profile) -> Mapping[str, str]:
    """Return the text of every file of the profile's discovery folder, by name."""
    texts = {
        MESH_CERTIFICATE: certificate(MESH_CERTIFICATE, profile.certificate),
        MESH_AUTHORITY: authority(profile.authority),
    }
    if profile.public_certificate is not None:
        texts[PUBLIC_CERTIFICATE] = certificate(PUBLIC_CERTIFICATE, profile.public_certificate)
    texts |= {name: endpoints(name, found) for name, found in profile.upstreams.items() if not found_by_dns(found)}
    return {file_name(resource): text for resource, text in texts.items()}


def file_name(resource: str) -> str:
    """Return the name of the file of a service's replicas, or of a secret."""
    return f"{resource}.json"


def source(profile: Profile, resource: str) -> Json:
    """Return the config source of a resource."""
    path = f"{profile.discovery}/{file_name(resource)}"
    watched = {"path": path, "watched_directory": {"path": profile.discovery}}
    return {"resource_api_version": "V3", "path_config_source": watched}


def endpoints(service: str, replicas: Sequence[Address]) -> str:
    """Return the file of a service's replicas (EDS). Addresses are unix sockets or IP addresses."""
    assignment = typed("envoy.config.endpoint.v3.ClusterLoadAssignment", **load_assignment(service, replicas))
    return _file(assignment)


def certificate(name: str, pair: Certificate) -> str:
    """Return the file of a certificate with its key (SDS)."""
    files = {
        "certificate_chain": {"filename": pair.chain},
        "private_key": {"filename": pair.key},
        "watched_directory": _folder_of(pair.chain),
    }
    return _file(typed(SECRET, name=name, tls_certificate=files))


def authority(path: str) -> str:
    """Return the file of the mesh's certificate authority (SDS)."""
    trusted = {"trusted_ca": {"filename": path}, "watched_directory": _folder_of(path)}
    return _file(typed(SECRET, name=MESH_AUTHORITY, validation_context=trusted))


def load_assignment(cluster: str, replicas: Sequence[Address]) -> Json:
    """Return the endpoints of a cluster."""
    found = [{"endpoint": {"address": address(replica)}} for replica in replicas]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": found}]}


def address(at: Address) -> Json:
    """Return an address to listen on or to connect to."""
    if isinstance(at, Pipe):
        return {"pipe": {"path": at.path}}
    return {"socket_address": {"address": at.host, "port_value": at.port}}


def _folder_of(path: str) -> Json:
    return {"path": str(PurePosixPath(path).parent)}


def _file(resource: Json) -> str:
    return f"{readable({'resources': [resource]})}\n"
