/* SPDX-License-Identifier: MIT */
/* What nats.c tells the adapter: messages on its delivery thread, changes of the connection and
 * errors on its thread of callbacks. None of it waits. */
#include "bus/cluster.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 300 };

static bool is_mark(const char *subject)
{
	size_t n = strlen(subject), mark = strlen(WEIR__MARK);

	return n > mark && !strncmp(subject, "_INBOX.", 7) &&
	       !strcmp(subject + n - mark, WEIR__MARK);
}

void weir__cluster_on_message(natsConnection *nc, natsSubscription *ns, natsMsg *m, void *closure)
{
	struct weir__shared *sh = closure;
	struct weir__bus_msg *e;
	struct weir__hits h;
	int got;

	(void)nc, (void)ns;
	/* As in process: neither marks, nor word that a message with a reply address found
	 * nobody. */
	if (is_mark(natsMsg_GetSubject(m)) || natsMsg_IsNoResponders(m)) {
		natsMsg_Destroy(m);
		return;
	}
	weir__hits_init(&h);
	weir__lock_acquire(&sh->k->lock);
	weir__list_each (l, &sh->users)
		weir__hits_add(&h,
		               weir__container(weir__container(l, struct weir__trie_entry, link),
		                               struct weir__target, entry));
	weir__lock_release(&sh->k->lock);
	e = h.n ? weir__cluster_msg_in(m) : NULL;
	weir__cluster_spend(sh->k, m);
	if (e) {
		got = weir__hits_push(NULL, &h, e);
		weir__broker_count(sh->k->local, 0, 0, got > 0 ? (uint64_t)got : 0);
		weir__bus_msg_unref(e);
	}
	if ((h.n && !e) || h.failed)
		weir__broker_drop(sh->k->local, 1); /* No memory for it. */
	weir__hits_free(&h);
}

/* "handed sent" */
static void on_mark(struct weir__cluster *k, natsMsg *m)
{
	unsigned long long seq, sent;

	if (sscanf(natsMsg_GetData(m), "%llu %llu", &seq, &sent) != 2)
		return;
	weir__lock_acquire(&k->lock);
	if (seq > k->confirmed && seq <= k->handed) {
		k->confirmed = seq;
		if (sent > k->sent_confirmed)
			k->sent_confirmed = sent;
	}
	weir__cluster_wake(k);
}

void weir__cluster_on_inbox(natsConnection *nc, natsSubscription *ns, natsMsg *m, void *closure)
{
	struct weir__cluster *k = closure;
	struct weir__bus_msg *e;
	struct weir__hits h;

	(void)nc, (void)ns;
	if (is_mark(natsMsg_GetSubject(m))) {
		on_mark(k, m);
		natsMsg_Destroy(m);
		return;
	}
	e = weir__cluster_msg_in(m);
	if (e) {
		e->no_responders = natsMsg_IsNoResponders(m);
		weir__broker_match(k->local, e->subject, 1, e->len, &h);
		(void)weir__hits_push(NULL, &h, e);
		weir__hits_free(&h);
		weir__bus_msg_unref(e);
	}
	weir__cluster_spend(k, m);
}

/* Messages that went out behind the last mark that came back may not have arrived. */
void weir__cluster_down(struct weir__cluster *k, const char *why)
{
	uint64_t lost, sent;
	bool was;

	weir__lock_acquire(&k->lock);
	was = k->up;
	k->up = false;
	sent = __atomic_load_n(&k->sent, __ATOMIC_SEQ_CST);
	lost = sent - k->sent_confirmed;
	k->sent_confirmed = sent;
	k->lost += lost;
	if (was)
		k->down_at = weir_now();
	was = was && !k->stop;
	weir__cluster_wake(k);
	if (was || lost)
		weir__log(WEIR__WARN, "bus", "NATS: %s; %llu messages may be lost", why,
		          (unsigned long long)lost);
}

/* Of the server that the connection is to now. */
static void heed_payload_max(struct weir__cluster *k, natsConnection *nc)
{
	int64_t max = natsConnection_GetMaxPayload(nc);

	if (max <= 0 || max > WEIR__BUS_PAYLOAD_MAX)
		max = WEIR__BUS_PAYLOAD_MAX;
	if (max < WEIR__BUS_PAYLOAD_MAX)
		weir__log(WEIR__INFO, "bus", "NATS: messages of up to %lld bytes are taken there",
		          (long long)max);
	__atomic_store_n(&k->payload_max, (size_t)max, __ATOMIC_RELAXED);
}

void weir__cluster_up(struct weir__cluster *k, natsConnection *nc)
{
	char name[128] = "";
	const char *host;
	int64_t away;
	bool again;

	heed_payload_max(k, nc);
	(void)natsConnection_GetConnectedUrl(nc, name, sizeof name);
	host = strrchr(name, '@') ? strrchr(name, '@') + 1 : name;
	weir__lock_acquire(&k->lock);
	k->up = true;
	again = k->connects++ > 0;
	away = weir_now() - k->down_at;
	k->sent_marked = k->sent_confirmed; /* What was on its way does not come back. */
	k->remark = true;
	weir__cluster_wake(k);
	if (again)
		weir__log(WEIR__INFO, "bus", "NATS: connected again, to %s, after %lld ms", host,
		          (long long)(away / 1000000));
	else
		weir__log(WEIR__INFO, "bus", "NATS: connected to %s", host);
}

