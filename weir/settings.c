/* SPDX-License-Identifier: MIT */
#include "settings.h"

#include <stddef.h>

/* What is left out of a row is 0. */
#define AT(field) \
	.at = offsetof(struct options, field), .size = sizeof(((struct options *)0)->field)
#define LIST_AT(list, n)                                   \
	AT(list), .count_at = offsetof(struct options, n), \
		  .most_items = sizeof(((struct options *)0)->list) / sizeof(char *)
#define OF_QUEUE(field)                             \
	.at = offsetof(struct queue_config, field), \
	.size = sizeof(((struct queue_config *)0)->field)
#define IN_QUEUE(field) OF_QUEUE(set.field)

#define SERVER " serve config "
/* Jobs are on disk before they are answered, where that was built in. */
#ifdef WEIR__SQLITE
#define DURABLE "sqlite"
#else
#define DURABLE "mem"
#endif

#define STORES  " serve config backup check "
#define CLIENTS " enqueue work publish subscribe request reply jobs queues status drain tasks "
#define BOTH    (SET_KEY | SET_ENV)

#define NO_END  INT64_MAX
#define A_YEAR  WEIR_HOUR(24 * 366)
#define MILLION 1000000

const struct setting settings[] = {
	{ "config", 0, SET_ENV, SET_PATH, SERVER, AT(config), .arg = "FILE",
	  .help = "read settings from this YAML file; flags and environment weigh more",
	  .heading = "What is served" },
	{ "listen", 0, BOTH, SET_LIST, SERVER, LIST_AT(listen, listens), .arg = "ADDR",
	  .fallback = "127.0.0.1:8080", .check = setting_check_address,
	  .help = "HOST:PORT, :PORT for all interfaces, or unix:PATH; may be repeated" },
	{ "nats", 0, BOTH, SET_TEXT, SERVER, AT(nats), .arg = "ADDR",
	  .check = setting_check_address,
	  .help = "serve NATS clients there too, such as 127.0.0.1:4222: the bus in their "
	          "protocol" },
	{ "bus", 0, BOTH, SET_TEXT, SERVER, AT(bus), .arg = "URL",
	  .fallback = "mem:", .check = setting_check_bus,
	  .help = "mem: is this process; nats://HOST:4222,… a NATS cluster, tls:// the same with "
	          "TLS; a password in it is better given as WEIR_BUS" },
	{ "data", 0, BOTH, SET_PATH, STORES, AT(data), .arg = "DIR", .fallback = "./weir-data",
	  .help = "where jobs outlive a restart; one server at a time" },
	{ "store", 0, BOTH, SET_TEXT, STORES, AT(store), .arg = "KIND|FILE|URL",
	  .fallback = DURABLE, .check = setting_check_store,
	  .help = "how queues are kept: sqlite on disk before each answer, in the data directory "
	          "or "
	          "in a FILE with a / in its name; mem in memory, and in the data directory over a "
	          "clean stop; a URL such as nats://HOST:4222 in an engine that several weirs "
	          "share "
	          "(weir queues --engines); a password in it is better given as WEIR_STORE" },
	{ "spill", 0, BOTH, SET_SWITCH, SERVER, AT(spill),
	  .help = "while the engine of --store is away, keep new jobs in the data directory, on "
	          "disk, and forward them in order when it is back; else they are refused" },
	{ "workers", 0, BOTH, SET_NUMBER, SERVER, AT(workers), .arg = "N", .fallback = "0",
	  .least = 0, .most = 256, .help = "threads that run tasks; 0 is one per core" },
	{ "log", 0, BOTH, SET_CHOICE, SERVER, AT(log_json), .arg = "FORM", .fallback = "text",
	  .choices = "text|json", .help = "text or json: the form of the log on standard error" },
	{ "log-level", 0, BOTH, SET_CHOICE, SERVER, AT(log_debug), .arg = "LEVEL",
	  .fallback = "info", .choices = "info|debug",
	  .help = "info or debug: how much is logged" },

	{ "queue-max", 0, BOTH, SET_NUMBER, SERVER, AT(queue_max), .arg = "N", .fallback = "100000",
	  .least = 1, .most = 1000 * MILLION,
	  .help = "jobs that a queue holds; beyond it: 503, try later", .heading = "Bounds" },
	{ "queue-bytes", 0, BOTH, SET_BYTES, SERVER, AT(queue_bytes), .arg = "SIZE",
	  .fallback = "256MiB", .least = 1, .most = NO_END,
	  .help = "bytes of payload that a queue holds" },
	{ "memory-max", 0, BOTH, SET_BYTES, SERVER, AT(memory_max), .arg = "SIZE",
	  .fallback = "1GiB", .least = 1 << 20, .most = NO_END,
	  .help = "memory of all queues together, finished jobs too; beyond it: 507" },
	{ "queues-max", 0, BOTH, SET_NUMBER, SERVER, AT(queues_max), .arg = "N", .fallback = "1000",
	  .least = 1, .most = MILLION, .help = "queues there may be" },
	{ "finished-max", 0, BOTH, SET_NUMBER, SERVER, AT(finished_max), .arg = "N",
	  .fallback = "10000", .least = 1, .most = 1000 * MILLION,
	  .help = "finished jobs that a queue remembers" },
	{ "finished-keep", 0, BOTH, SET_DURATION, SERVER, AT(finished_keep_ns), .arg = "TIME",
	  .fallback = "24h", .least = WEIR_SEC(1), .most = A_YEAR,
	  .help = "how long it remembers them" },
	{ "idempotency-window", 0, BOTH, SET_DURATION, SERVER, AT(idempotency_window_ns),
	  .arg = "TIME", .fallback = "24h", .least = WEIR_SEC(1), .most = A_YEAR,
	  .help = "how long an Idempotency-Key finds its first job" },
	{ "body-max", 0, BOTH, SET_BYTES, SERVER, AT(body_max), .arg = "SIZE", .fallback = "1MiB",
	  .least = 1, .most = 1 << 30, .help = "bytes of a payload or message; beyond it: 413" },
	{ "bodies-max", 0, BOTH, SET_BYTES, SERVER, AT(bodies_max), .arg = "SIZE",
	  .fallback = "256MiB", .least = 1 << 20, .most = NO_END,
	  .help = "bytes of bodies that wait in memory to be whole; beyond it: 503" },
	{ "conns-max", 0, BOTH, SET_NUMBER, SERVER, AT(conns_max), .arg = "N", .fallback = "100000",
	  .least = 1, .most = 10 * MILLION,
	  .help = "connections at a time; beyond it new ones wait" },
	{ "streams-max", 0, BOTH, SET_NUMBER, SERVER, AT(streams_max), .arg = "N",
	  .fallback = "10000", .least = 1, .most = 10 * MILLION,
	  .help = "event streams of one subject or pattern at a time; beyond it: 503" },
	{ "patterns-max", 0, BOTH, SET_NUMBER, SERVER, AT(patterns_max), .arg = "N",
	  .fallback = "64", .least = 1, .most = 65536,
	  .help = "different subjects streamed at a time; beyond it: 507" },

	{ "header-timeout", 0, BOTH, SET_DURATION, SERVER, AT(header_ns), .arg = "TIME",
	  .fallback = "10s", .least = WEIR_MS(1), .most = A_YEAR,
	  .help = "for the whole head of a request to arrive", .heading = "Time limits" },
	{ "idle-timeout", 0, BOTH, SET_DURATION, SERVER, AT(idle_ns), .arg = "TIME",
	  .fallback = "75s", .least = WEIR_MS(1), .most = A_YEAR,
	  .help = "between two requests of a connection" },
	{ "read-timeout", 0, BOTH, SET_DURATION, SERVER, AT(read_ns), .arg = "TIME",
	  .fallback = "10s", .least = WEIR_MS(1), .most = A_YEAR,
	  .help = "for some bytes of a body to arrive" },
	{ "write-timeout", 0, BOTH, SET_DURATION, SERVER, AT(write_ns), .arg = "TIME",
	  .fallback = "10s", .least = WEIR_MS(1), .most = A_YEAR,
	  .help = "for a client to take some bytes" },
	{ "handler-timeout", 0, BOTH, SET_DURATION, SERVER, AT(handler_ns), .arg = "TIME",
	  .fallback = "30s", .least = WEIR_MS(1), .most = A_YEAR,
	  .help = "until an answer begins; then: 503" },
	{ "grace", 0, BOTH, SET_DURATION, " serve config work reply ", AT(grace_ns), .arg = "TIME",
	  .fallback = "30s", .least = WEIR_MS(100), .most = WEIR_HOUR(24),
	  .help = "the budget of a stop; what is not done by then is cut" },
	{ "drain-wait", 0, BOTH, SET_DURATION, SERVER, AT(drain_wait_ns), .arg = "TIME",
	  .fallback = "0", .least = 0, .most = WEIR_HOUR(24),
	  .help = "go on accepting for so long after a stop began; 5s suits Kubernetes" },

	{ "token-file", 0, BOTH, SET_PATH, SERVER, AT(token_file), .arg = "FILE",
	  .help = "names, tokens and rights, read again on SIGHUP; without it nobody is asked for "
	          "a token",
	  .heading = "Who may do what" },
	{ "allow-origin", 0, BOTH, SET_LIST, SERVER, LIST_AT(allow_origin, allow_origins),
	  .arg = "ORIGIN", .check = setting_check_origin,
	  .help = "a web origin whose pages may use this server; may be repeated" },

	{ "tls-cert", 0, BOTH, SET_LIST, SERVER, LIST_AT(tls_cert, tls_certs), .arg = "FILE",
	  .help = "speak TLS, with the certificates of this PEM file; may be repeated, and clients "
	          "get the one they ask for; SIGHUP reads all again",
	  .heading = "TLS" },
	{ "tls-key", 0, BOTH, SET_LIST, SERVER, LIST_AT(tls_key, tls_keys), .arg = "FILE",
	  .help = "the key of the --tls-cert in the same place" },
	{ "tls-self-signed", 0, BOTH, SET_SWITCH, SERVER, AT(tls_self_signed),
	  .help = "for trying it: a certificate of our own, kept in the data directory" },
	{ "tls-client-ca", 0, BOTH, SET_PATH, SERVER, AT(tls_client_ca), .arg = "FILE",
	  .help = "serve only clients with a certificate of these authorities" },

	{ "delay", 0, 0, SET_DURATION, " enqueue ", AT(delay_ns), .arg = "TIME", .most = A_YEAR,
	  .help = "run it no earlier than in so long" },
	{ "priority", 0, 0, SET_NUMBER, " enqueue ", AT(priority), .arg = "N", .least = -1000,
	  .most = 1000, .help = "0 is normal, smaller is sooner" },
	{ "key", 0, 0, SET_TEXT, " enqueue ", AT(key), .arg = "KEY", .check = setting_check_key,
	  .help = "what jobs of one kind share, for limits per key" },
	{ "idempotency-key", 0, 0, SET_TEXT, " enqueue ", AT(idempotency_key), .arg = "KEY",
	  .check = setting_check_key, .help = "the same key again gives the first job" },
	{ "timeout", 0, 0, SET_DURATION, " enqueue ", AT(timeout_ns), .arg = "TIME",
	  .least = WEIR_MS(1), .most = A_YEAR, .help = "how long one run may take" },
	{ "attempts", 0, 0, SET_NUMBER, " enqueue ", AT(attempts), .arg = "N", .least = 1,
	  .most = 10000, .help = "how often it may be tried" },
	{ "content-type", 0, 0, SET_TEXT, " enqueue ", AT(content_type), .arg = "TYPE",
	  .check = setting_check_header, .help = "the payload's media type" },
	{ "from-file", 0, 0, SET_PATH, " enqueue ", AT(from_file), .arg = "FILE",
	  .help = "a job for each line of a file, or of standard input for -" },
	{ "wait", 0, 0, SET_SWITCH, " enqueue ", AT(wait),
	  .help = "wait until the job has ended and print its result" },

	{ "jobs", 'j', 0, SET_NUMBER, " work reply ", AT(jobs), .arg = "N", .fallback = "1",
	  .least = 1, .most = 1000, .help = "how many commands run at a time" },
	{ "once", 0, 0, SET_SWITCH, " work ", AT(once),
	  .help = "end after one job; the exit status tells how it went" },
	{ "drain", 0, 0, SET_SWITCH, " work ", AT(until_empty),
	  .help = "end when the queue is empty" },
	{ "kill-after", 0, 0, SET_DURATION, " work reply ", AT(kill_after_ns), .arg = "TIME",
	  .fallback = "5s", .least = WEIR_MS(1), .most = WEIR_HOUR(1),
	  .help = "between SIGTERM and SIGKILL for a command that has to go" },
	{ "memory", 0, 0, SET_BYTES, " work ", AT(limits.memory), .arg = "SIZE", .least = 1 << 20,
	  .most = NO_END, .help = "memory that a command's process may have; no limit" },
	{ "cpu", 0, 0, SET_DURATION, " work ", AT(limits.cpu_ns), .arg = "TIME",
	  .least = WEIR_SEC(1), .most = A_YEAR,
	  .help = "CPU time that it may use, in whole seconds; no limit" },
	{ "file-size", 0, 0, SET_BYTES, " work ", AT(limits.file), .arg = "SIZE", .least = 1,
	  .most = NO_END, .help = "how large a file it may write; no limit" },
	{ "output", 0, 0, SET_BYTES, " work ", AT(limits.output), .arg = "SIZE", .least = 1,
	  .most = 1 << 20,
	  .help = "with more output its job fails; else what is over 1MiB is not kept" },
	{ "name", 0, 0, SET_TEXT, " work ", AT(name), .arg = "NAME", .check = setting_check_header,
	  .help = "the worker's name in lists; else host and process" },
	{ "timeout", 0, 0, SET_DURATION, " request ", AT(timeout_ns), .arg = "TIME",
	  .fallback = "1s", .least = WEIR_MS(1), .most = WEIR_MIN(5),
	  .help = "how long to wait for the answer" },
	{ "count", 'n', 0, SET_NUMBER, " subscribe ", AT(count), .arg = "N", .least = 1,
	  .most = NO_END, .help = "end after so many messages" },
	{ "last-id", 0, 0, SET_TEXT, " subscribe ", AT(last_id), .arg = "ID",
	  .check = setting_check_header,
	  .help = "begin behind the message with this id, as far as the server remembers" },
	{ "state", 0, 0, SET_WORD, " jobs ", AT(state), .arg = "STATE",
	  .choices = "queued|delayed|running|done|dead|cancelled",
	  .help = "only jobs in this state" },
	{ "from", 0, 0, SET_TEXT, " move ", AT(from), .arg = "URL",
	  .help = "the store that has the jobs: sqlite:FILE, or an engine's such as "
	          "nats://HOST:4222" },
	{ "to", 0, 0, SET_TEXT, " move ", AT(to), .arg = "URL",
	  .help = "the store that gets them, the same" },
	{ "engines", 0, 0, SET_SWITCH, " queues ", AT(engines),
	  .help = "what the engines of queues can do; no server is asked" },
	{ "limit", 0, 0, SET_NUMBER, " jobs ", AT(limit), .arg = "N", .fallback = "100", .least = 1,
	  .most = 1000, .help = "list at most so many" },

	{ "json", 0, 0, SET_SWITCH,
	  " enqueue publish subscribe request jobs queues status tasks config version ", AT(json),
	  .help = "print JSON, for programs" },
	{ "server", 0, SET_ENV, SET_TEXT, CLIENTS, AT(server), .arg = "URL",
	  .fallback = "http://127.0.0.1:8080", .check = setting_check_server,
	  .help = "the server, http://HOST:PORT, https://HOST:PORT or unix:PATH; by "
	          "grpc://HOST:PORT or grpcs:// enqueue, work, publish, subscribe and request ask "
	          "over gRPC, the others over HTTP/2; for publish, subscribe, request and reply "
	          "also a NATS cluster, nats://HOST:PORT",
	  .heading = "The server" },
	{ "token", 0, SET_ENV, SET_TEXT, CLIENTS, AT(token), .arg = "TOKEN",
	  .check = setting_check_header,
	  .help = "who asks; better by WEIR_TOKEN, since others can read command lines" },
	{ "token-path", 0, SET_ENV, SET_PATH, CLIENTS, AT(token_path), .arg = "FILE",
	  .help = "a file that holds the token" },
	{ "ca", 0, SET_ENV, SET_PATH, CLIENTS, AT(ca), .arg = "FILE",
	  .help = "trust these authorities, not the system's, for https" },
	{ "insecure", 0, 0, SET_SWITCH, CLIENTS, AT(insecure),
	  .help = "do not ask who the https server is; only for trying it" },
	{ "client-cert", 0, SET_ENV, SET_PATH, CLIENTS, AT(client_cert), .arg = "FILE",
	  .help = "who we are, for a server that asks for certificates" },
	{ "client-key", 0, SET_ENV, SET_PATH, CLIENTS, AT(client_key), .arg = "FILE",
	  .help = "the key of --client-cert" },
};
const size_t settings_n = sizeof settings / sizeof settings[0];
_Static_assert(sizeof settings / sizeof settings[0] <= SETTINGS_MAX,
               "struct options notes the origin of each");

