/* SPDX-License-Identifier: MIT */
/*
 * Requests to SQS: signed, carried, judged, and sent again where that is safe and helps.
 *
 *	throttled, or an error of the service    again, up to TRIES, with a back-off that doubles
 *	the key has expired, or is not known     once with a new key
 *	a signature from another time            once by the service's clock, which is told in the log
 *	no answer                                not again: the layer above knows what may be repeated
 *
 * Keys are shared by all requests. The one that finds the key old gets a new one while the others
 * go on with it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <weir/sim.h>

#include "base/json.h"
#include "base/log.h"
#include "queue/sqs.h"

enum { TRIES = 4, ANSWER_MAX = 64 << 10, AUTH_MAX = 400 };

#define BACKOFF    WEIR_MS(50)
#define ADDRS_KEPT WEIR_SEC(30)
#define SKEW_LEAST 60 /* seconds; what is nearer is no reason to refuse a signature */

/* ---- Where it is, and who we are ---- */

void weir__sqs_up(struct weir__sqs *s, bool up)
{
	bool fell;

	weir__lock_acquire(&s->lock);
	fell = !up && !s->falling;
	s->up = up;
	s->falling = s->falling || fell;
	if (!up)
		s->addrs_until = 0;
	weir__lock_release(&s->lock);
	if (fell)
		weir_sem_give(&s->fallen);
}

int weir__sqs_look_up(const weir_ctx *ctx, struct weir__sqs *s, struct weir__url_addrs *addrs,
                      struct weir__parcel *p)
{
	bool known;
	int r;

	weir__lock_acquire(&s->lock);
	known = weir_now() < s->addrs_until;
	if (known)
		*addrs = s->addrs;
	weir__lock_release(&s->lock);
	if (known) {
		for (size_t i = 0; i < WEIR__COURIER_ADDRS && *addrs->text[i]; i++)
			p->addrs[i] = addrs->text[i];
		return 0;
	}
	memset(addrs, 0, sizeof *addrs);
	r = weir__url_look_up(ctx, s->at.host, s->at.port, addrs, p);
	if (r == -EHOSTUNREACH) {
		weir__log_rare(WEIR__WARN, "queue", "SQS: the host %s is not known", s->at.host);
		weir__sqs_up(s, false);
		return -ENOTCONN;
	}
	if (r < 0)
		return r;
	weir__lock_acquire(&s->lock);
	s->addrs = *addrs;
	s->addrs_until = weir_now() + ADDRS_KEPT;
	weir__lock_release(&s->lock);
	return 0;
}

/* What requests are signed with, as it was at one moment: the same for all of a round. */
struct identity {
	struct weir__aws_key *key; /* a copy */
	char time[WEIR__SIGV4_TIME];
	unsigned char day_key[WEIR__SIGV4_KEY];
	char date[40];          /* the header with the time; */
	struct weir__buf token; /* … with the key's token, if it has one */
};

static void forget(struct identity *id)
{
	weir__aws_key_free(id->key);
	explicit_bzero(id->day_key, sizeof id->day_key);
	weir__buf_free(&id->token);
}

/* Under the lock. */
static int copy_key(struct weir__sqs *s, struct identity *ret)
{
	struct weir__sigv4 sign = { .secret = s->key->secret,
		                    .region = s->region,
		                    .service = "sqs" };

	ret->key = weir__aws_key_new(s->key->id, s->key->secret, s->key->token, s->key->refresh_at,
	                             s->key->expires_at);
	if (!ret->key)
		return -ENOMEM;
	weir__sigv4_time(weir_wall() / WEIR_SEC(1) + s->skew_s, sign.time);
	if (strncmp(s->day, sign.time, WEIR__SIGV4_DAY)) {
		if (!weir__sigv4_key(&sign, s->day_key))
			return -ENOMEM;
		memcpy(s->day, sign.time, WEIR__SIGV4_DAY);
	}
	memcpy(ret->day_key, s->day_key, sizeof ret->day_key);
	memcpy(ret->time, sign.time, sizeof ret->time);
	snprintf(ret->date, sizeof ret->date, "X-Amz-Date: %s", ret->time);
	if (ret->key->token)
		weir__buf_printf(&ret->token, "X-Amz-Security-Token: %s", ret->key->token);
	return ret->token.failed ? -ENOMEM : 0;
}

