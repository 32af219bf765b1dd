#!/bin/sh
# Puts random passwords for compose.yaml into .env, which only this user may read. Those that are there stay.
set -eu
umask 077
env_file="$(dirname "$0")/../.env"
touch "$env_file"
chmod 600 "$env_file"
if [ -n "$(tail -c 1 "$env_file")" ]; then echo >>"$env_file"; fi
for name in EDDYLINE_QDRANT__API_KEY KAFKA_ADMIN_PASSWORD KAFKA_SERVICES_PASSWORD KAFKA_APPS_PASSWORD; do
  if ! grep -q "^$name=." "$env_file"; then
    echo "$name=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')" >>"$env_file"
  fi
done
