/* SPDX-License-Identifier: MIT */
/*
 * One thread with a curl multi handle. Everything of libcurl happens on it: OpenSSL needs more
 * stack than a task has, and a thread of one's own keeps TLS sessions and connections together. A
 * task hands its parcel over under a short lock, wakes the thread and waits; the thread gives it
 * back by claiming that wait. A task whose context ends asks for its parcel and waits for it without
 * a way out, which is a matter of microseconds: nothing on the thread blocks, since names are looked
 * up before (offloaded) and curl is told the addresses.
 *
 * Where a parcel may go is checked when its socket is opened, by the very address that is about to
 * be connected to. So neither a name that changes its address between check and use nor anything
 * that curl makes of the URL gets past it. Redirects are not followed and no proxy is used, for the
 * same reason. Connections to private addresses are never kept: another parcel to the same name may
 * not be allowed there.
 *
 * The thread is made by the first parcel and ends with the process.
 */
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/sim.h>

#include "base/assert.h"
#include "base/list.h"
#include "queue/courier.h"
#include "rt/lock.h"
#include "rt/wait.h"

enum {
	HEAD_MAX = 64 << 10, /* bytes of an answer's head */
	READ_MAX = 1 << 20,  /* … of its body, read to keep the connection usable */
	IDLE_MS = 60000,
};

#define CONNECT_MS 10000L

struct transfer {
	struct weir__list link; /* among the new ones, or those under way */
	struct weir__parcel *p;
	struct weir__wait wait, given_back;
	bool wanted; /* its task does not wait for the answer any more, but for the parcel */
	bool done;
	int result;

	/* The thread's. */
	CURL *easy;
	struct curl_slist *headers, *resolve;
	size_t head, body;
};

static struct {
	weir__lock lock; /* of: */
	struct weir__list fresh, under_way;
	CURLM *multi;
	bool started;
} courier = { .fresh = { &courier.fresh, &courier.fresh },
	      .under_way = { &courier.under_way, &courier.under_way } };

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

	(void)data;
	t->head += size * n;
	return t->head > HEAD_MAX ? 0 : size * n;
}

static size_t take_body(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	struct weir__parcel *p = t->p;
	size_t keep = p->answer_max > p->answer.len ? p->answer_max - p->answer.len : 0;

	weir__buf_add(&p->answer, data, keep < size * n ? keep : size * n);
	t->body += size * n;
	return t->body > READ_MAX ? 0 : size * n;
}

/* ---- The thread ---- */

static bool set_up(struct transfer *t)
{
	struct weir__parcel *p = t->p;
	struct weir__buf at = WEIR__BUF_INIT;
	struct curl_slist *more;
	CURL *e = t->easy = curl_easy_init();
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
	/* A literal IPv6 address is no name, and needs none of this. */
	if (good && !strchr(p->host, ':'))
		good = !at.failed && (t->resolve = curl_slist_append(NULL, at.data)) != NULL;
	weir__buf_free(&at);
	if (!good)
		return false;
#define SET(option, value) (good &= curl_easy_setopt(e, option, value) == CURLE_OK)
	SET(CURLOPT_URL, p->url);
	SET(CURLOPT_PRIVATE, t);
	if (t->resolve)
		SET(CURLOPT_RESOLVE, t->resolve);
	SET(CURLOPT_HTTPHEADER, t->headers);
	SET(CURLOPT_POSTFIELDS, p->data);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)p->len);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_USERAGENT, "weir");
	SET(CURLOPT_TIMEOUT_MS, (long)(p->timeout_ns / 1000000));
	SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_OPENSOCKETDATA, t);
	SET(CURLOPT_HEADERFUNCTION, take_head);
	SET(CURLOPT_HEADERDATA, t);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_FORBID_REUSE, p->allow_private ? 1L : 0L);
#undef SET
	return good;
}

