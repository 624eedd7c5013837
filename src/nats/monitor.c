/* SPDX-License-Identifier: MIT */
/*
 * What nats-server answers on /varz, /connz and /subsz, with its names for things, so that its
 * tools can read it. Looks at the connections from outside of their workers: under a worker's list
 * lock none of them goes away.
 */
#include "nats/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"

enum { LIMIT_DEFAULT = 1024, LIMIT_MAX = 10000 };

/* "limit" in "a=1&limit=10"; the fallback when it is not there or no number. */
static size_t query_number(const char *query, const char *key, size_t fallback)
{
	size_t len = strlen(key);

	for (const char *p = query; p && *p; p = strchr(p, '&'), p = p ? p + 1 : NULL)
		if (!strncmp(p, key, len) && p[len] == '=')
			return !strncmp(p + len + 1, "true", 4) ? 1 :
			                                          strtoul(p + len + 1, NULL, 10);
	return fallback;
}

static void put_time(struct weir__buf *b, const char *key, int64_t wall_ns)
{
	time_t s = (time_t)(wall_ns / WEIR_SEC(1));
	char text[40];
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
	weir__buf_printf(b, "\"%s\":\"%s.%06dZ\",", key, text, (int)(wall_ns % WEIR_SEC(1) / 1000));
}

static void put_text(struct weir__buf *b, const char *key, const char *value)
{
	weir__buf_printf(b, "\"%s\":", key);
	weir__buf_json(b, value, strlen(value));
	weir__buf_byte(b, ',');
}

static void put_number(struct weir__buf *b, const char *key, uint64_t v)
{
	weir__buf_printf(b, "\"%s\":%llu,", key, (unsigned long long)v);
}

/* "1d2h3m4s", "5s" */
static void put_age(struct weir__buf *b, const char *key, int64_t ns)
{
	int64_t s = ns > 0 ? ns / WEIR_SEC(1) : 0;

	weir__buf_printf(b, "\"%s\":\"", key);
	if (s >= 86400)
		weir__buf_printf(b, "%lldd", (long long)(s / 86400));
	if (s >= 3600)
		weir__buf_printf(b, "%lldh", (long long)(s / 3600 % 24));
	if (s >= 60)
		weir__buf_printf(b, "%lldm", (long long)(s / 60 % 60));
	weir__buf_printf(b, "%llds\",", (long long)(s % 60));
}

static void put_end(struct weir__buf *b)
{
	if (b->len && b->data[b->len - 1] == ',')
		b->len--;
	weir__buf_byte(b, '}');
}

