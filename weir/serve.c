/* SPDX-License-Identifier: MIT */
/*
 * `weir serve`: what is started, in which order, and what the exit status says.
 *
 * Before tasks run: the data directory with its lock, the token file. Then, as services of one
 * weir_server, each opened before and closed after those below it here: the channel of job changes,
 * the bus, the store (whose clean close writes the spool), the task that publishes changes, the
 * streams; last the connections. The server's report is the last thing that is said.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "handlers.h"
#include "base/log.h"
#include "queue/remote.h"

enum { JANSSON_SEED = 0x77656972 };

/* ---- Services ---- */
static int open_bus(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;

	int r;

	if (app->opt->nats && strcmp(app->opt->bus, "mem:")) {
		weir__log(WEIR__ERROR, "bus",
		          "--nats serves the bus of this process; with --bus NATS clients connect "
		          "to the cluster itself");
		return -EINVAL;
	}
	r = weir_bus_open(ctx, app->opt->bus, &app->bus);
	if (r < 0 && strcmp(app->opt->bus, "mem:"))
		weir__log(WEIR__ERROR, "bus", "no bus over the NATS cluster of --bus: %s",
		          r == -ECONNREFUSED ? "none of its servers can be reached" : strerror(-r));
	return r;
}

static int close_bus(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;

	return weir_bus_drain_report(ctx, app->bus, &app->bus_last);
}

static int report_bus(char *buf, size_t n, void *arg)
{
	struct app *app = arg;
	const weir_bus_report *r = &app->bus_last;

	return snprintf(buf, n, "%llu messages handled at the end, %llu dropped, %llu not sent",
	                (unsigned long long)r->handled, (unsigned long long)r->dropped,
	                (unsigned long long)r->unsent);
}

static int configure(const weir_ctx *ctx, struct app *app)
{
	const struct options *o = app->opt;
	int r = 0;

	for (size_t i = 0; r == 0 && i < o->nqueues; i++) {
		weir_queue_settings set = o->queues[i].set;
		weir_queue_info last;

		/* A queue that somebody paused stays paused over a restart. */
		if (weir_queue_info_get(app->store, o->queues[i].name, &last) == 0)
			set.paused |= last.set.paused;
		r = weir_queue_configure(ctx, app->store, o->queues[i].name, &set);
		if (r == -EOPNOTSUPP)
			weir__log(WEIR__ERROR, "queue",
			          "cannot set up queue %s: its durability, rate, concurrency or "
			          "paused is more than %s can do (weir queues --engines)",
			          o->queues[i].name, store_name(app));
		else if (r < 0)
			weir__log(WEIR__ERROR, "queue", "cannot set up queue %s: %s",
			          o->queues[i].name, strerror(-r));
	}
	for (size_t i = 0; r == 0 && i < o->ncrons; i++) {
		const struct cron_config *c = &o->crons[i];
		const char *payload = c->payload ? c->payload : "";

		r = weir_cron_put(ctx, app->store, c->name, c->schedule, c->queue, payload,
		                  strlen(payload));
		if (r < 0)
			weir__log(WEIR__ERROR, "queue", "cannot set up cron %s: %s", c->name,
			          r == -EOPNOTSUPP ? "the engine has none (weir queues --engines)" :
			                             strerror(-r));
	}
	return r;
}

/* NULL without memory. */
static char *store_url(const struct options *o)
{
	char *url;
	int n;

	if (!strcmp(o->store, "mem"))
		return strdup("mem:");
	if (strstr(o->store, "://"))
		return strdup(o->store);
	if (!strcmp(o->store, "sqlite"))
		n = asprintf(&url, "sqlite:%s/jobs.db", o->data);
	else
		n = asprintf(&url, "sqlite:%s", o->store);
	return n < 0 ? NULL : url;
}

/* Jobs are not lost without a word when somebody changes the kind of store. */
static void warn_of_file(const char *data)
{
	char *file = datadir_file(data, "jobs.db");

	if (file && access(file, F_OK) == 0)
		weir__log(WEIR__WARN, "queue",
		          "%s holds a durable store, which is not served with --store mem; it is "
		          "left "
		          "as it is",
		          file);
	free(file);
}

