#!/bin/sh
# The files that docker-compose.yml reads as secrets, into ./secrets or the folder that is named. One that is there stays as it is.
# A folder that nobody else may enter, and files that the users of the containers may read.
set -eu
dir=${1:-secrets}
# As the compose file reads it: the variable, else the line of .env beside it.
named=$(sed -n 's/^GRAB_CELL=//p' .env 2>/dev/null | tail -n 1 | tr -d "\"'\r")
cell=${GRAB_CELL:-${named:-district}}
mkdir -p "$dir"
chmod 700 "$dir"

random() { head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \n'; }

put() { # name, content
  [ -e "$dir/$1" ] || printf '%s\n' "$2" >"$dir/$1"
  chmod 444 "$dir/$1"
}

for name in redis_password postgres_password owner_password api_password ledger_password guard_password; do
  put "$name" "$(random)"
done
read_secret() { cat "$dir/$1"; }
redis() { printf 'redis://%s:%s@valkey:6379/0' "$1" "$(read_secret "$2")"; }
postgres() { printf 'postgresql://%s:%s@postgres:5432/grab' "$1" "$(read_secret "$2")"; }

put admin_redis_url "$(redis '' redis_password)"
put admin_database_url "$(postgres grab postgres_password)"
put owner_database_url "$(postgres "grab_${cell}_owner" owner_password)"
put api_redis_url "$(redis "grab-$cell-api" api_password)"
put api_database_url "$(postgres "grab_${cell}_api" api_password)"
put ledger_redis_url "$(redis "grab-$cell-ledger" ledger_password)"
put ledger_database_url "$(postgres "grab_${cell}_ledger" ledger_password)"
put guard_redis_url "$(redis "grab-$cell-guard" guard_password)"
put grab_secrets "k1:$(random)"
put grab_ops_secrets "o1:$(random)"
# The ledger signs checkpoints of the log with it; an Ed25519 key is 32 random bytes, its public half is worked out from them.
signing=$(head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n')
put grab_signing_keys "{\"keys\": [{\"kty\": \"OKP\", \"crv\": \"Ed25519\", \"kid\": \"s$(random | cut -c 1-6)\", \"d\": \"$signing\"}]}"
echo "$dir/ has $(find "$dir" -type f | wc -l | tr -d ' ') secrets; keep them out of the repository."