static void varz(weir_nats_server *n, struct weir__buf *b)
{
	const weir_nats_options *o = &n->opt;
	struct rusage use;
	weir_nats_stats s;
	int64_t up = weir_now() - n->started_ns;

	weir_nats_stats_get(n, &s);
	getrusage(RUSAGE_SELF, &use);
	weir__buf_byte(b, '{');
	put_text(b, "server_id", n->id);
	put_text(b, "server_name", n->name);
	put_text(b, "version", WEIR__NATS_VERSION);
	weir__buf_str(b, "\"proto\":1,");
	weir__buf_printf(b, "\"auth_required\":%s,", o->sign_in ? "true" : "false");
	weir__lock_acquire(&n->lock);
	if (!weir__list_empty(&n->serving)) {
		struct weir__nats_serving *sv =
			weir__container(n->serving.next, struct weir__nats_serving, link);

		put_text(b, "host", sv->host);
		put_number(b, "port", (uint64_t)sv->port);
		weir__buf_printf(b, "\"tls_required\":%s,", sv->tls ? "true" : "false");
	}
	weir__lock_release(&n->lock);
	put_number(b, "max_connections", o->max_conns);
	put_number(b, "max_subscriptions", o->max_subs);
	put_number(b, "ping_interval", (uint64_t)o->ping_ns);
	put_number(b, "ping_max", o->ping_max);
	put_number(b, "max_control_line", o->max_control_line);
	put_number(b, "max_payload", o->max_payload);
	put_number(b, "max_pending", o->max_pending);
	put_number(b, "write_deadline", (uint64_t)o->write_ns);
	weir__buf_printf(b, "\"auth_timeout\":%.3f,", (double)o->auth_ns / 1e9);
	put_time(b, "start", n->started_wall);
	put_time(b, "now", weir_wall());
	put_age(b, "uptime", up);
	put_number(b, "mem", (uint64_t)use.ru_maxrss * 1024);
	put_number(b, "cores", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	weir__buf_printf(b, "\"cpu\":%.1f,",
	                 100 *
	                         ((double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
	                          (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6) /
	                         (up > 0 ? (double)up / 1e9 : 1));
	put_number(b, "connections", s.conns);
	put_number(b, "total_connections", s.conns_total);
	weir__buf_str(b, "\"routes\":0,\"remotes\":0,\"leafnodes\":0,");
	put_number(b, "in_msgs", s.in_msgs);
	put_number(b, "out_msgs", s.out_msgs);
	put_number(b, "in_bytes", s.in_bytes);
	put_number(b, "out_bytes", s.out_bytes);
	put_number(b, "slow_consumers", s.slow);
	put_number(b, "stale_connections", s.stale);
	put_number(b, "subscriptions", s.subs);
	put_end(b);
}

static void put_conn(struct weir__nats_conn *c, struct weir__buf *b, bool subs)
{
	const char *peer = weir_conn_peer(c->io), *colon = strrchr(peer, ':');
	int64_t now = weir_now(), wall = weir_wall(), active, started = now - c->start_ns;
	const char *names[] = { "name", "lang", "version" };

	weir__buf_byte(b, '{');
	put_number(b, "cid", c->id);
	weir__buf_str(b, "\"kind\":\"Client\",\"type\":\"nats\",\"ip\":");
	weir__buf_json(b, peer, colon ? (size_t)(colon - peer) : strlen(peer));
	weir__buf_byte(b, ',');
	put_number(b, "port", colon ? strtoul(colon + 1, NULL, 10) : 0);
	weir__lock_acquire(&c->lock);
	active = __atomic_load_n(&c->active_ns, __ATOMIC_RELAXED);
	if (c->progress_ns > active)
		active = c->progress_ns;
	put_number(b, "pending_bytes", c->pending);
	put_number(b, "out_msgs", c->out_msgs);
	put_number(b, "out_bytes", c->out_bytes);
	put_number(b, "subscriptions", c->sub_count);
	if (c->rights)
		put_text(b, "authorized_user", c->rights->name);
	for (const char *p = c->client, **name = names; p && name < names + 3;
	     p += strlen(p) + 1, name++)
		if (*p)
			put_text(b, *name, p);
	weir__lock_release(&c->lock);
	put_number(b, "in_msgs", __atomic_load_n(&c->in_msgs, __ATOMIC_RELAXED));
	put_number(b, "in_bytes", __atomic_load_n(&c->in_bytes, __ATOMIC_RELAXED));
	put_time(b, "start", wall - started);
	put_time(b, "last_activity", wall - (now - active));
	put_age(b, "uptime", started);
	put_age(b, "idle", now - active);
	if (subs) {
		weir__buf_str(b, "\"subscriptions_list\":[");
		weir__nats_subs_json(c, b);
		weir__buf_str(b, "],");
	}
	put_end(b);
}

static void connz(weir_nats_server *n, const char *query, struct weir__buf *b)
{
	size_t limit = query_number(query, "limit", LIMIT_DEFAULT);
	size_t offset = query_number(query, "offset", 0), seen = 0, shown = 0;
	uint64_t only = query_number(query, "cid", 0);
	bool subs = query_number(query, "subs", 0);
	struct weir__buf list = WEIR__BUF_INIT;
	weir_nats_stats s;

	if (limit > LIMIT_MAX)
		limit = LIMIT_MAX;
	weir_nats_stats_get(n, &s);
	for (int i = 0; i < __atomic_load_n(&n->worker_count, __ATOMIC_ACQUIRE); i++) {
		struct weir__nats_worker *w = &n->workers[i];

		weir__lock_acquire(&w->lock);
		weir__list_each (l, &w->conns) {
			struct weir__nats_conn *c =
				weir__container(l, struct weir__nats_conn, link);

			if (only && c->id != only)
				continue;
			if (seen++ < offset || shown == limit)
				continue;
			if (shown++)
				weir__buf_byte(&list, ',');
			put_conn(c, &list, subs);
		}
		weir__lock_release(&w->lock);
	}
	weir__buf_byte(b, '{');
	put_text(b, "server_id", n->id);
	put_time(b, "now", weir_wall());
	put_number(b, "num_connections", shown);
	put_number(b, "total", s.conns);
	put_number(b, "offset", offset);
	put_number(b, "limit", limit);
	weir__buf_str(b, "\"connections\":[");
	weir__buf_add(b, list.data, list.len);
	weir__buf_str(b, "]}");
	b->failed |= list.failed;
	weir__buf_free(&list);
}

static void subsz(weir_nats_server *n, struct weir__buf *b)
{
	uint64_t hits = 0, misses = 0;

	for (int i = 0; i < __atomic_load_n(&n->worker_count, __ATOMIC_ACQUIRE); i++) {
		hits += __atomic_load_n(&n->workers[i].hits, __ATOMIC_RELAXED);
		misses += __atomic_load_n(&n->workers[i].misses, __ATOMIC_RELAXED);
	}
	weir__buf_byte(b, '{');
	put_text(b, "server_id", n->id);
	put_time(b, "now", weir_wall());
	put_number(b, "num_subscriptions", __atomic_load_n(&n->subs, __ATOMIC_RELAXED));
	put_number(b, "num_inserts", __atomic_load_n(&n->inserts, __ATOMIC_RELAXED));
	put_number(b, "num_removes", __atomic_load_n(&n->removes, __ATOMIC_RELAXED));
	put_number(b, "num_matches", hits + misses);
	weir__buf_printf(b, "\"cache_hit_rate\":%.4f}",
	                 hits ? (double)hits / (double)(hits + misses) : 0.0);
}

int weir_nats_monitor(weir_nats_server *n, const char *what, const char *query, char **ret)
{
	struct weir__buf b = WEIR__BUF_INIT;

	weir__magic_check(n, WEIR__NATS_SERVER_MAGIC);
	if (!strcmp(what, "varz"))
		varz(n, &b);
	else if (!strcmp(what, "connz"))
		connz(n, query, &b);
	else if (!strcmp(what, "subsz"))
		subsz(n, &b);
	else
		return -ENOENT;
	if (b.failed) {
		weir__buf_free(&b);
		return -ENOMEM;
	}
	*ret = b.data;
	return 0;
}
