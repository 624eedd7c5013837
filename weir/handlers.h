/* SPDX-License-Identifier: MIT */
/*
 * What the handlers of the HTTP API have in common: how a route says who may use it, how a
 * parameter is read, how a job is written, how an error is answered. One way for each.
 */
#ifndef WEIR_PROGRAM_HANDLERS_H
#define WEIR_PROGRAM_HANDLERS_H

#include <jansson.h>

#include "app.h"
#include "base/buf.h"

/* ---- Routes ---- */
enum { MAY_ANY = 0, MAY_PUT = 1, MAY_TAKE = 2, MAY_PUBLISH = 4, MAY_SUBSCRIBE = 8, MAY_ADMIN = 16 };
enum route_of {
	OF_SERVER,
	OF_QUEUE,
	OF_JOB,
	OF_SUBJECT
}; /* what a right is checked against: {queue}, the queue of job {id}, {subject} */

typedef int api_fn(const weir_ctx *ctx, weir_http *x, struct app *app);

struct route {
	const char *pattern;
	api_fn *fn;
	unsigned rights; /* any one of them is enough; admin always is */
	enum route_of of;
	weir_http_limits limits;
	/* What its query may have; NULL: nothing. "token" and the like of who asks are not
	 * named. */
	const char *const *query;
};
#define NAMES(...) ((const char *const[]){ __VA_ARGS__, NULL })
extern const char *const any_query[]; /* for what other tools ask as they are used to */

/* Each ends with a NULL pattern. */
extern const struct route jobs_routes[], work_routes[], queues_routes[], subjects_routes[],
	admin_routes[], nats_routes[];

/* Registers all of them, the dashboard, and the filter of origin.c and auth.c. */
int api_install(struct app *app);

/* Answers 401, to a browser with the page to log in. `wrong`: a token was given, and is not known.
 * Gives 401 or an error. */
int api_unauthorized(const weir_ctx *ctx, weir_http *x, bool wrong);

/* ---- Reading ---- */
/* The first wrong parameter is kept and what is asked later is left alone, so that a handler reads
 * all it wants and checks once. */
enum { PARAMS_NUMBERS = 16, NUMBER_BYTES = 32 };
struct params {
	weir_http *x;    /* NULL: what is asked stands in the body only */
	json_t *body;    /* an object, or NULL */
	char error[160]; /* "" if nothing was wrong */
	unsigned numbers;
	char number[PARAMS_NUMBERS][NUMBER_BYTES]; /* numbers of the body, as text */
};

/* JSON that cannot hurt: at most this deep, no duplicate keys. NULL with the reason in p->error.
 * Free by json_decref(). */
enum { JSON_DEPTH = 32 };
json_t *json_read(struct params *p, const char *text, size_t len);

/* A member of p->body as text (strings as they are, numbers and booleans printed); NULL if
 * absent. */
const char *member(struct params *p, const char *name);
/* Is there a member of p->body that is none of `known`, which ends with NULL? It would be lost
 * without a word. */
void refuse_unknown(struct params *p, const char *const *known);
/* The same of the query's names; nor may one be there twice. */
void refuse_query(struct params *p, const char *const *known);
/* And of headers that begin with "Weir-". */
void refuse_headers(struct params *p, const char *const *known);
/* The query's, else the body's. */
const char *param(struct params *p, const char *name);

/* With text NULL *ret stays. `name` is for the complaint. */
void read_duration(struct params *p, const char *name, const char *text, int64_t min, int64_t max,
                   int64_t *ret);
void read_int(struct params *p, const char *name, const char *text, int64_t min, int64_t max,
              int64_t *ret);
void read_real(struct params *p, const char *name, const char *text, double min, double max,
               double *ret);
void read_flag(struct params *p, const char *name, const char *text, bool *ret);
/* "payload" or "payload_base64" of an object; the bytes are the caller's to free, *ret_type is
 * static or NULL. */
void read_payload(struct params *p, json_t *object, char **ret, size_t *ret_len,
                  const char **ret_type);
void wrong(struct params *p, const char *fmt, ...) WEIR_PRINTF(2, 3);

/* ---- Answering ---- */
/* HEAD asks for the head of a stream only: what would follow it is not begun. */
bool wants_head(const weir_http *x);
/* The buffer as JSON; frees it. Without memory 500. */
int reply_json(const weir_ctx *ctx, weir_http *x, int status, struct weir__buf *b);
/* 400 with what was wrong. */
int reply_wrong(const weir_ctx *ctx, weir_http *x, const struct params *p);
/* api_far.c: jobs that another weir on the same engine and bus runs. Are there such? Then what
 * GET /v1/jobs/{id} and its events do with a job that is not known here. */