/* A new key in place of the one we have; what we have stays when there is none. */
static int renew_key(const weir_ctx *ctx, struct weir__sqs *s)
{
	struct weir__aws_key *fresh, *old;
	int r = weir__aws_key_get(ctx, s->courier, &fresh);

	weir__lock_acquire(&s->lock);
	s->key_retry_at = weir_wall() / WEIR_SEC(1) + 1;
	old = r == 0 ? s->key : NULL;
	if (r == 0) {
		s->key = fresh;
		s->day[0] = 0;
	}
	weir__lock_release(&s->lock);
	weir__aws_key_free(old);
	return r;
}

/* anew: the service does not take what we have. */
static int identify(const weir_ctx *ctx, struct weir__sqs *s, bool anew, struct identity *ret)
{
	int64_t now = weir_wall() / WEIR_SEC(1);
	bool old, dead;
	int r = 0;

	weir__lock_acquire(&s->lock);
	old = !s->key || ((anew || now >= s->key->refresh_at) && now >= s->key_retry_at);
	dead = !s->key || now >= s->key->expires_at;
	weir__lock_release(&s->lock);
	/* Somebody else may be getting one already: who can do without goes on. */
	if (old || dead)
		r = dead || anew ? weir_mutex_lock(ctx, &s->asking) :
		                   weir_mutex_try_lock(&s->asking);
	if ((old || dead) && r == 0) {
		weir__lock_acquire(&s->lock);
		old = !s->key || anew || now >= s->key->refresh_at;
		old = old && (!s->key || weir_wall() / WEIR_SEC(1) >= s->key_retry_at);
		weir__lock_release(&s->lock);
		if (old)
			r = renew_key(ctx, s);
		weir_mutex_unlock(&s->asking);
	}
	if (weir__remote_stops(r))
		return r;
	weir__lock_acquire(&s->lock);
	dead = !s->key || weir_wall() / WEIR_SEC(1) >= s->key->expires_at;
	r = dead ? (r < 0 && r != -EAGAIN ? r : -EACCES) : copy_key(s, ret);
	weir__lock_release(&s->lock);
	return r;
}

/* ---- Errors ---- */

static bool one_of(const char *code, const char *list)
{
	size_t n = strlen(code);

	for (const char *at = list; n && (at = strstr(at, code)); at += n)
		if ((at == list || at[-1] == ' ') && (at[n] == ' ' || !at[n]))
			return true;
	return false;
}

static bool is_throttle(const char *code)
{
	return one_of(code, "ThrottlingException Throttling RequestThrottled RequestLimitExceeded "
	                    "TooManyRequestsException RequestThrottledException KmsThrottled "
	                    "SlowDown OverLimit AWS.SimpleQueueService.OverLimit");
}

static bool is_old_key(const char *code)
{
	return one_of(code, "ExpiredToken ExpiredTokenException InvalidClientTokenId "
	                    "UnrecognizedClientException InvalidAccessKeyId");
}

static bool is_auth(const char *code)
{
	return is_old_key(code) ||
	       one_of(code,
	              "AccessDenied AccessDeniedException AuthFailure SignatureDoesNotMatch "
	              "InvalidSignatureException IncompleteSignature IncompleteSignatureException "
	              "MissingAuthenticationToken MissingAuthenticationTokenException "
	              "InvalidSecurity OptInRequired NotAuthorized RequestExpired "
	              "KmsAccessDenied InvalidToken");
}

static bool is_time(const struct weir__sqs_call *c)
{
	return one_of(c->code, "RequestExpired RequestTimeTooSkewed") ||
	       (one_of(c->code, "InvalidSignatureException SignatureDoesNotMatch") &&
	        (strstr(c->why, "expired") || strstr(c->why, "not yet current")));
}

int weir__sqs_error(const char *code, const char *why)
{
	if (is_throttle(code))
		return -EAGAIN;
	if (is_auth(code))
		return -EACCES;
	if (one_of(code, "QueueDoesNotExist AWS.SimpleQueueService.NonExistentQueue"))
		return -ENOENT;
	if (one_of(code, "QueueNameExists QueueAlreadyExists"))
		return -EEXIST;
	if (one_of(code, "BatchRequestTooLong AWS.SimpleQueueService.BatchRequestTooLong") ||
	    strstr(why, "must be shorter"))
		return -EMSGSIZE;
	if (one_of(code, "ReceiptHandleIsInvalid MessageNotInflight "
	                 "AWS.SimpleQueueService.MessageNotInflight"))
		return -ESTALE;
	return -EIO;
}

