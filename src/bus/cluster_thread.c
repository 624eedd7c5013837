/* SPDX-License-Identifier: MIT */
/* The adapter's thread: the only one that calls what nats.c may wait in. */
#include "bus/cluster.h"

#include "base/log.h"
#include "rt/task.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
	RUN = 64,          /* messages handed over between two looks at the ring */
	MARK_EVERY = 1024, /* messages */
	WINDOW = 16 * MARK_EVERY,
	MARK_MS = 100,
	AGAIN_MS = 1000, /* between attempts to replace a connection that was given up */
	FLUSH_MS = 1,
	CLOSE_MS = 500,
	KEY_TRIES = 4,
};

/* Until there is work, or so long. With the lock before and after. */
static void rest(struct weir__cluster *k, int64_t ms)
{
	struct timespec t;

	k->sleeping = true;
	weir__lock_release(&k->lock);
	if (ms < 0) {
		while (sem_wait(&k->wake) < 0)
			;
	} else {
		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_sec += ms / 1000;
		t.tv_nsec += ms % 1000 * 1000000;
		t.tv_sec += t.tv_nsec / 1000000000;
		t.tv_nsec %= 1000000000;
		(void)sem_timedwait(&k->wake, &t);
	}
	weir__lock_acquire(&k->lock);
	k->sleeping = false;
}

/* ---- Subscriptions ---- */

static void on_shared_complete(void *closure)
{
	struct weir__shared *sh = closure;
	struct weir__cluster *k = sh->k;

	weir__shared_unref(sh);
	weir__cluster_returned(k);
}

static void on_inbox_complete(void *closure)
{
	weir__cluster_returned(closure);
}

static natsStatus subscribe(struct weir__cluster *k, struct weir__shared *sh)
{
	natsStatus st;

	__atomic_fetch_add(&sh->refs, 1, __ATOMIC_RELAXED);
	weir__cluster_lend(k);
	if (sh->queue)
		st = natsConnection_QueueSubscribe(&sh->ns, k->nc, sh->subject, sh->queue,
		                                   weir__cluster_on_message, sh);
	else
		st = natsConnection_Subscribe(&sh->ns, k->nc, sh->subject, weir__cluster_on_message,
		                              sh);
	if (st == NATS_OK)
		st = natsSubscription_SetOnCompleteCB(sh->ns, on_shared_complete, sh);
	else
		on_shared_complete(sh);
	if (st == NATS_OK && !weir__list_linked(&sh->mine))
		weir__list_append(&k->made, &sh->mine);
	return st;
}

/* Nobody uses it any more. */
static void end(struct weir__shared *sh)
{
	sh->over = true;
	if (weir__list_linked(&sh->mine))
		weir__list_remove(&sh->mine);
	if (sh->ns) {
		(void)natsSubscription_Unsubscribe(sh->ns);
		natsSubscription_Destroy(sh->ns);
		sh->ns = NULL;
	}
	weir__shared_unref(sh);
}

/* What nats.c dropped because it was not taken in time. */
static void count_slow(struct weir__cluster *k)
{
	uint64_t n = 0;

	weir__list_each (l, &k->made) {
		struct weir__shared *sh = weir__container(l, struct weir__shared, mine);
		int64_t dropped = 0;

		if (sh->ns && natsSubscription_GetDropped(sh->ns, &dropped) == NATS_OK &&
		    dropped > sh->dropped) {
			n += (uint64_t)(dropped - sh->dropped);
			sh->dropped = dropped;
		}
	}
	weir__broker_drop(k->local, n);
	weir__log_rare(WEIR__WARN, "bus", "NATS: %llu messages dropped, taken too slowly",
	               (unsigned long long)n);
}

/* ---- Orders ---- */

/* Does somebody wait for what this brings back? Then nats.c's own pause before it writes is too
 * long. */
static bool urgent(const struct weir__bus_msg *m)
{
	return m->reply || !strncmp(m->subject, "_INBOX.", 7);
}

static natsStatus send_msg(struct weir__cluster *k, const struct weir__bus_msg *m)
{
	natsMsg *out;
	natsStatus st;

	if (!m->headers && !m->reply)
		return natsConnection_Publish(k->nc, m->subject, m->data, (int)m->len);
	if (!m->headers)
		return natsConnection_PublishRequest(k->nc, m->subject, m->reply, m->data,
		                                     (int)m->len);
	out = weir__cluster_msg_out(m);
	if (!out)
		return NATS_NO_MEMORY;
	st = natsConnection_PublishMsg(k->nc, out);
	weir__cluster_spend(k, out);
	return st;
}

