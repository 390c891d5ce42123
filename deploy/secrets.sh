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
for room in inbox vault memory; do
    secret=$(word)
    echo "BAEKMAN_$(echo "$room" | tr '[:lower:]' '[:upper:]')_SECRET=$secret"
    identities="$identities{\"name\":\"$room\",\"credentials\":[{\"accessKey\":\"$room\",\"secretKey\":\"$secret\"}],"
    identities="$identities\"actions\":[\"Read:$room\",\"Write:$room\",\"List:$room\"]},"
done
secret=$(word)
echo "BAEKMAN_BACKUP_READER_SECRET=$secret"  # of the backup: reads the vault, writes nothing there
identities="$identities{\"name\":\"reader\",\"credentials\":[{\"accessKey\":\"reader\",\"secretKey\":\"$secret\"}],"
identities="$identities\"actions\":[\"Read:vault\",\"List:vault\"]},"
identities="$identities{\"name\":\"admin\",\"credentials\":[{\"accessKey\":\"admin\",\"secretKey\":\"$(word)\"}],\"actions\":[\"Admin\"]}"
printf '{"identities":[%s]}\n' "$identities" > "$folder/store_identities.json"
secret=$(word)
echo "BAEKMAN_PROXY_MARK=$secret"  # by which the web knows the proxy; the file is for nginx
printf 'proxy_set_header X-Baekman-Proxy "%s";\n' "$secret" > "$folder/proxy_mark"
echo "BAEKMAN_DATABASE_PASSWORD=$(word)"
echo "BAEKMAN_SECRETS=$folder"
chmod 0400 "$folder"/*
