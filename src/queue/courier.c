/* SPDX-License-Identifier: MIT */
/*
 * A courier is one thread with a curl multi handle. Everything of libcurl happens on it: OpenSSL
 * needs more stack than a task has, and a thread of one's own keeps TLS sessions and connections
 * together. A task hands an errand over, which is some parcels and one wait, under a short lock,
 * wakes the thread and waits; the thread claims that wait when the last parcel is back. A task
 * whose context ends asks for its parcels and waits for them without a way out, which is a matter
 * of microseconds: nothing on the thread blocks, since names are looked up before (offloaded) and
 * curl is told the addresses.
 *
 * Where a parcel may go is checked when its socket is opened, by the very address that is about to
 * be connected to. So neither a name that changes its address between check and use nor anything
 * that curl makes of the URL gets past it. Redirects are not followed and no proxy is used, for the
 * same reason. Webhooks to private addresses never keep their connections: another parcel to the
 * same name may not be allowed there.
 *
 * The webhooks' thread is made by the first parcel and ends with the process.
 */
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <weir/sim.h>

#include "base/assert.h"
#include "base/list.h"
#include "queue/courier.h"
#include "rt/lock.h"
#include "rt/task.h"
#include "rt/wait.h"

enum {
	HEAD_MAX = 64 << 10, /* bytes of an answer's head */
	READ_MAX = 1 << 20,  /* … of its body, read to keep the connection usable */
	IDLE_MS = 60000,
	SPARE = 32, /* handles, and connections without a request, kept for the next parcels */
};

#define CONNECT_MS 10000L

/* The parcels of one call. */
struct errand {
	struct weir__wait wait, given_back;
	size_t left; /* under the courier's lock, as the rest */
	bool wanted; /* its task does not wait for the answers any more, but for the parcels */
};

struct transfer {
	struct weir__list link; /* among the new ones, or those under way */
	struct weir__courier *courier;
	struct errand *errand;
	struct weir__parcel *p;

	/* The thread's. */
	CURL *easy;
	struct curl_slist *headers, *resolve;
	size_t head, body;
	char date[64]; /* as the answer has it */
};

struct weir__courier {
	weir__lock lock; /* of: */
	struct weir__list fresh, under_way;
	bool closing;

	CURLM *multi;
	CURL *spare[SPARE]; /* the thread's */
	size_t spares;
	pthread_t thread;
	struct weir__wait gone;
};

static const char *curl_ca_file; /* whom it trusts when it is not told; NULL: nobody in a file */

/* ---- What curl asks ---- */

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
	struct transfer *t = arg;

	(void)purpose;
	if (!t->p->allow_private && !weir__address_public(&to->addr)) {
		t->p->refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

static size_t take_head(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;

	if (size * n > 5 && size * n < sizeof t->date && !strncasecmp(data, "date:", 5)) {
		memcpy(t->date, data + 5, size * n - 5);
		t->date[size * n - 5] = 0;
	}
	t->head += size * n;
	return t->head > HEAD_MAX ? 0 : size * n;
}

static size_t read_max(const struct weir__parcel *p)
{
	return p->answer_max > READ_MAX ? p->answer_max : READ_MAX;
}

static size_t take_body(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	struct weir__parcel *p = t->p;
	size_t keep = p->answer_max > p->answer.len ? p->answer_max - p->answer.len : 0;

	weir__buf_add(&p->answer, data, keep < size * n ? keep : size * n);
	t->body += size * n;
	return t->body > read_max(p) ? 0 : size * n;
}

/* ---- The thread ---- */

#define SET(option, value) (good &= curl_easy_setopt(e, option, value) == CURLE_OK)

/* A new handle, with what is the same for all parcels. */
static CURL *new_handle(void)
{
	CURL *e = curl_easy_init();
	bool good = e != NULL;

	if (!good)
		return NULL;
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_USERAGENT, "weir");
	SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_HEADERFUNCTION, take_head);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	if (good)
		return e;
	curl_easy_cleanup(e);
	return NULL;
}