/* The "__type" and "message" of an error's body. */
static void member(const struct weir__json_member *m, void *arg)
{
	struct weir__sqs_call *c = arg;
	const char *name;

	if (m->kind != WEIR__JSON_TEXT)
		return;
	if (!strcmp(m->key, "__type")) {
		name = strrchr(m->text, '#');
		snprintf(c->code, sizeof c->code, "%s", name ? name + 1 : m->text);
	} else if (!strcasecmp(m->key, "message")) {
		snprintf(c->why, sizeof c->why, "%s", m->text);
	}
}

/* ---- One round ---- */

struct letter {
	struct weir__sqs_call *call;
	char target[64], authorization[AUTH_MAX + 24];
	bool done;
};

/* The parcel has pointers into all three. */
static bool write_letter(struct weir__sqs *s, const struct identity *id, struct letter *l,
                         struct weir__parcel *p)
{
	struct weir__sqs_call *c = l->call;
	struct weir__buf auth = WEIR__BUF_INIT;
	struct weir__sigv4 sign = { .key_id = id->key->id,
		                    .secret = id->key->secret,
		                    .key = id->day_key,
		                    .region = s->region,
		                    .service = "sqs",
		                    .method = "POST",
		                    .path = "/",
		                    .body = c->body.data,
		                    .len = c->body.len };
	struct weir__sigv4_header headers[5];
	size_t n = 0;
	bool good;

	memcpy(sign.time, id->time, sizeof sign.time);
	snprintf(l->target, sizeof l->target, "X-Amz-Target: AmazonSQS.%s", c->action);
	headers[n++] = (struct weir__sigv4_header){ "content-type", "application/x-amz-json-1.0" };
	headers[n++] = (struct weir__sigv4_header){ "host", s->host };
	headers[n++] = (struct weir__sigv4_header){ "x-amz-date", sign.time };
	if (id->key->token)
		headers[n++] =
			(struct weir__sigv4_header){ "x-amz-security-token", id->key->token };
	headers[n++] = (struct weir__sigv4_header){ "x-amz-target", l->target + 14 };
	sign.headers = headers;
	sign.headers_n = n;
	weir__sigv4_sign(&sign, &auth);
	good = !auth.failed && auth.len < AUTH_MAX;
	if (good)
		snprintf(l->authorization, sizeof l->authorization, "Authorization: %s", auth.data);
	weir__buf_free(&auth);
	*p = (struct weir__parcel){ .result = -ECANCELED, /* until it is carried */
		                    .url = s->endpoint,
		                    .host = s->at.host,
		                    .port = s->at.port,
		                    .headers = { "Content-Type: application/x-amz-json-1.0",
		                                 l->target, id->date, l->authorization, "Expect:" },
		                    .data = c->body.data,
		                    .len = c->body.len,
		                    .timeout_ns = c->timeout_ns ? c->timeout_ns : WEIR__SQS_ANSWER,
		                    .late_ns = c->late_ns,
		                    .answer_max = c->answer_max ? c->answer_max : ANSWER_MAX,
		                    .allow_private = true,
		                    .keep = true,
		                    .ca_file = s->ca_file };
	if (id->token.len)
		p->headers[5] = id->token.data;
	return good;
}

/* What to do about a call. */
enum next { DONE, AGAIN, NEW_KEY, NEW_TIME };

/* The service's clock is another one: by how much. */
static enum next heed_clock(struct weir__sqs *s, const struct weir__parcel *p)
{
	int64_t skew = p->date < 0 ? 0 : p->date - weir_wall() / WEIR_SEC(1), by;

	weir__lock_acquire(&s->lock);
	by = skew - s->skew_s;
	if (p->date >= 0)
		s->skew_s = skew;
	weir__lock_release(&s->lock);
	if (by > -SKEW_LEAST && by < SKEW_LEAST)
		return DONE;
	weir__log(
		WEIR__WARN, "queue",
		"SQS refuses signatures of this machine's time: its clock is %lld s %s the "
		"service's; requests are signed by the service's from now on. Set the clock (NTP)",
		(long long)(skew < 0 ? -skew : skew), skew < 0 ? "ahead of" : "behind");
	return NEW_TIME;
}

