#!/usr/bin/env bash
# Gives each service its database, with the role that owns it and the role that uses it, when the volume is new.
# A role's password is the one in the URL by which its service connects: no secret is written twice.
set -euo pipefail

password_in() {
  local url
  url=$(<"${AZORA_SECRETS_DIR:-/run/secrets}/$1")
  url=${url#*://*:}
  printf '%s' "${url%%@*}"
}

for url in "${AZORA_SECRETS_DIR:-/run/secrets}"/*_migration_database_url; do
  service=$(basename "$url" _migration_database_url)
  OWNER_PASSWORD=$(password_in "${service}_migration_database_url")
  APP_PASSWORD=$(password_in "${service}_database_url")
  export OWNER_PASSWORD APP_PASSWORD
  # The passwords travel in the environment: arguments can be read by every process.
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname postgres \
    --set service="$service" --set owner="${service}_owner" --set app="${service}_app" <<'SQL'
\getenv owner_password OWNER_PASSWORD
\getenv app_password APP_PASSWORD
CREATE ROLE :"owner" LOGIN PASSWORD :'owner_password';
CREATE ROLE :"app" LOGIN PASSWORD :'app_password';
CREATE DATABASE :"service" OWNER :"owner";
REVOKE ALL ON DATABASE :"service" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"service" TO :"app";
\connect :"service"
REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO :"app";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"app";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" GRANT USAGE, SELECT ON SEQUENCES TO :"app";
SQL
done