static bool set_up(struct transfer *t)
{
	struct weir__parcel *p = t->p;
	struct weir__buf at = WEIR__BUF_INIT;
	struct curl_slist *more;
	struct weir__courier *c = t->courier;
	CURL *e = t->easy = c->spares ? c->spare[--c->spares] : new_handle();
	bool good = e != NULL;

	for (size_t i = 0; good && i < WEIR__COURIER_HEADERS && p->headers[i]; i++) {
		more = curl_slist_append(t->headers, p->headers[i]);
		good = more != NULL;
		t->headers = more ? more : t->headers;
	}
	/* '+': the entry may be forgotten again; brackets around an IPv6 address. */
	weir__buf_printf(&at, "+%s:%u:", p->host, p->port);
	for (size_t i = 0; i < WEIR__COURIER_ADDRS && p->addrs[i]; i++)
		weir__buf_printf(&at, strchr(p->addrs[i], ':') ? "%s[%s]" : "%s%s", i ? "," : "",
		                 p->addrs[i]);
	/* A literal address is no name, and needs none of this. */
	if (good && !strchr(p->host, ':') && !(p->addrs[0] && !strcmp(p->host, p->addrs[0])))
		good = !at.failed && (t->resolve = curl_slist_append(NULL, at.data)) != NULL;
	weir__buf_free(&at);
	if (!good)
		return false;
	/* All of it, for the last parcel's is still set. */
	SET(CURLOPT_URL, p->url);
	SET(CURLOPT_PRIVATE, t);
	SET(CURLOPT_RESOLVE, t->resolve);
	SET(CURLOPT_HTTPHEADER, t->headers);
	if (p->get) {
		SET(CURLOPT_HTTPGET, 1L);
	} else {
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDS, p->data ? p->data : "");
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)p->len);
	}
	SET(CURLOPT_CAINFO, p->ca_file ? p->ca_file : curl_ca_file);
	SET(CURLOPT_TIMEOUT_MS, (long)(p->timeout_ns / 1000000));
	SET(CURLOPT_OPENSOCKETDATA, t);
	SET(CURLOPT_HEADERDATA, t);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_FORBID_REUSE, p->allow_private && !p->keep ? 1L : 0L);
	return good;
}
#undef SET

static void put_away(struct weir__courier *c, CURL *easy)
{
	if (c->spares == SPARE) {
		curl_easy_cleanup(easy);
		return;
	}
	c->spare[c->spares++] = easy;
}

/* Gives the parcel back; the last one of an errand with all of it. */
static void finish(struct transfer *t, int result)
{
	struct weir__courier *c = t->courier;
	struct weir__wait *claimed = NULL;

	if (t->easy) {
		curl_multi_remove_handle(c->multi, t->easy);
		put_away(c, t->easy);
	}
	curl_slist_free_all(t->headers);
	curl_slist_free_all(t->resolve);
	t->p->result = result;
	weir__lock_acquire(&c->lock);
	weir__list_remove(&t->link);
	if (--t->errand->left == 0) {
		claimed = t->errand->wanted ? &t->errand->given_back : &t->errand->wait;
		if (!weir__wait_claim(claimed, 0))
			claimed = NULL;
	}
	weir__lock_release(&c->lock);
	if (claimed) /* Otherwise its task finds it done; it may be gone already. */
		weir__wait_wake(claimed);
}

static void judge(struct transfer *t, CURLcode code)
{
	struct weir__parcel *p = t->p;
	curl_off_t after = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &p->status);
	if (code == CURLE_WRITE_ERROR && p->status && t->body > read_max(p))
		code = CURLE_OK; /* It has answered, and only talks too much. */
	if (code != CURLE_OK) {
		p->status = 0;
		p->unsent = code == CURLE_COULDNT_CONNECT || code == CURLE_SSL_CONNECT_ERROR ||
		            code == CURLE_PEER_FAILED_VERIFICATION;
		snprintf(p->error, sizeof p->error, "%s",
		         p->refused ? "its address is private, and not allowed" :
		                      curl_easy_strerror(code));
	} else if (curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &after) == CURLE_OK &&
	           after > 0) {
		p->retry_after_ns =
			after > INT64_C(1) << 30 ? WEIR_SEC(INT64_C(1) << 30) : WEIR_SEC(after);
	}
	/* Reading one takes as long as signing a request, and hardly anybody wants to know. */
	if (code == CURLE_OK && p->status / 100 != 2 && *t->date)
		p->date = curl_getdate(t->date, NULL);
	finish(t, code == CURLE_OK ? 0 : code == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EIO);
}

/* The next new parcel, now under way; NULL if there is none. */
static struct transfer *next_fresh(struct weir__courier *c)
{
	struct transfer *t = NULL;

	weir__lock_acquire(&c->lock);
	if (!weir__list_empty(&c->fresh)) {
		t = weir__container(c->fresh.next, struct transfer, link);
		weir__list_remove(&t->link);
		weir__list_append(&c->under_way, &t->link);
	}
	weir__lock_release(&c->lock);
	return t;
}

static struct transfer *next_wanted(struct weir__courier *c)
{
	struct transfer *found = NULL;

	weir__lock_acquire(&c->lock);
	weir__list_each (n, &c->under_way) {
		struct transfer *t = weir__container(n, struct transfer, link);

		if (t->errand->wanted) {
			found = t;
			break;
		}
	}
	weir__lock_release(&c->lock);
	return found;
}

static bool is_closing(struct weir__courier *c)
{
	bool r;

	weir__lock_acquire(&c->lock);
	r = c->closing;
	weir__lock_release(&c->lock);
	return r;
}

static void *courier_main(void *arg)
{
	struct weir__courier *c = arg;
	struct transfer *t;
	CURLMsg *m;
	int running, left;

	while (!is_closing(c)) {
		while ((t = next_fresh(c)))
			if (!set_up(t) || curl_multi_add_handle(c->multi, t->easy) != CURLM_OK)
				finish(t, -ENOMEM);
		while ((t = next_wanted(c)))
			finish(t, -ECANCELED);
		curl_multi_perform(c->multi, &running);
		while ((m = curl_multi_info_read(c->multi, &left))) {
			if (m->msg == CURLMSG_DONE &&
			    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t) == CURLE_OK)
				judge(t, m->data.result);
		}
		curl_multi_poll(c->multi, NULL, 0, IDLE_MS, NULL);
	}
	while (c->spares)
		curl_easy_cleanup(c->spare[--c->spares]);
	curl_multi_cleanup(c->multi);
	if (weir__wait_claim(&c->gone, 0))
		weir__wait_wake(&c->gone);
	return NULL;
}