bool shares_jobs(const struct app *app);
int far_job_get(const weir_ctx *ctx, weir_http *x, struct app *app);
int far_job_events(const weir_ctx *ctx, weir_http *x, struct app *app);

/* The name of the store's kind, for people. That it lacks `what`, a word of weir queues
 * --engines. */
const char *store_name(const struct app *app);
void lacks_text(char *buf, size_t n, const struct app *app, const char *what);
/* The problem for what a store, bus or hub returned (< 0); stop codes are handed back to the HTTP
 * server. */
int reply_error(const weir_ctx *ctx, weir_http *x, struct app *app, int error, const char *queue);
/* The same with a sentence of its own; NULL: that of the error. */
int reply_error_saying(const weir_ctx *ctx, weir_http *x, struct app *app, int error,
                       const char *queue, const char *saying);
/* The same, where the store may not be able to do `what`. */
int reply_refused(const weir_ctx *ctx, weir_http *x, struct app *app, int error, const char *queue,
                  const char *what);
/* The same as a status and a sentence, for verdicts inside a batch. */
int error_status(int error, const char **ret_detail);
void retry_after(weir_http *x, int64_t ns);

/* ---- Writing JSON ---- */
void put_str(struct weir__buf *b, const char *name,
             const char *value); /* "name":"value", with the comma before it if one is due */
/* The same for what holds nothing to escape: ids, leases, names of queues and states. */
void put_word(struct weir__buf *b, const char *name, const char *value);
void put_u64(struct weir__buf *b, const char *name, uint64_t value);
void put_real(struct weir__buf *b, const char *name, double value);
void put_bool(struct weir__buf *b, const char *name, bool value);
void put_time(struct weir__buf *b, const char *name, int64_t wall_ns); /* RFC 3339; nothing for 0 */
void put_duration(struct weir__buf *b, const char *name, int64_t ns);  /* nothing for 0 */
void put_bytes(struct weir__buf *b, const char *name, const void *data,
               size_t n); /* text, or NAME_base64 */
void put_member(struct weir__buf *b, const char *name, size_t n);
/* "name": for what the caller writes */
static inline void put_name(struct weir__buf *b, const char *name)
{
	put_member(b, name, strlen(name));
}
void render_job(struct weir__buf *b, const weir_job_info *job);
void render_queue(struct weir__buf *b, const weir_queue_info *queue);

/* ---- Giving jobs to workers ---- */
enum { TAKE_MAX = 100, WORKER_MAX = 63 };
#define WAIT_MAX  WEIR_MIN(5)
#define LEASE_MIN WEIR_SEC(1)
#define LEASE_MAX WEIR_HOUR(24)
#define DELAY_MAX (WEIR_HOUR(24) * 366)
/* Waits for the first, then takes what else is there. How many, or < 0. */
int take_some(const weir_ctx *ctx, struct app *app, const char *queue, int64_t wait_ns,
              const weir_take_options *opt, weir_job **jobs, size_t max);
void render_taken(struct weir__buf *b, const weir_job *j);
void render_refusal(struct weir__buf *b, int status, const char *detail);

/* api_subjects.c: is it one that nobody else may publish on? */
bool subject_reserved(const char *subject);

/* ---- Who asks ---- */
struct principal;
struct auth *auth_load(const char *file, const unsigned char secret[32],
                       int *ret_error); /* says what is wrong in the file */
void auth_free(struct auth *a);
/* The file once more; one that is wrong changes nothing. 0 or the error. Waits. */
int auth_reload(const weir_ctx *ctx, struct auth *a);
/* 0, or 401 when no valid token came with the request. */
int auth_check(struct auth *a, weir_http *x);
/* May the sender of this request use one of the rights on `what` (a queue or subject; NULL: on
 * anything at all)? */
bool auth_may(struct auth *a, weir_http *x, unsigned rights, const char *what);
/* For weir_nats_options: the token's line as a user, by auth_token, or by its name as user and the
 * token as password, or by its nkey ("nkey:U…" in the place of the token); arg is the auth. */
int auth_nats_sign_in(const weir_nats_login *login, weir_nats_user **ret, void *arg);
int auth_nats_renew(const char *name, weir_nats_user **ret, void *arg);
/* Where nobody has to sign in. */
int auth_nats_anybody(weir_nats_user **ret);
/* Like auth_may(), for a subject pattern: every subject it matches must be allowed. */
api_fn auth_login, auth_logout, auth_make_token;

/* 0, or the answer (403, or 204 to a preflight) for requests that a foreign page or name brought
 * here. */
int origin_check(const weir_ctx *ctx, weir_http *x, struct app *app);

#endif
