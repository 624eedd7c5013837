#!/bin/sh
# SPDX-License-Identifier: MIT
# A RabbitMQ with a node, ports, an epmd and a directory of its own, until it is ended:
#	rabbit_server.sh PROGRAM DIRECTORY PORT
set -eu
free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
program=$1 dir=$2 port=$3
mkdir -p "$dir"
epmd_port=$(free)
epmd -port "$epmd_port" -address 127.0.0.1 &
epmd=$!
trap 'kill "$server" "$epmd" 2>/dev/null; wait; exit 0' TERM INT
env -i PATH=/usr/bin:/bin HOME="$dir" LANG=C.UTF-8 RUNNING_UNDER_SYSTEMD=1 "RABBITMQ_NODENAME=weir$port@localhost" \
	RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 "RABBITMQ_NODE_PORT=$port" "RABBITMQ_DIST_PORT=$(free)" "RABBITMQ_MNESIA_BASE=$dir/db" \
	"RABBITMQ_LOG_BASE=$dir/log" "RABBITMQ_ENABLED_PLUGINS_FILE=$dir/plugins" "ERL_EPMD_PORT=$epmd_port" "$program" &
server=$!
wait "$server"