const struct setting queue_settings[] = {
	{ "max", 0, SET_KEY, SET_NUMBER, NULL, IN_QUEUE(max), .arg = "N", .least = 1,
	  .most = 1000 * MILLION, .help = "jobs it holds, instead of queue-max" },
	{ "max-bytes", 0, SET_KEY, SET_BYTES, NULL, IN_QUEUE(max_bytes), .arg = "SIZE", .least = 1,
	  .most = NO_END, .help = "bytes of payload it holds, instead of queue-bytes" },
	{ "durability", 0, SET_KEY, SET_CHOICE, NULL, IN_QUEUE(durability), .arg = "WORD",
	  .choices = "default|fsync|os|memory",
	  .help = "fsync, os or memory: where a job is when its producer is answered; the best "
	          "that the store has" },
	{ "lease", 0, SET_KEY, SET_DURATION, NULL, IN_QUEUE(lease_ns), .arg = "TIME",
	  .least = WEIR_MS(100), .most = WEIR_HOUR(24),
	  .help = "how long a worker may stay silent; 30s" },
	{ "attempts", 0, SET_KEY, SET_NUMBER, NULL, IN_QUEUE(attempts_max), .arg = "N", .least = 1,
	  .most = 10000, .member = "max_attempts", .help = "how often a job is tried; 10" },
	{ "timeout", 0, SET_KEY, SET_DURATION, NULL, IN_QUEUE(timeout_ns), .arg = "TIME",
	  .least = WEIR_MS(1), .most = A_YEAR, .help = "how long one run may take; no limit" },
	{ "backoff", 0, SET_KEY, SET_DURATION, NULL, IN_QUEUE(backoff_ns), .arg = "TIME",
	  .least = WEIR_MS(1), .most = WEIR_HOUR(24),
	  .help = "before the second attempt, doubled with each; 1s" },
	{ "backoff-max", 0, SET_KEY, SET_DURATION, NULL, IN_QUEUE(backoff_max_ns), .arg = "TIME",
	  .least = WEIR_MS(1), .most = A_YEAR, .help = "the longest pause between attempts; 1h" },
	{ "rate", 0, SET_KEY, SET_RATE, NULL, IN_QUEUE(rate), .arg = "N/s",
	  .help = "jobs given out in a time: 10/s or 10, 100/m, 5/h; no limit" },
	{ "burst", 0, SET_KEY, SET_NUMBER, NULL, IN_QUEUE(rate_burst), .arg = "N", .least = 1,
	  .most = MILLION, .member = "rate_burst", .help = "how many of them at once; 1" },
	{ "concurrency", 0, SET_KEY, SET_NUMBER, NULL, IN_QUEUE(concurrency), .arg = "N",
	  .least = 1, .most = MILLION, .help = "jobs that run at a time; no limit" },
	{ "key-concurrency", 0, SET_KEY, SET_NUMBER, NULL, IN_QUEUE(key_concurrency), .arg = "N",
	  .least = 1, .most = MILLION, .help = "jobs of one key that run at a time; no limit" },
	{ "finished-max", 0, SET_KEY, SET_NUMBER, NULL, IN_QUEUE(finished_max), .arg = "N",
	  .least = 1, .most = 1000 * MILLION, .help = "finished jobs it remembers" },
	{ "finished-keep", 0, SET_KEY, SET_DURATION, NULL, IN_QUEUE(finished_ns), .arg = "TIME",
	  .least = WEIR_SEC(1), .most = A_YEAR, .member = "finished_for",
	  .help = "how long it remembers them" },
	{ "paused", 0, SET_KEY, SET_SWITCH, NULL, IN_QUEUE(paused),
	  .help = "start without giving out jobs" },
	{ "exec", 0, SET_KEY, SET_LIST, NULL, OF_QUEUE(exec), .arg = "[CMD, ARG…]",
	  .count_at = offsetof(struct queue_config, execs), .most_items = EXEC_MAX,
	  .help = "the server runs this command for each job, as weir work does" },
	{ "exec-memory", 0, SET_KEY, SET_BYTES, NULL, OF_QUEUE(exec_limits.memory), .arg = "SIZE",
	  .least = 1 << 20, .most = NO_END,
	  .help = "memory that a process of it may have; no limit" },
	{ "exec-cpu", 0, SET_KEY, SET_DURATION, NULL, OF_QUEUE(exec_limits.cpu_ns), .arg = "TIME",
	  .least = WEIR_SEC(1), .most = A_YEAR,
	  .help = "CPU time that it may use, in whole seconds; no limit" },
	{ "exec-file-size", 0, SET_KEY, SET_BYTES, NULL, OF_QUEUE(exec_limits.file), .arg = "SIZE",
	  .least = 1, .most = NO_END, .help = "how large a file it may write; no limit" },
	{ "exec-output", 0, SET_KEY, SET_BYTES, NULL, OF_QUEUE(exec_limits.output), .arg = "SIZE",
	  .least = 1, .most = 1 << 20,
	  .help = "with more output its job fails; else what is over 64KiB is not kept" },
	{ "webhook", 0, SET_KEY, SET_TEXT, NULL, OF_QUEUE(webhook), .arg = "URL",
	  .check = setting_check_webhook, .help = "the server posts each job to this URL" },
	{ "webhook-secret-file", 0, SET_KEY, SET_PATH, NULL, OF_QUEUE(secret_file), .arg = "FILE",
	  .help = "holds whsec_…, with which webhooks are signed; not signed" },
	{ "webhook-private", 0, SET_KEY, SET_SWITCH, NULL, OF_QUEUE(allow_private),
	  .help = "the webhook may be at a private address" },
	{ "workers", 0, SET_KEY, SET_NUMBER, NULL, OF_QUEUE(workers), .arg = "N", .least = 1,
	  .most = 1000, .help = "how many commands or webhooks run at a time; 4" },
};
const size_t queue_settings_n = sizeof queue_settings / sizeof queue_settings[0];
