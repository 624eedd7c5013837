/* SPDX-License-Identifier: MIT */
/*
 * The frame of a client subcommand, and its calls.
 *
 * Standard input and output may belong to somebody slow, so they are read and written by the
 * offload pool with poll(2) beside an eventfd: the end of the context rings that, and the wait is
 * over.
 */
#include "bus_cmds.h"
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/log.h"

enum { ANSWER_MAX = 64 << 20, TOKEN_MAX = 4096 };

/* ---- Standard input and output ---- */

struct transfer {
	int fd, bell;
	bool write;
	char *data;
	size_t n;
};

static int transfer(void *arg)
{
	struct transfer *t = arg;
	size_t done = 0;
	ssize_t n;

	while (done < t->n) {
		struct pollfd fds[] = { { .fd = t->fd,
			                  .events = (short)(t->write ? POLLOUT : POLLIN) },
			                { .fd = t->bell, .events = POLLIN } };

		if (poll(fds, 2, -1) < 0) /* offloaded */
			return errno == EINTR ? 0 : -errno;
		if (fds[1].revents)
			return -EINTR;
		/* A write to a pipe that is ready takes at least PIPE_BUF without blocking, and no
		 * more is promised. */
		if (t->write)
			n = write(t->fd, t->data + done, t->n - done < 4096 ? t->n - done : 4096);
		else
			return (n = read(t->fd, t->data, t->n)) < 0 ? -errno : (int)n;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return (int)done;
}

static void ring(void *arg)
{
	struct transfer *t = arg;

	(void)eventfd_write(t->bell, 1);
}

static int run_transfer(const weir_ctx *ctx, struct transfer *t)
{
	int r;

	t->bell = eventfd(0, EFD_CLOEXEC);
	if (t->bell < 0)
		return -errno;
	r = weir_offload_interruptible(ctx, transfer, t, ring);
	if (r == -EINTR)
		r = weir_ctx_err(ctx) < 0 ? weir_ctx_err(ctx) : -EINTR;
	close(t->bell);
	return r;
}

ssize_t client_read(const weir_ctx *ctx, int fd, void *buf, size_t n)
{
	struct transfer t = { .fd = fd, .data = buf, .n = n };

	return run_transfer(ctx, &t);
}

int client_flush(const weir_ctx *ctx, struct client *c)
{
	struct transfer t = {
		.fd = STDOUT_FILENO, .write = true, .data = c->out.data, .n = c->out.len
	};
	int r;

	if (!c->out.len)
		return 0;
	r = run_transfer(ctx, &t);
	weir__buf_clear(&c->out);
	if (r == -EPIPE)
		return EXIT_FAILED; /* Who read has left, and knows it. */
	return r < 0 ? client_say_error(c, r) : 0;
}

int client_payload(const struct options *o, int arg, struct weir__buf *ret)
{
	char chunk[16384];
	ssize_t n;

	if (o->nargs > arg && strcmp(o->args[arg], "-")) {
		weir__buf_str(ret, o->args[arg]);
		return 0;
	}
	if (isatty(STDIN_FILENO))
		fputs("weir: reading the payload from the terminal; Ctrl-D ends it\n", stderr);
	while ((n = read(STDIN_FILENO, chunk, sizeof chunk)) > 0) {
		weir__buf_add(ret, chunk, (size_t)n);
		if (ret->failed || ret->len > ANSWER_MAX) {
			fputs("weir: the payload is too large\n", stderr);
			return EXIT_FAILED;
		}
	}
	if (n < 0) {
		fprintf(stderr, "weir: standard input: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	return 0;
}

/* ---- Opening ---- */

char *client_header(const char *name, const char *value)
{
	struct weir__buf b = WEIR__BUF_INIT;

	weir__buf_printf(&b, "%s: %s", name, value ? value : "");
	if (!b.failed)
		return b.data;
	weir__buf_free(&b);
	return NULL;
}

/* The first line of a file. */
static int read_token(const char *path, char token[TOKEN_MAX])
{
	FILE *f = fopen(path, "re"); /* nothing else runs yet */
	size_t n;

	if (!f || !fgets(token, TOKEN_MAX, f)) {
		fprintf(stderr, "weir: --token-path %s: %s\n", path,
		        f && feof(f) ? "it is empty" : strerror(errno));
		if (f)
			fclose(f);
		return EXIT_USAGE;
	}
	fclose(f);
	n = strcspn(token, "\r\n");
	token[n] = 0;
	for (size_t i = 0; i < n; i++)
		if (token[i] <= ' ' || token[i] == 0x7f) {
			fprintf(stderr,
			        "weir: --token-path %s: a token has no spaces or control "
			        "characters\n",
			        path);
			return EXIT_USAGE;
		}
	return 0;
}

/* For https: 0 or an exit status. */
static int open_tls(struct client *c, const struct options *o)
{
	weir_tls_pair pair = { o->client_cert, o->client_key };
	weir_tls_options opt = { .ca = o->ca, .insecure = o->insecure };
	static const char *const h2[] = { "h2", NULL };
	int r;

	if (strncmp(o->server, "https:", 6) && strncmp(o->server, "grpcs:", 6))
		return 0;
	if (o->server[0] == 'g')
		opt.alpn = h2;
	if (!o->client_cert != !o->client_key) {
		fputs("weir: --client-cert and --client-key go together\n", stderr);
		return EXIT_USAGE;
	}
	if (o->client_cert) {
		opt.pairs = &pair;
		opt.pairs_n = 1;
	}
	r = weir_tls_new(&opt, &c->tls);
	if (r == -EOPNOTSUPP)
		fputs("weir: built without TLS\n", stderr);
	else if (r < 0)
		fprintf(stderr, "weir: cannot use TLS as asked for: %s\n", strerror(-r));
	return r == 0 ? 0 : r == -ENOMEM ? EXIT_FAILED : EXIT_USAGE;
}

bool client_is_nats(const struct options *o)
{
	return !strncmp(o->server, "nats://", 7) || !strncmp(o->server, "tls://", 6);
}

static bool names_grpc(const struct options *o)
{
	return !strncmp(o->server, "grpc://", 7) || !strncmp(o->server, "grpcs://", 8);
}

static const char *const grpc_commands[] = { "enqueue", "publish", "request", "subscribe", "work" };
static const char *const nats_commands[] = { "publish", "subscribe", "request", "reply" };

/* What --server shows of it to others: no password. */
static const char *shown(const struct options *o)
{
	const char *at = strrchr(o->server, '@');

	return client_is_nats(o) && at ? at + 1 : o->server;
}

static bool is_one_of(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

/* The rest asks for what weir.v1 has no method for: over HTTP/2 then, on the same port. */
bool client_is_grpc(const struct options *o)
{
	return names_grpc(o) && is_one_of(o->command->name, grpc_commands,
	                                  sizeof grpc_commands / sizeof *grpc_commands);
}

static int http_open(struct client *c)
{
	const char *server = c->o->server;
	struct weir__buf b = WEIR__BUF_INIT;
	int r;

	if (names_grpc(c->o))
		weir__buf_printf(&b, "%s%s", server[4] == 's' ? "https2" : "http2",
		                 strstr(server, "://"));
	r = b.failed ? -ENOMEM : weir_http_client_new(b.data ? b.data : server, &c->http);
	weir__buf_free(&b);
	if (r == 0)
		weir_http_client_tls(c->http, c->tls);
	return r;
}

static int client_open(struct client *c, const struct options *o)
{
	const char *token = o->token;
	char line[TOKEN_MAX], *auth = NULL;
	int r;

	*c = (struct client){ .o = o };
	if (client_is_nats(o)) {
		if (is_one_of(o->command->name, nats_commands,
		              sizeof nats_commands / sizeof *nats_commands))
			return 0;
		fprintf(stderr,
		        "weir: %s asks a weir server; to a NATS cluster only publish, subscribe, "
		        "request and reply speak\n",
		        o->command->name);
		return EXIT_USAGE;
	}
	if (!token && o->token_path) {
		r = read_token(o->token_path, line);
		if (r)
			return r;
		token = line;
	}
	r = open_tls(c, o);
	if (r)
		return r;
	r = names_grpc(o) ? 0 : http_open(c); /* HTTP/2 begins in a task. */
	if (r < 0) {
		weir_tls_free(c->tls);
		fprintf(stderr, "weir: --server %s: %s\n", o->server, strerror(-r));
		return r == -ENOMEM ? EXIT_FAILED : EXIT_USAGE;
	}
	if (token) {
		struct weir__buf b = WEIR__BUF_INIT;

		weir__buf_printf(&b, "authorization: Bearer %s", token);
		auth = b.data;
	}
	c->auth = auth;
	return 0;
}

int client_copy(struct client *c, const struct client *from)
{
	int r;

	*c = (struct client){ .o = from->o,
		              .subject = from->subject,
		              .tty = from->tty,
		              .color = from->color,
		              .tls = from->tls,
		              .arg = from->arg };
	c->bus = from->bus;
	if (c->bus)
		return 0;
	r = from->grpc ? grpc_open(c) : http_open(c);
	if (r < 0)
		return r;
	c->auth = from->auth ? strdup(from->auth) : NULL;
	if (c->auth || !from->auth)
		return 0;
	client_close(c);
	return -ENOMEM;
}

void client_close(struct client *c)
{
	grpc_close(c);
	weir_http_client_free(c->http);
	free(c->auth);
	weir__buf_free(&c->out);
	*c = (struct client){ 0 };
}

#define CONNECT_NS WEIR_SEC(10)

struct frame {
	struct client c;
	client_fn *fn;
};

static int root(const weir_ctx *ctx, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_ctx soon = weir_ctx_timeout(&live, CONNECT_NS);
	struct frame *f = arg;
	int r;

	if (client_is_nats(f->c.o)) {
		r = weir_bus_open(&soon, f->c.o->server, &f->c.bus);
		if (r < 0)
			return client_say_error(&f->c, r);
	}
	if (names_grpc(f->c.o)) {
		r = client_is_grpc(f->c.o) ? grpc_open(&f->c) : http_open(&f->c);
		if (r < 0)
			return r == -EOPNOTSUPP ? EXIT_USAGE : client_say_error(&f->c, r);
	}
	r = f->fn(ctx, &f->c);
	grpc_close(&f->c);
	if (f->c.bus) {
		soon = weir_ctx_timeout(ctx, CONNECT_NS);
		if (weir_bus_drain(&soon, f->c.bus) < 0 && !r && weir_ctx_err(ctx) == 0)
			r = client_say_error(&f->c, -ENOTCONN);
		f->c.bus = NULL;
	}
	/* A connection is closed where it was opened: by a task. */
	weir_http_client_free(f->c.http);
	f->c.http = NULL;
	return r;
}

int client_run(const struct options *o, client_fn *fn, void *arg)
{
	weir_options opt = {
		.workers = 1, .signals = true, .forced_ok = true, .grace_ns = o->grace_ns
	};
	const char *no_color = getenv("NO_COLOR");
	struct frame f = { .fn = fn };
	int r;

	/* That a signal asks us to end is no news for who sent it. */
	weir__log_set(WEIR__WARN, WEIR__LOG_PLAIN);
	r = client_open(&f.c, o);
	if (r)
		return r;
	f.c.arg = arg;
	f.c.tty = isatty(STDOUT_FILENO);
	f.c.color = f.c.tty && !(no_color && *no_color);
	r = weir_run(&opt, root, &f);
	if (r < 0)
		r = client_say_error(&f.c, r);
	if (f.c.out.len && fwrite(f.c.out.data, 1, f.c.out.len, stdout) < f.c.out.len && !r)
		r = EXIT_FAILED;
	if (fflush(stdout) && !r)
		r = EXIT_FAILED;
	weir_tls_free(f.c.tls);
	client_close(&f.c);
	return r;
}

/* ---- Calling ---- */

static int read_body(const weir_ctx *ctx, struct client *c, struct weir__buf *body)
{
	ssize_t n;

	do {
		if (!weir__buf_reserve(body, 16384))
			return -ENOMEM;
		n = weir_http_client_read(ctx, c->http, body->data + body->len, 16384);
		if (n > 0)
			body->len += (size_t)n;
		if (body->len > ANSWER_MAX)
			return -EMSGSIZE;
	} while (n > 0);
	body->data[body->len] = 0;
	return (int)n;
}

/* How deep brackets go, at most: those inside of strings are counted too. */
static unsigned depth_of(const struct weir__buf *b)
{
	unsigned depth = 0, deepest = 0;

	for (size_t i = 0; i < b->len; i++) {
		if (b->data[i] == '{' || b->data[i] == '[')
			depth++;
		else if ((b->data[i] == '}' || b->data[i] == ']') && depth)
			depth--;
		deepest = depth > deepest ? depth : deepest;
	}
	return deepest;
}

struct parse {
	const struct weir__buf *text;
	json_t *json;
};

static int parse(void *arg)
{
	struct parse *p = arg;

	p->json = json_loadb(p->text->data, p->text->len, JSON_ALLOW_NUL, NULL);
	return 0;
}

static void no_interrupt(void *arg)
{
	(void)arg; /* Parsing ends soon by itself. */
}

/* jansson recurses, and a task's stack is small: what might go deep is parsed by the offload
 * pool. */
static json_t *parse_json(const weir_ctx *ctx, const struct weir__buf *b)
{
	struct parse p = { .text = b };

	if (depth_of(b) <= 32)
		(void)parse(&p);
	else
		(void)weir_offload_interruptible(ctx, parse, &p, no_interrupt);
	return p.json;
}

static void make_request(const struct client *c, const struct request *q,
                         const char *headers[CLIENT_HEADERS + 2], weir_http_req *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < CLIENT_HEADERS && q->headers[i]; i++)
		headers[n++] = q->headers[i];
	if (c->auth)
		headers[n++] = c->auth;
	headers[n] = NULL;
	*ret = (weir_http_req){ .method = q->method,
		                .target = q->target,
		                .headers = headers,
		                .body = q->body,
		                .body_len = q->len };
}

int client_exchange(const weir_ctx *ctx, struct client *c, const struct request *q,
                    struct answer *a)
{
	weir_ctx soon = weir_ctx_timeout(ctx, q->timeout_ns ? q->timeout_ns : WEIR_SEC(30));
	const char *headers[CLIENT_HEADERS + 2], *type;
	weir_http_req req;
	weir_http_res res;
	int r;

	*a = (struct answer){ .body = WEIR__BUF_INIT };
	make_request(c, q, headers, &req);
	r = weir_http_client_do(&soon, c->http, &req, &res);
	if (r < 0)
		return r;
	r = read_body(&soon, c, &a->body);
	if (r < 0)
		return r;
	a->status = res.status;
	type = weir_http_client_header(c->http, "content-type");
	if (type && (!strncmp(type, "application/json", 16) ||
	             !strncmp(type, "application/problem+json", 24)))
		a->json = parse_json(ctx, &a->body);
	return 0;
}

void answer_free(struct answer *a)
{
	json_decref(a->json);
	weir__buf_free(&a->body);
	a->json = NULL;
}

int client_call(const weir_ctx *ctx, struct client *c, const struct request *q, struct answer *a)
{
	int r = client_exchange(ctx, c, q, a);

	if (r < 0)
		return client_say_error(c, r);
	if (a->status / 100 != 2)
		return client_say_refusal(c, a);
	return 0;
}

int client_stream(const weir_ctx *ctx, struct client *c, const char *target, const char *last_id,
                  int64_t timeout_ns)
{
	weir_ctx soon = weir_ctx_timeout(ctx, timeout_ns);
	char *last = last_id ? client_header("last-event-id", last_id) : NULL;
	const char *headers[CLIENT_HEADERS + 2];
	struct request q = { .method = "GET",
		             .target = target,
		             .headers = { "accept: text/event-stream", last } };
	weir_http_req req;
	weir_http_res res;
	int r;

	make_request(c, &q, headers, &req);
	r = weir_http_client_do(&soon, c->http, &req, &res);
	free(last);
	return r < 0 ? r : res.status;
}

int client_pause(const weir_ctx *ctx, unsigned *tries, int64_t at_least_ns)
{
	int64_t ns = WEIR_MS(250) << (*tries < 6 ? *tries : 6);

	++*tries;
	ns = ns > WEIR_SEC(10) ? WEIR_SEC(10) : ns;
	ns = ns < at_least_ns ? at_least_ns : ns;
	return weir_sleep(ctx, ns / 2 + (int64_t)((double)ns * (double)weir_random(1000) / 1000));
}

/* ---- Saying what went wrong ---- */

int client_say_error(const struct client *c, int error)
{
	const char *server = shown(c->o);
	char why[200];

	switch (error) {
	case -EKEYREJECTED:
		weir_tls_why(c->tls, why, sizeof why);
		fprintf(stderr, "weir: %s is not trusted: %s; --ca FILE names whom to trust\n",
		        server, why);
		return EXIT_NO_SERVER;
	case -EPROTO:
		fprintf(stderr, "weir: no TLS with %s\n", server);
		return EXIT_NO_SERVER;
	case -ECONNREFUSED:
	case -ENOENT:
		fprintf(stderr,
		        "weir: no server at %s; `weir serve` starts one, --server or WEIR_SERVER "
		        "names another\n",
		        server);
		return EXIT_NO_SERVER;
	case -EHOSTUNREACH:
	case -ENETUNREACH:
	case -ECONNRESET:
	case -EPIPE:
	case -EACCES:
		fprintf(stderr, "weir: no server at %s: %s\n", server, strerror(-error));
		return EXIT_NO_SERVER;
	case -ETIMEDOUT:
		fprintf(stderr, "weir: the server at %s did not answer in time\n", server);
		return EXIT_NO_SERVER;
	case -EBADMSG:
		fprintf(stderr, "weir: what answers at %s is no weir server\n", server);
		return EXIT_NO_SERVER;
	case -ECANCELED:
	case -ESHUTDOWN:
		fputs("weir: interrupted\n", stderr);
		return EXIT_FAILED;
	default:
		fprintf(stderr, "weir: %s\n", strerror(-error));
		return EXIT_FAILED;
	}
}

int client_say_refusal(const struct client *c, const struct answer *a)
{
	const char *detail = get_text(a->json, "detail"), *after = NULL;

	if (!*detail)
		detail = get_text(a->json, "title");
	if (a->status == 503)
		after = weir_http_client_header(c->http, "retry-after");
	if (a->status == 401)
		fprintf(stderr,
		        "weir: the server asks for a token: WEIR_TOKEN or --token-path FILE "
		        "(401%s%s)\n",
		        *detail ? ": " : "", detail);
	else
		fprintf(stderr, "weir: %s%s%s (%d%s%s%s)\n", c->subject ? c->subject : "",
		        c->subject ? ": " : "", *detail ? detail : "the server refused", a->status,
		        after ? ", try again in " : "", after ? after : "", after ? " s" : "");
	return EXIT_FAILED;
}

/* ---- JSON and names ---- */

void put_shown(struct client *c, const void *data, size_t n)
{
	const unsigned char *p = data;
	bool valid;

	if (!c->tty) {
		weir__buf_add(&c->out, data, n);
		return;
	}
	valid = weir__utf8_valid(data, n);
	for (size_t i = 0; i < n; i++) {
		bool c1 = valid && i + 1 < n && p[i] == 0xc2 &&
		          p[i + 1] < 0xa0; /* U+0080 to U+009F */

		if ((p[i] < 0x20 && p[i] != '\n' && p[i] != '\t') || p[i] == 0x7f || c1 ||
		    (!valid && p[i] >= 0x80))
			weir__buf_byte(&c->out, '.');
		else
			weir__buf_byte(&c->out, (char)p[i]);
		i += c1;
	}
	if (n && p[n - 1] != '\n')
		weir__buf_byte(&c->out, '\n');
}

void put_escaped(struct weir__buf *b, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		    (*p >= '0' && *p <= '9') || strchr("-._~", *p))
			weir__buf_byte(b, (char)*p);
		else
			weir__buf_printf(b, "%%%02X", *p);
	}
}

int get_bytes(const json_t *object, const char *name, struct weir__buf *ret)
{
	const json_t *plain = json_object_get(object, name);
	char coded[48];

	if (json_is_string(plain)) {
		weir__buf_add(ret, json_string_value(plain), json_string_length(plain));
		return ret->failed ? -ENOMEM : 0;
	}
	snprintf(coded, sizeof coded, "%s_base64", name);
	plain = json_object_get(object, coded);
	if (!json_is_string(plain))
		return -ENOENT;
	return weir__base64_decode(ret, json_string_value(plain), json_string_length(plain));
}

const char *get_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

json_int_t get_int(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

int need_queue(const char *name)
{
	if (weir_queue_name_valid(name))
		return 0;
	fprintf(stderr,
	        "weir: \"%s\" is not a queue's name: 1 to 64 of A-Z a-z 0-9 . _ -, and no dot "
	        "first\n",
	        name);
	return EXIT_USAGE;
}

int need_subject(const char *subject, bool wildcards)
{
	if (weir_subject_valid(subject, wildcards))
		return 0;
	if (!wildcards && weir_subject_valid(subject, true))
		fprintf(stderr,
		        "weir: \"%s\" holds wildcards, which only subscribe and reply take\n",
		        subject);
	else
		fprintf(stderr, "weir: \"%s\" is not a subject: words with dots between them%s\n",
		        subject, wildcards ? ", * for one word, > for the rest" : "");
	return EXIT_USAGE;
}

/* ---- Tables ---- */

void table_init(struct table *t, const char *align)
{
	*t = (struct table){ .cells = WEIR__BUF_INIT,
		             .columns = (unsigned)strlen(align),
		             .align = align };
}

void table_cell(struct table *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	weir__buf_vprintf(&t->cells, fmt, ap);
	va_end(ap);
	weir__buf_byte(&t->cells, 0);
	t->n++;
}

static unsigned width(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

/* States by their colour, as the dashboard shows them. */
static const char *color_of(const char *text)
{
	static const char *const colors[][2] = {
		{ "running", "\033[34m" }, { "done", "\033[32m" },     { "dead", "\033[31m" },
		{ "delayed", "\033[33m" }, { "cancelled", "\033[2m" }, { "paused", "\033[33m" },
	};

	for (size_t i = 0; i < sizeof colors / sizeof colors[0]; i++)
		if (!strcmp(text, colors[i][0]))
			return colors[i][1];
	return NULL;
}

void table_print(struct table *t, struct client *c)
{
	unsigned widths[16] = { 0 }, column = 0;
	const char *cell = t->cells.data, *color;

	for (unsigned i = 0; i < t->n && !t->cells.failed; i++, cell += strlen(cell) + 1)
		if (width(cell) > widths[i % t->columns])
			widths[i % t->columns] = width(cell);
	cell = t->cells.data;
	for (unsigned i = 0; i < t->n && !t->cells.failed; i++, cell += strlen(cell) + 1) {
		int pad;

		column = i % t->columns;
		pad = (int)(widths[column] - width(cell));
		color = !c->color ? NULL : i < t->columns ? "\033[1m" : color_of(cell);
		if (t->align[column] == 'r')
			weir__buf_printf(&c->out, "%*s", pad, "");
		weir__buf_printf(&c->out, "%s%s%s", color ? color : "", cell,
		                 color ? "\033[0m" : "");
		if (column + 1 == t->columns)
			weir__buf_byte(&c->out, '\n');
		else
			weir__buf_printf(&c->out, "%*s", t->align[column] == 'r' ? 2 : pad + 2, "");
	}
	weir__buf_free(&t->cells);
}