static int open_store(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;
	const struct options *o = app->opt;
	char *spool = datadir_file(o->data, "spool");
	weir_store_options opt = { .queue_max = o->queue_max,
		                   .queue_bytes = o->queue_bytes,
		                   .memory_max = o->memory_max,
		                   .queues_max = o->queues_max,
		                   .finished_max = o->finished_max,
		                   .finished_ns = o->finished_keep_ns,
		                   .idempotency_ns = o->idempotency_window_ns,
		                   .spool = spool };
	char *url = store_url(o), *spill = NULL;
	int r = -ENOMEM;

	if (o->spill && asprintf(&spill, "sqlite:%s/spill.db", o->data) < 0)
		spill = NULL;
	opt.spill = spill;
	if (!strcmp(o->store, "mem"))
		warn_of_file(o->data);
	if (o->spill && !strstr(o->store, "://")) {
		weir__log(WEIR__ERROR, "queue", "--spill is for a --store that is an engine's URL");
		r = -EINVAL;
	} else if (spool && url && (spill || !o->spill))
		r = weir_store_open(ctx, url, &opt, &app->store);
	if (r == -EPROTONOSUPPORT)
		weir__log(WEIR__ERROR, "queue", "this weir was built without %s",
		          url ? weir__engine_row_of(url)->name : "it");
	if (r == -ECONNREFUSED)
		weir__log(WEIR__ERROR, "queue", "the engine of --store cannot be reached");
	if (r == -EIO || r == -EBADMSG)
		weir__log(WEIR__ERROR, "queue",
		          "the jobs of the last run cannot be read; what holds them was left as it "
		          "is");
	free(url);
	free(spool);
	free(spill);
	if (r < 0)
		return r;
	weir_store_listen(app->store, events_listen, app);
	weir_store_listen_when(app->store, events_wanted);
	r = configure(ctx, app);
	if (r < 0)
		(void)weir_store_close(ctx, app->store, NULL);
	return r;
}

/* Jobs that this process has to keep; an engine's are the engine's. */
static int count_held(const weir_queue_info *q, void *arg)
{
	size_t *n = arg;

	for (enum weir_durability d = WEIR_FSYNC; d <= WEIR_MEMORY; d++)
		if (!strcmp(q->durability, weir_durability_name(d)))
			*n += q->queued + q->delayed + q->running;
	return 0;
}

static int close_store(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;
	size_t held = 0;
	int r;

	(void)weir_queue_each(app->store, count_held, &held);
	r = weir_store_close(ctx, app->store, &app->spooled);
	if (r < 0 && held > app->spooled)
		app->unkept = held - app->spooled;
	return r;
}

static int report_store(char *buf, size_t n, void *arg)
{
	struct app *app = arg;
	char unkept[64] = "";

	if (app->unkept)
		snprintf(unkept, sizeof unkept, ", %zu could not be kept", app->unkept);
	return snprintf(buf, n,
	                "%llu finished, %llu failed, %llu returned, %zu kept for the next start%s",
	                (unsigned long long)__atomic_load_n(&app->finished, __ATOMIC_RELAXED),
	                (unsigned long long)__atomic_load_n(&app->failed, __ATOMIC_RELAXED),
	                (unsigned long long)__atomic_load_n(&app->returned, __ATOMIC_RELAXED),
	                app->spooled, unkept);
}