/* ---- A task's side ---- */

static pthread_once_t curl_once = PTHREAD_ONCE_INIT, shared_once = PTHREAD_ONCE_INIT;
static bool curl_ready;
static struct weir__courier *shared;

static void start_curl(void)
{
	curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
	if (curl_ready)
		curl_ca_file = curl_version_info(CURLVERSION_NOW)->cainfo;
}

static void start_shared(void)
{
	shared = weir__courier_new();
}

struct weir__courier *weir__courier_new(void)
{
	struct weir__courier *c = calloc(1, sizeof *c);
	sigset_t all, old;
	bool started = false;

	pthread_once(&curl_once, start_curl);
	if (!c || !curl_ready || !(c->multi = curl_multi_init()))
		goto fail;
	/* Else it keeps four for each request under way, and closes the others when that one is the
	 * last. */
	(void)curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)SPARE);
	weir__list_init(&c->fresh);
	weir__list_init(&c->under_way);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	started = pthread_create(&c->thread, NULL, courier_main, c) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (started)
		return c;
	curl_multi_cleanup(c->multi);
fail:
	free(c);
	return NULL;
}

void weir__courier_free(struct weir__courier *c)
{
	if (!c)
		return;
	weir__wait_init(&c->gone);
	weir__lock_acquire(&c->lock);
	weir__assert(weir__list_empty(&c->fresh) && weir__list_empty(&c->under_way),
	             "a courier was freed with parcels under way");
	c->closing = true;
	weir__lock_release(&c->lock);
	curl_multi_wakeup(c->multi);
	weir__outside(1);
	(void)weir__wait_park_hard(&c->gone, "a courier to end", c);
	weir__outside(-1);
	pthread_join(c->thread, NULL); /* does not wait: it was its last act */
	free(c);
}

/* Hands all of it over. */
static void send_off(struct weir__courier *c, struct errand *e, struct transfer *t,
                     struct weir__parcel *p, size_t n)
{
	e->left = n;
	weir__wait_init(&e->wait);
	for (size_t i = 0; i < n; i++) {
		t[i] = (struct transfer){ .courier = c, .errand = e, .p = &p[i] };
		p[i].result = -ECANCELED;
		p[i].retry_after_ns = p[i].date = -1;
	}
	weir__lock_acquire(&c->lock);
	for (size_t i = 0; i < n; i++)
		weir__list_append(&c->fresh, &t[i].link);
	weir__lock_release(&c->lock);
	curl_multi_wakeup(c->multi);
}

/* The context has ended, and what is still under way comes late. 0: all of it came. */
static int wait_late(const weir_ctx *ctx, struct weir__courier *c, struct errand *e,
                     const struct weir__parcel *p, int r)
{
	weir_ctx late = weir_ctx_shield(ctx, p->late_ns);
	bool back;

	weir__lock_acquire(&c->lock);
	back = e->left == 0;
	if (!back)
		weir__wait_init(&e->wait);
	weir__lock_release(&c->lock);
	return back || weir__wait_park(&e->wait, &late, "late http answer", p) == 0 ? 0 : r;
}

int weir__courier_carry(const weir_ctx *ctx, struct weir__courier *c, struct weir__parcel *p,
                        size_t n)
{
	struct errand e = { .left = 0 };
	struct transfer *t, one[1];
	bool back;
	int r;

	weir__assert(!weir__simulating, "a request was sent in a simulation");
	r = weir__wait_check(ctx);
	if (r < 0 || !n)
		return r;
	t = n > 1 ? calloc(n, sizeof *t) : one;
	if (!t)
		return -ENOMEM;
	weir__outside(1);
	send_off(c, &e, t, p, n);
	r = weir__wait_park(&e.wait, ctx, "http answer", p);
	if (r < 0 && p->late_ns)
		r = wait_late(ctx, c, &e, p, r);
	if (r < 0) {
		weir__lock_acquire(&c->lock);
		back = e.left == 0;
		if (!back) {
			weir__wait_init(&e.given_back);
			e.wanted = true;
		}
		weir__lock_release(&c->lock);
		if (!back) {
			curl_multi_wakeup(c->multi);
			(void)weir__wait_park_hard(&e.given_back, "a request to be let go", p);
		}
	}
	weir__outside(-1);
	if (n > 1)
		free(t);
	return r;
}

int weir__courier_post(const weir_ctx *ctx, struct weir__parcel *p)
{
	int r;

	pthread_once(&shared_once, start_shared);
	if (!shared)
		return -ENOMEM;
	r = weir__courier_carry(ctx, shared, p, 1);
	return r < 0 ? r : p->result;
}
