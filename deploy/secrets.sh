#!/bin/sh
# Random secrets for docker-compose.yml, made once: `sh deploy/secrets.sh > .env`. Files go to ./secrets (or $1), 0400.
set -eu
umask 077
folder=${1:-secrets}
mkdir -p "$folder"
[ -e "$folder/master_key" ] && { echo "there are secrets in $folder already" >&2; exit 1; }
word() { openssl rand -hex 24; }
openssl rand -base64 32 > "$folder/master_key"
openssl rand -base64 32 > "$folder/web_key"
identities=
for room in inbox vault outbox memory; do
    secret=$(word)
    echo "BAEKMAN_$(echo "$room" | tr '[:lower:]' '[:upper:]')_SECRET=$secret"
    identities="$identities{\"name\":\"$room\",\"credentials\":[{\"accessKey\":\"$room\",\"secretKey\":\"$secret\"}],"
    identities="$identities\"actions\":[\"Read:$room\",\"Write:$room\",\"List:$room\"]},"
done
secret=$(word)
echo "BAEKMAN_BACKUP_READER_SECRET=$secret"  # of the backup: reads vault and outbox, writes nothing there
identities="$identities{\"name\":\"reader\",\"credentials\":[{\"accessKey\":\"reader\",\"secretKey\":\"$secret\"}],"
identities="$identities\"actions\":[\"Read:vault\",\"List:vault\",\"Read:outbox\",\"List:outbox\"]},"
identities="$identities{\"name\":\"admin\",\"credentials\":[{\"accessKey\":\"admin\",\"secretKey\":\"$(word)\"}],\"actions\":[\"Admin\"]}"
printf '{"identities":[%s]}\n' "$identities" > "$folder/store_identities.json"
echo "BAEKMAN_DATABASE_PASSWORD=$(word)"
echo "BAEKMAN_SECRETS=$folder"
chmod 0400 "$folder"/*