static int add_services(struct app *app)
{
	weir_service services[] = {
		events_channel_service,
		{ .name = "bus", .open = open_bus, .close = close_bus, .report = report_bus },
		nats_service,
		{ .name = "jobs",
		  .open = open_store,
		  .close = close_store,
		  .report = report_store },
		events_service,
		streams_service,
		reload_service,
		runners_service,
		bus_work_service,
	};

	for (size_t i = 0; i < sizeof services / sizeof *services; i++) {
		int r;

		services[i].arg = app;
		r = weir_server_add(app->server, &services[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- Listening ---- */
/* Can other machines reach it? */
static bool is_public(const char *addr)
{
	static const char *const local[] = { "127.", "[::1]:", "localhost:", "unix:", "mem:" };

	for (size_t i = 0; i < sizeof local / sizeof *local; i++)
		if (!strncmp(addr, local[i], strlen(local[i])))
			return false;
	return true;
}

static void warn_if_open(const struct options *o, const char *addr)
{
	if (is_public(addr) && !o->token_file)
		weir__log(WEIR__WARN, "server",
		          "%s is reachable from other machines and asks for no token; see "
		          "--token-file",
		          addr);
}

static int listen_nats(struct app *app)
{
	const struct options *o = app->opt;
	char addr[256];
	int r;

	if (!o->nats)
		return 0;
	snprintf(addr, sizeof addr, "nats://%s", o->nats);
	r = weir_server_listen(app->server, addr);
	if (r < 0)
		weir__log(WEIR__ERROR, "server", "cannot listen on %s: %s", addr, strerror(-r));
	else if (is_public(o->nats) && !o->token_file)
		weir__log(WEIR__WARN, "server",
		          "%s is reachable from other machines and asks for no token; see "
		          "--token-file",
		          addr);
	return r;
}

static int listen_all(struct app *app)
{
	const struct options *o = app->opt;
	int r;

	weir_server_tls(app->server, app->tls);
	r = weir_server_listen_inherited(app->server);
	if (r < 0) {
		weir__log(WEIR__ERROR, "server", "cannot take over what LISTEN_FDS names: %s",
		          strerror(-r));
		return r;
	}
	for (int i = 0; i < r; i++)
		warn_if_open(o, weir_server_addr(app->server, (size_t)i));
	if (r > 0 && !o->listen_given)
		return 0;
	for (size_t i = 0; i < o->listens; i++) {
		r = weir_server_listen(app->server, o->listen[i]);
		if (r < 0) {
			weir__log(WEIR__ERROR, "server", "cannot listen on %s: %s", o->listen[i],
			          r == -EINVAL ? "not an address such as 127.0.0.1:8080, :8080 or "
			                         "unix:PATH" :
			                         strerror(-r));
			return r;
		}
		warn_if_open(o, o->listen[i]);
	}
	return 0;
}

static bool unix_socket(const char *addr)
{
	return !strncmp(addr, "unix", 4);
}

static void on_step(const char *step, void *arg)
{
	struct app *app = arg;
	const char *addr;

	if (!strcmp(step, "drain")) {
		__atomic_store_n(&app->stopping, true, __ATOMIC_RELEASE);
		weir_store_drain(app->store);
	}
	if (strcmp(step, "ready"))
		return;
	for (size_t i = 0; (addr = weir_server_addr(app->server, i)) != NULL; i++)
		weir__log(WEIR__INFO, "server", "listening on %s%s%s",
		          unix_socket(addr) ? "" : weir_server_protocol(app->server, i),
		          unix_socket(addr) ? "" : "://", addr);
}

/* ---- The program ---- */
int serve(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;
	const struct options *o = app->opt;
	weir_server_options opt = {
		.http = { .header_ns = o->header_ns,
		          .idle_ns = o->idle_ns,
		          .read_ns = o->read_ns,
		          .write_ns = o->write_ns,
		          .handler_ns = o->handler_ns,
		          .body_max = o->body_max,
		          .bodies_max = o->bodies_max,
		          .conns_max = o->conns_max },
		.drain_wait_ns = o->drain_wait_ns,
	};
	int r;

	app->started_at = weir_wall();
	app->leases = leases_new(app);
	app->server = weir_server_new(&opt);
	if (!app->leases || !app->server) {
		r = -ENOMEM;
		goto out;
	}
	weir_server_on_step(app->server, on_step, app);
	r = add_services(app);
	if (r == 0)
		r = api_install(app);
	if (r == 0)
		r = listen_all(app);
	if (r == 0)
		r = listen_nats(app);
	if (r == 0)
		r = weir_server_run(ctx, app->server);
out:
	weir_server_free(app->server);
	leases_free(app->leases);
	if (r < 0)
		weir__log(WEIR__ERROR, "server", "cannot serve: %s", strerror(-r));
	return r < 0 ? EXIT_FAILED : r;
}

/* A server of many connections should not end at the shell's 1024 descriptors. */
static void raise_descriptors(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &l);
	}
}

int cmd_serve(const struct options *o)
{
	struct app app = { .opt = o };
	weir_options rt = {
		.workers = o->workers, .grace_ns = o->grace_ns, .signals = true, .forced_ok = true
	};
	unsigned char secret[32];
	int r;

	weir__log_set(o->log_debug ? WEIR__DEBUG : WEIR__INFO,
	              o->log_json ? WEIR__LOG_JSON : WEIR__LOG_TEXT);
	json_object_seed(
		JANSSON_SEED ^
		(size_t)weir_wall()); /* Else the first object read would open a file in a task. */
	raise_descriptors();
	reload_block();
	r = datadir_open(o->data);
	if (r == 0)
		r = datadir_secret(o->data, secret);
	if (r < 0)
		return EXIT_FAILED;
	if (o->token_file) {
		app.auth = auth_load(o->token_file, secret, &r);
		if (!app.auth)
			return EXIT_FAILED;
	}
	r = serve_tls_open(o, &app.tls);
	if (r == 0)
		r = runners_new(&app);
	if (r == 0)
		r = weir_run(&rt, serve, &app);
	runners_free(&app);
	weir_tls_free(app.tls);
	auth_free(app.auth);
	return r < 0 ? EXIT_FAILED : r;
}
