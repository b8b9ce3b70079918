"""The two roles of a service's database: the owner, which migrates it, and the role that the running service has."""

from __future__ import annotations


def owner_role(service: str) -> str:
    """Return the role that owns a service's database."""
    return f"{service}_owner"


def app_role(service: str) -> str:
    """Return the role of the running service."""
    return f"{service}_app"


def grants(service: str, database: str) -> list[str]:
    """Return the SQL, for a superuser in a database, by which the service's run-time role may use what its owner makes.

    It may make nothing itself: neither temporary tables nor large objects.
    """
    owner, app = owner_role(service), app_role(service)
    return [
        *database_grants(service, database),
        "REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC",
        f"GRANT USAGE ON SCHEMA public TO {app}",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app}",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT USAGE, SELECT ON SEQUENCES TO {app}",
    ]


def database_grants(service: str, database: str) -> list[str]:
    """Return the part of `grants` that a copy of the database does not have, for a superuser in any database."""
    return [
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {database} TO {app_role(service)}",
    ]