/* Is it the connection that failed, and not the order? */
static bool unconnected(natsStatus st)
{
	return st == NATS_INSUFFICIENT_BUFFER || st == NATS_CONNECTION_CLOSED ||
	       st == NATS_CONNECTION_DISCONNECTED || st == NATS_IO_ERROR || st == NATS_TIMEOUT ||
	       st == NATS_STALE_CONNECTION || st == NATS_SSL_ERROR;
}

/* With the lock before and after. */
static void send_mark(struct weir__cluster *k)
{
	uint64_t handed = k->handed, sent = k->sent; /* written by this thread alone */
	char subject[48], text[48];
	natsStatus st;
	int n;

	k->remark = false;
	weir__lock_release(&k->lock);
	n = snprintf(text, sizeof text, "%llu %llu", (unsigned long long)handed,
	             (unsigned long long)sent);
	snprintf(subject, sizeof subject, "%s" WEIR__MARK, k->inbox);
	st = natsConnection_Publish(k->nc, subject, text, n);
	weir__lock_acquire(&k->lock);
	if (st == NATS_OK)
		k->sent_marked = sent;
}

static bool usable(const struct weir__cluster *k)
{
	return k->up && k->stuck != k->connects;
}

/* The oldest orders that go out in one go, without taking them out of the ring: messages, up to
 * where a mark is due or the window ends; or one that is none. With the lock. */
static size_t next_run(const struct weir__cluster *k, struct weir__order run[RUN])
{
	uint64_t unmarked = k->sent - k->sent_marked, ahead = k->sent - k->sent_confirmed;
	uint64_t max = unmarked < MARK_EVERY ? MARK_EVERY - unmarked : 1;
	size_t n = 0;

	max = max < WINDOW - ahead ? max : WINDOW - ahead;
	max = max < RUN ? max : RUN;
	while (n < max && n < k->n) {
		struct weir__order o = k->ring[(k->head + n) & (WEIR__ORDERS - 1)];

		if (n && !o.msg)
			break;
		run[n++] = o;
		if (!o.msg)
			break;
	}
	return n;
}

/* nats.c's way with one order. */
static natsStatus hand(struct weir__cluster *k, struct weir__order o)
{
	if (o.sub)
		return o.sub->over ? NATS_OK : subscribe(k, o.sub);
	if (!o.msg)
		return NATS_OK;
	/* Counted before it goes out: a connection that breaks meanwhile may have lost it. */
	__atomic_store_n(&k->sent, k->sent + 1, __ATOMIC_SEQ_CST);
	return send_msg(k, o.msg);
}

/* nats.c has these, or refused them for good. */
static void handed(struct weir__cluster *k, const struct weir__order *run, size_t n,
                   uint64_t refused)
{
	weir__lock_acquire(&k->lock);
	k->handed += n;
	k->head = (k->head + n) & (WEIR__ORDERS - 1);
	k->n -= n;
	for (size_t i = 0; i < n; i++)
		k->bytes -= run[i].msg ? run[i].msg->cost : 0;
	k->refused += refused;
	weir__cluster_wake(k);
	for (size_t i = 0; i < n; i++) {
		weir__bus_msg_unref(run[i].msg);
		if (run[i].sub)
			weir__shared_unref(run[i].sub);
	}
}

/* It says for good that it does not take this order. */
static void refuse(struct weir__cluster *k, struct weir__order o, natsStatus st)
{
	weir__log_rare(WEIR__WARN, "bus", "NATS: %s is refused: %s",
	               o.msg ? o.msg->subject : o.sub->subject, natsStatus_GetText(st));
	if (!o.sub)
		return;
	weir__lock_acquire(&k->lock);
	o.sub->error = st == NATS_NO_MEMORY ? -ENOMEM : -EIO;
	weir__lock_release(&k->lock);
}

/* nats.c could not take an order in this connection. Without the lock. */
static void stick(struct weir__cluster *k, struct weir__order o, natsStatus st, uint64_t connects)
{
	/* Else nats.c would reconnect by itself. */
	if (natsConnection_Status(k->nc) == NATS_CONN_STATUS_CONNECTED)
		st = NATS_CONNECTION_CLOSED;
	weir__lock_acquire(&k->lock);
	k->stuck = connects;
	k->given_up |= st == NATS_CONNECTION_CLOSED;
	if (o.msg && k->sent > k->sent_confirmed)
		__atomic_store_n(&k->sent, k->sent - 1, __ATOMIC_SEQ_CST);
	weir__lock_release(&k->lock);
}

