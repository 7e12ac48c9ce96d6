#!/bin/sh
# Valkey with users that outlive it: an ACL file beside its data, in which only the admin's line is ours; `grab provision` sets the others.
set -eu
umask 077
users=${USERS_FILE:-/data/users.acl}
touch "$users"
others=$(grep -v '^user default ' "$users" || true)
password=${REDIS_PASSWORD:-$(cat "$REDIS_PASSWORD_FILE")}
hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
printf '%s\n%s\n' "user default on #$hash ~* &* +@all" "$others" | sed '/^$/d' >"$users.new"
mv "$users.new" "$users"
# While the log is rewritten, too, an answer waits for the disk: otherwise `appendfsync always` is true only between rewrites.
exec docker-entrypoint.sh valkey-server --aclfile "$users" --no-appendfsync-on-rewrite no "$@"