/* One that was replaced has nothing more to tell. */
static bool current(struct weir__cluster *k, natsConnection *nc)
{
	bool it_is;

	weir__lock_acquire(&k->lock);
	it_is = k->nc == nc;
	weir__lock_release(&k->lock);
	return it_is;
}

static void on_disconnected(natsConnection *nc, void *closure)
{
	struct weir__cluster *k = closure;

	if (current(k, nc))
		weir__cluster_down(k, "the connection is gone");
}

static void on_reconnected(natsConnection *nc, void *closure)
{
	struct weir__cluster *k = closure;

	if (current(k, nc))
		weir__cluster_up(k, nc);
}

/* Those whose subscription the cluster refused end. */
static void end_refused(struct weir__cluster *k)
{
	struct weir__shared *sh;
	weir_sub *s;

	for (;;) {
		weir__lock_acquire(&k->lock);
		s = NULL;
		weir__list_each (l, &k->all) {
			sh = weir__container(l, struct weir__shared, link);
			if (!sh->error || weir__list_empty(&sh->users) || s)
				continue;
			s = weir__container(
				weir__container(sh->users.next, struct weir__trie_entry, link),
				weir_sub, target.entry);
			weir__sub_ref(s);
		}
		weir__lock_release(&k->lock);
		if (!s)
			return;
		weir__sub_end(s, false); /* Takes it out of there. */
		weir__sub_unref(s);
	}
}

/* A server that has enough subscriptions closes the connection: those that were not live yet are
 * not made again. */
static void on_too_many(struct weir__cluster *k)
{
	weir__lock_acquire(&k->lock);
	weir__list_each (l, &k->all) {
		struct weir__shared *sh = weir__container(l, struct weir__shared, link);

		if (sh->seq > k->confirmed)
			sh->error = -ENOSPC;
	}
	weir__cluster_wake(k);
	end_refused(k);
}

/* nats.c has given it up, or we have closed it. */
static void on_closed(natsConnection *nc, void *closure)
{
	struct weir__cluster *k = closure;
	const char *text = NULL;

	if (current(k, nc)) {
		(void)natsConnection_GetLastError(nc, &text);
		weir__cluster_down(k, text && *text ? text : "the connection was closed");
		if (text && strcasestr(text, "maximum subscriptions"))
			on_too_many(k);
		weir__lock_acquire(&k->lock);
		k->given_up = true;
		weir__cluster_work(k);
	}
	weir__cluster_returned(k);
}

/* Permissions Violation for Subscription to "a.b": ends those who asked for it. Without its inboxes
 * the bus cannot work. */
static void on_denied(struct weir__cluster *k, const char *text)
{
	const char *subject = strcasestr(text, "subscription to ");
	size_t n;

	weir__log_rare(WEIR__ERROR, "bus", "NATS: %s", text);
	if (strstr(text, k->inbox)) {
		weir__lock_acquire(&k->lock);
		k->error = -EACCES;
		weir__cluster_wake(k);
	}
	if (!subject)
		return;
	subject += strlen("subscription to ");
	subject += *subject == '"';
	n = strcspn(subject, "\" ");
	weir__lock_acquire(&k->lock);
	weir__list_each (l, &k->all) {
		struct weir__shared *sh = weir__container(l, struct weir__shared, link);

		if (strlen(sh->subject) == n && !strncmp(sh->subject, subject, n))
			sh->error = -EACCES;
	}
	weir__cluster_wake(k);
	end_refused(k);
}

static void on_error(natsConnection *nc, natsSubscription *ns, natsStatus st, void *closure)
{
	struct weir__cluster *k = closure;
	char copy[TEXT_MAX];
	const char *text = NULL;

	(void)ns;
	if (st == NATS_SLOW_CONSUMER) {
		weir__lock_acquire(&k->lock);
		k->slow = true;
		weir__cluster_work(k);
		return;
	}
	(void)natsConnection_GetLastError(nc, &text);
	snprintf(copy, sizeof copy, "%s", text && *text ? text : natsStatus_GetText(st));
	if (st == NATS_NOT_PERMITTED)
		on_denied(k, copy);
	else
		weir__log_rare(WEIR__WARN, "bus", "NATS: %s", copy);
}

natsStatus weir__cluster_callbacks(natsOptions *o, struct weir__cluster *k)
{
	natsStatus st = natsOptions_SetDisconnectedCB(o, on_disconnected, k);

	if (st == NATS_OK)
		st = natsOptions_SetReconnectedCB(o, on_reconnected, k);
	if (st == NATS_OK)
		st = natsOptions_SetClosedCB(o, on_closed, k);
	if (st == NATS_OK)
		st = natsOptions_SetErrorHandler(o, on_error, k);
	return st;
}