/* The oldest orders, with the lock before and after. True: nats.c should write at once. */
static bool hand_over(struct weir__cluster *k)
{
	struct weir__order run[RUN];
	size_t n = next_run(k, run), done;
	uint64_t connects = k->connects, refused = 0;
	bool at_once = false;
	natsStatus st = NATS_OK;

	weir__lock_release(&k->lock);
	for (done = 0; done < n; done++) {
		st = hand(k, run[done]);
		if (unconnected(st))
			break;
		at_once |= !run[done].msg || urgent(run[done].msg);
		refused += st != NATS_OK && run[done].msg;
		if (st != NATS_OK)
			refuse(k, run[done], st);
	}
	if (done)
		handed(k, run, done, refused);
	if (done < n)
		stick(k, run[done], st, connects);
	weir__lock_acquire(&k->lock);
	if (done == n && (!run[0].msg || k->sent - k->sent_marked >= MARK_EVERY))
		send_mark(k);
	return at_once;
}

/* ---- Connections ---- */

/* A connection, the inboxes, and all there is to subscribe to. */
static natsStatus join(struct weir__cluster *k)
{
	natsConnection *nc = NULL;
	char inboxes[40];
	natsStatus st;

	weir__cluster_lend(k);
	st = natsConnection_Connect(&nc, k->opts);
	if (st != NATS_OK) {
		weir__cluster_returned(k);
		return st;
	}
	weir__lock_acquire(&k->lock);
	k->nc = nc;
	k->given_up = false;
	weir__lock_release(&k->lock);
	snprintf(inboxes, sizeof inboxes, "%s>", k->inbox);
	weir__cluster_lend(k);
	st = natsConnection_Subscribe(&k->inbox_ns, nc, inboxes, weir__cluster_on_inbox, k);
	if (st == NATS_OK)
		st = natsSubscription_SetOnCompleteCB(k->inbox_ns, on_inbox_complete, k);
	else
		weir__cluster_returned(k);
	weir__list_each (l, &k->made)
		if (st == NATS_OK)
			st = subscribe(k, weir__container(l, struct weir__shared, mine));
	if (st == NATS_OK)
		weir__cluster_up(k, nc);
	return st;
}

static void leave(struct weir__cluster *k, const char *why)
{
	natsConnection *nc = k->nc;

	weir__lock_acquire(&k->lock);
	k->nc = NULL;
	weir__lock_release(&k->lock);
	if (nc)
		natsConnection_Close(nc);
	weir__cluster_down(k, why);
	weir__list_each (l, &k->made) {
		struct weir__shared *sh = weir__container(l, struct weir__shared, mine);

		natsSubscription_Destroy(sh->ns);
		sh->ns = NULL;
		sh->dropped = 0;
	}
	natsSubscription_Destroy(k->inbox_ns);
	k->inbox_ns = NULL;
	natsConnection_Destroy(nc);
}

static int error_of(natsStatus st)
{
	switch (st) {
	case NATS_OK:
		return 0;
	case NATS_NO_MEMORY:
		return -ENOMEM;
	case NATS_CONNECTION_AUTH_FAILED:
	case NATS_NOT_PERMITTED:
		return -EACCES;
	case NATS_SSL_ERROR:
	case NATS_SECURE_CONNECTION_WANTED:
	case NATS_SECURE_CONNECTION_REQUIRED:
		return -EPROTO;
	case NATS_ADDRESS_MISSING:
	case NATS_INVALID_ARG:
		return -EINVAL;
	default:
		return -ECONNREFUSED;
	}
}

static int begin(struct weir__cluster *k)
{
	size_t bytes = 0;
	natsStatus st;
	bool by_key = strstr(k->url, "nkey=") || strstr(k->url, "creds=");
	int r = weir__cluster_options(k->url, &k->opts, &bytes);

	if (r < 0)
		return r;
	weir__lock_acquire(&k->lock);
	k->bytes_max = bytes;
	weir__lock_release(&k->lock);
	st = weir__cluster_callbacks(k->opts, k);
	if (st == NATS_OK)
		st = join(k);
	/* nats.c 3.4 signs one of some twenty nonces so that the server refuses it (measured with
	 * nats-server 2.9); the next connection has another. */
	for (int i = 0; st == NATS_CONNECTION_AUTH_FAILED && by_key && i < KEY_TRIES; i++)
		st = join(k);
	if (st != NATS_OK)
		weir__log(WEIR__ERROR, "bus", "NATS: cannot connect: %s", natsStatus_GetText(st));
	return error_of(st);
}