/* Gives the parcel back. */
static void finish(struct transfer *t, int result)
{
	struct weir__wait *claimed;

	if (t->easy) {
		curl_multi_remove_handle(courier.multi, t->easy);
		curl_easy_cleanup(t->easy);
	}
	curl_slist_free_all(t->headers);
	curl_slist_free_all(t->resolve);
	weir__lock_acquire(&courier.lock);
	if (weir__list_linked(&t->link))
		weir__list_remove(&t->link);
	t->done = true;
	t->result = result;
	claimed = t->wanted ? &t->given_back : &t->wait;
	if (!weir__wait_claim(claimed, 0))
		claimed = NULL;
	weir__lock_release(&courier.lock);
	if (claimed) /* Otherwise its task finds it done; it may be gone already. */
		weir__wait_wake(claimed);
}

static void judge(struct transfer *t, CURLcode code)
{
	struct weir__parcel *p = t->p;
	curl_off_t after = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &p->status);
	if (code == CURLE_WRITE_ERROR && p->status && t->body > READ_MAX)
		code = CURLE_OK; /* It has answered, and only talks too much. */
	p->retry_after_ns = -1;
	if (code != CURLE_OK) {
		p->status = 0;
		snprintf(p->error, sizeof p->error, "%s",
		         p->refused ? "its address is private, and not allowed" :
		                      curl_easy_strerror(code));
	} else if (curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &after) == CURLE_OK &&
	           after > 0) {
		p->retry_after_ns =
			after > INT64_C(1) << 30 ? WEIR_SEC(INT64_C(1) << 30) : WEIR_SEC(after);
	}
	finish(t, code == CURLE_OK ? 0 : code == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EIO);
}

/* The next new parcel, now under way; NULL if there is none. */
static struct transfer *next_fresh(void)
{
	struct transfer *t = NULL;

	weir__lock_acquire(&courier.lock);
	if (!weir__list_empty(&courier.fresh)) {
		t = weir__container(courier.fresh.next, struct transfer, link);
		weir__list_remove(&t->link);
		weir__list_append(&courier.under_way, &t->link);
	}
	weir__lock_release(&courier.lock);
	return t;
}

static struct transfer *next_wanted(void)
{
	struct transfer *found = NULL;

	weir__lock_acquire(&courier.lock);
	weir__list_each (n, &courier.under_way) {
		struct transfer *t = weir__container(n, struct transfer, link);

		if (t->wanted) {
			found = t;
			break;
		}
	}
	weir__lock_release(&courier.lock);
	return found;
}

static void *courier_main(void *arg)
{
	struct transfer *t;
	CURLMsg *m;
	int running, left;

	(void)arg;
	for (;;) {
		while ((t = next_fresh()))
			if (!set_up(t) || curl_multi_add_handle(courier.multi, t->easy) != CURLM_OK)
				finish(t, -ENOMEM);
		while ((t = next_wanted()))
			finish(t, -ECANCELED);
		curl_multi_perform(courier.multi, &running);
		while ((m = curl_multi_info_read(courier.multi, &left))) {
			if (m->msg == CURLMSG_DONE &&
			    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t) == CURLE_OK)
				judge(t, m->data.result);
		}
		curl_multi_poll(courier.multi, NULL, 0, IDLE_MS, NULL);
	}
	return NULL;
}

/* ---- A task's side ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void)
{
	sigset_t all, old;
	pthread_t thread;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
	    !(courier.multi = curl_multi_init()))
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	courier.started = pthread_create(&thread, NULL, courier_main, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (courier.started)
		pthread_detach(thread);
}

int weir__courier_post(const weir_ctx *ctx, struct weir__parcel *p)
{
	struct transfer t = { .p = p };
	bool back;
	int r;

	weir__assert(!weir__simulating, "a webhook was called in a simulation");
	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	pthread_once(&once, start);
	if (!courier.started)
		return -ENOMEM;
	weir__wait_init(&t.wait);
	weir__lock_acquire(&courier.lock);
	weir__list_append(&courier.fresh, &t.link);
	weir__lock_release(&courier.lock);
	curl_multi_wakeup(courier.multi);
	r = weir__wait_park(&t.wait, ctx, "webhook", p);
	if (r >= 0)
		return t.result;
	weir__lock_acquire(&courier.lock);
	back = t.done;
	if (!back) {
		weir__wait_init(&t.given_back);
		t.wanted = true;
	}
	weir__lock_release(&courier.lock);
	if (!back) {
		curl_multi_wakeup(courier.multi);
		(void)weir__wait_park_hard(&t.given_back, "webhook to let go", p);
	}
	return r;
}