static enum next judge(struct weir__sqs *s, struct weir__sqs_call *c, struct weir__parcel *p)
{
	if (p->result < 0) {
		weir__log_rare(WEIR__WARN, "queue", "SQS at %s: %s: %s", s->host, c->action,
		               p->result == -EIO ? p->error : strerror(-p->result));
		c->result = p->result == -ENOMEM ? -ENOMEM : -ENOTCONN;
		if (p->result == -EIO)
			weir__sqs_up(s, false);
		return DONE;
	}
	weir__sqs_up(s, true);
	if (p->status == 200 && !p->answer.failed) {
		c->answer = p->answer;
		p->answer = (struct weir__buf)WEIR__BUF_INIT;
		c->result = 0;
		return DONE;
	}
	c->code[0] = c->why[0] = 0;
	if (p->answer.len)
		(void)weir__json_object(p->answer.data, p->answer.len, member, c);
	c->result = p->status == 429 ? -EAGAIN : weir__sqs_error(c->code, c->why);
	if (c->result == -EAGAIN || p->status / 100 == 5) {
		c->result = c->result == -EAGAIN ? -EAGAIN : -ENOTCONN;
		return AGAIN;
	}
	if (c->result == -EACCES && is_time(c))
		return heed_clock(s, p);
	return c->result == -EACCES && is_old_key(c->code) ? NEW_KEY : DONE;
}

static void tell(const struct weir__sqs *s, const struct weir__sqs_call *c)
{
	if (c->result == -EACCES && *c->code) /* Without, there is no key, as was said. */
		weir__log_rare(WEIR__ERROR, "queue", "SQS at %s refuses %s: %s: %s (region %s)",
		               s->host, c->action, c->code, c->why, s->region);
	else if (c->result == -EIO)
		weir__log_rare(WEIR__WARN, "queue", "SQS: %s: %s: %s", c->action,
		               *c->code ? c->code : "no JSON", c->why);
	else if (c->result == -EAGAIN)
		weir__log_rare(WEIR__WARN, "queue", "SQS throttles %s", c->action);
}

/* Those that are not done yet. 0 or an error for all of them. */
static int send_round(const weir_ctx *ctx, struct weir__sqs *s, struct letter *l, size_t n,
                      bool new_key, enum next *ret)
{
	struct weir__parcel one[1], *p = n > 1 ? calloc(n, sizeof *p) : one;
	struct identity id = { .key = NULL };
	struct weir__url_addrs addrs;
	struct letter *of[WEIR__SQS_ROUND + 1];
	struct weir__parcel to = { .url = NULL }; /* has the addresses, which are those of all */
	size_t m = 0;
	int r = p ? identify(ctx, s, new_key, &id) : -ENOMEM;

	if (r == 0)
		r = weir__sqs_look_up(ctx, s, &addrs, &to);
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (l[i].done)
			continue;
		of[m] = &l[i];
		if (!write_letter(s, &id, &l[i], &p[m]))
			r = -ENOMEM;
		memcpy(p[m].addrs, to.addrs, sizeof to.addrs);
		m++;
	}
	if (r == 0)
		r = weir__courier_carry(ctx, s->courier, p, m);
	forget(&id);
	for (size_t i = 0; i < m; i++) {
		enum next next;

		if (r == 0 || p[i].result != -ECANCELED) {
			next = judge(s, of[i]->call, &p[i]);
			of[i]->done = next == DONE;
			*ret = next > *ret ? next : *ret;
		}
		weir__buf_free(&p[i].answer);
	}
	if (n > 1)
		free(p);
	return r;
}

int weir__sqs_call(const weir_ctx *ctx, struct weir__sqs *s, struct weir__sqs_call *c, size_t n)
{
	struct letter *l = calloc(n, sizeof *l);
	bool new_key = false, new_time = false, more = true;
	int64_t wait = BACKOFF;
	int r = l ? 0 : -ENOMEM;

	for (size_t i = 0; i < n; i++) {
		c[i].result = l ? -ENOTCONN : -ENOMEM;
		if (l)
			l[i].call = &c[i];
	}
	for (int try = 0; r == 0 && more && try < TRIES; try++) {
		enum next next = DONE;

		r = send_round(ctx, s, l, n, new_key, &next);
		more = next == AGAIN || (next == NEW_KEY && !new_key) ||
		       (next == NEW_TIME && !new_time);
		new_key = next == NEW_KEY;
		new_time = new_time || next == NEW_TIME;
		if (r == 0 && next == AGAIN && try + 1 < TRIES) {
			r = weir_sleep(ctx, wait / 2 + weir_random((uint32_t)wait));
			wait *= 2;
		}
	}
	for (size_t i = 0; i < n; i++) {
		if (r < 0 && !(l && l[i].done))
			c[i].result = r;
		tell(s, &c[i]);
	}
	free(l);
	return weir__remote_stops(r) ? r : 0;
}

void weir__sqs_call_free(struct weir__sqs_call *c, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		weir__buf_free(&c[i].body);
		weir__buf_free(&c[i].answer);
	}
}