/* Another connection in place of one that nats.c gave up. With the lock before and after. */
static void replace(struct weir__cluster *k)
{
	natsStatus st;

	if (weir_now() - k->joined_at < WEIR_MS(AGAIN_MS))
		rest(k, AGAIN_MS);
	if (k->stop)
		return;
	weir__lock_release(&k->lock);
	leave(k, "the connection was given up");
	st = join(k);
	if (st != NATS_OK) {
		weir__log_rare(WEIR__WARN, "bus", "NATS: cannot connect: %s",
		               natsStatus_GetText(st));
		leave(k, "the connection failed");
	}
	weir__lock_acquire(&k->lock);
	k->given_up |= st != NATS_OK;
	k->joined_at = weir_now();
}

static struct weir__shared *next_ended(struct weir__cluster *k)
{
	struct weir__list *l = weir__list_pop(&k->ended);

	return l ? weir__container(l, struct weir__shared, link) : NULL;
}

static void work(struct weir__cluster *k)
{
	bool at_once = false;

	weir__lock_acquire(&k->lock);
	while (!k->stop || (k->n && usable(k))) {
		struct weir__shared *sh = next_ended(k);

		if (sh || k->slow) {
			k->slow &= sh != NULL;
			weir__lock_release(&k->lock);
			if (sh)
				end(sh);
			else
				count_slow(k);
			weir__lock_acquire(&k->lock);
		} else if (k->given_up) {
			replace(k);
		} else if (usable(k) && k->n && k->sent - k->sent_confirmed < WINDOW) {
			at_once |= hand_over(k);
		} else if (usable(k) && (at_once || k->remark)) {
			if (k->remark)
				send_mark(k);
			at_once = false;
			weir__lock_release(&k->lock);
			(void)natsConnection_FlushTimeout(k->nc, FLUSH_MS);
			weir__lock_acquire(&k->lock);
		} else {
			bool unmarked = usable(k) && k->sent > k->sent_marked;

			rest(k, unmarked ? MARK_MS : -1);
			if (unmarked && k->n == 0)
				k->remark = true;
		}
	}
	weir__lock_release(&k->lock);
}

void *weir__cluster_run(void *arg)
{
	struct weir__cluster *k = arg;
	struct weir__shared *sh;
	int r = begin(k);

	weir__lock_acquire(&k->lock);
	k->opened = r < 0 ? r : 1;
	weir__cluster_wake(k);
	if (r == 0)
		work(k);
	weir__lock_acquire(&k->lock);
	k->stop = true; /* From now on nothing is added. */
	weir__lock_release(&k->lock);
	if (k->nc && natsConnection_FlushTimeout(k->nc, CLOSE_MS) == NATS_OK) {
		weir__lock_acquire(&k->lock);
		k->sent_confirmed = k->sent;
		weir__lock_release(&k->lock);
	}
	leave(k, "closed");
	for (;;) {
		weir__lock_acquire(&k->lock);
		sh = next_ended(k);
		weir__lock_release(&k->lock);
		if (!sh)
			break;
		end(sh);
	}
	weir__lock_acquire(&k->lock);
	while (k->n) {
		struct weir__order o = k->ring[k->head];

		k->head = (k->head + 1) & (WEIR__ORDERS - 1);
		k->n--;
		k->unsent += o.msg != NULL;
		weir__lock_release(&k->lock);
		weir__bus_msg_unref(o.msg);
		if (o.sub)
			weir__shared_unref(o.sub);
		weir__lock_acquire(&k->lock);
	}
	weir__lock_release(&k->lock);
	natsOptions_Destroy(k->opts);
	weir__lock_acquire(&k->lock);
	while (k->foreign)
		rest(k, -1);
	weir__lock_release(&k->lock);
	weir__cluster_forget_spent(k);
	weir__lock_acquire(&k->lock);
	k->done = true;
	weir__cluster_wake(k);
	weir__outside(-1);
	weir__remote_unref(&k->remote);
	return NULL;
}
