#!/usr/bin/env bash
# Stand-in for the entry point of Cassandra's image: the same variables go to the same
# lines of cassandra.yaml, and root becomes the user cassandra.
set -euo pipefail
if [ $# -eq 0 ] || [[ $1 == -* ]]; then
    set -- cassandra -f "$@"
fi
if [ "$1" = cassandra ] && [ "$(id -u)" = 0 ]; then
    chown -R cassandra /var/lib/cassandra /var/log/cassandra "$CASSANDRA_CONF"
    exec setpriv --reuid=cassandra --regid=cassandra --clear-groups "$0" "$@"
fi
set_yaml() { # name value
    local text
    text=$(sed -E "s|^(# )?($1:).*|\2 $2|" "$CASSANDRA_CONF/cassandra.yaml")
    printf '%s\n' "$text" >"$CASSANDRA_CONF/cassandra.yaml"
}
if [ "$1" = cassandra ]; then
    address=$(ip -4 -o address show scope global | awk '{ sub("/.*", "", $4); print $4; exit }')
    listen=${CASSANDRA_LISTEN_ADDRESS:-auto}
    [ "$listen" != auto ] || listen=$address
    broadcast=${CASSANDRA_BROADCAST_ADDRESS:-$listen}
    [ "$broadcast" != auto ] || broadcast=$address
    set_yaml listen_address "$listen"
    set_yaml broadcast_address "$broadcast"
    set_yaml broadcast_rpc_address "${CASSANDRA_BROADCAST_RPC_ADDRESS:-$broadcast}"
    set_yaml rpc_address "${CASSANDRA_RPC_ADDRESS:-0.0.0.0}"
    for name in cluster_name endpoint_snitch num_tokens; do
        variable=CASSANDRA_${name^^}
        [ -z "${!variable:-}" ] || set_yaml "$name" "${!variable}"
    done
    sed -i -E "s|(- seeds:).*|\1 \"${CASSANDRA_SEEDS:-$broadcast}\"|" "$CASSANDRA_CONF/cassandra.yaml"
fi
exec "$@"
